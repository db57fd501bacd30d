"""Script 2 of 8: divide the training series into folds by patient and choose the spots of stage 1.

Reads:   data/train_meta.csv, data/slices.csv and data/rejected.csv (preprocess_data.py) and
         data/train_localizers.csv (the challenge's aneurysm centres).
Writes:  data/train_{FOLDS}_folds.csv, data/train_stage1_{FOLDS}_folds.csv (the spots) and
         data/folds.json.
Skips:   a split that was made from the same tables. Changed ones end with exit code 5, and
         --overwrite rebuilds.

Full size:  python create_folds.py --folds 10
On a CPU:   python create_folds.py --config configs/demo.yaml --data_dir demo/data

`--help` tells more; the plot is src/intracranial/stages/create_folds.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("create_folds")
