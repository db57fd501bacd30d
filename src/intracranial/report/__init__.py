"""Pages and pictures of what was read, trained and scored.

In: results and the files of a run. Out: HTML pages that need neither network nor script, PNG files.
Enter at `page`, `data_report` and `series_page`.
It computes no score: every figure that it shows lies in a JSON file.
"""
