"""Script 1 of 8: read DICOM series and write the caches and tables that all later stages use.

Reads:   data/train.csv and data/series/<SeriesInstanceUID>/: single-frame files with any names, or
         enhanced multi-frame files.
Writes:  data/npy_sequence/<uid>.npy and <uid>.json; data/npy_slice/<uid>/ unless --no_slices;
         data/train_meta.csv, slices.csv, rejected.csv, preprocess.json, report.html, report.json.
Skips:   finished series; a killed run resumes. Changed options, tables or files end
         with exit code 5, and --overwrite rebuilds.

Full size:  python preprocess_data.py --num_workers 16
On a CPU:   python preprocess_data.py --config configs/demo.yaml --data_dir demo/data

`--help` tells more; the plot is src/intracranial/stages/preprocess_data.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("preprocess_data")
