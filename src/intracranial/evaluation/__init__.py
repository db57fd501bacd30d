"""What a scored run is: its rows, its tables of figures, and reading them back.

In: predictions and the truth of a fold or a folder. Out: the metrics and predictions files.
Enter at `end_to_end`, `stage_scores` and `all_folds`.
It knows no page and draws nothing.
"""
