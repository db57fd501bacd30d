"""Script 3 of 8: train the slice classifier (stage 1) at the spots of every fold but one.

Reads:   data/folds.json and its tables, data/npy_sequence/, optionally the hard negatives of the
         other folds of a run.
Writes:  model/<run>/fold-<k>/stage1.safetensors (EMA weights), stage1.json, stage1_log.csv and a
         picture of it, stage1_curves.png; stage1_batches.png, the first batches with their labels;
         while it runs, stage1_last.pt to resume from.
Skips:   a fold that is complete; a killed run resumes. Changed options or inputs end with exit code
         5, and --overwrite trains anew.

Full size:  python train_stage1.py --config configs/convnext_base_dinov3.yaml --fold 0
On a CPU:   python train_stage1.py --config configs/demo.yaml --data_dir demo/data

`--help` tells more; the plot is src/intracranial/stages/train_stage1.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("train_stage1")
