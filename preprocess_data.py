"""Script 1 of 8: read DICOM series and write the caches and tables that all later stages use.

Reads:   data/train.csv and data/series/<SeriesInstanceUID>/: single-frame files with any names, or
         enhanced multi-frame files.
Writes:  data/npy_sequence/<uid>.npy and <uid>.json; data/npy_slice/<uid>/ unless --no_slices;
         data/train_meta.csv, slices.csv, rejected.csv, preprocess.json, report.html, report.json.

The plot and the whole of its help are in src/intracranial/stages/preprocess_data.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("preprocess_data")
