"""Script 6 of 8: train the sequence classifier (stage 2) on the features of every fold but one.

Reads:   data/folds.json and its tables, model/<run>/fold-<k>/features/ with features.json.
Writes:  model/<run>/fold-<k>/stage2.safetensors (EMA weights), stage2.json, stage2_log.csv and a
         picture of it, stage2_curves.png; while it runs, stage2_last.pt to resume from.
Skips:   a fold that is complete; a killed run resumes. Changed options or inputs end with exit code
         5, and --overwrite trains anew.

Full size:  python train_stage2.py --config configs/convnext_base_dinov3.yaml --fold 0
On a CPU:   python train_stage2.py --config configs/demo.yaml --data_dir demo/data

`--help` tells more; the plot is src/intracranial/stages/train_stage2.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("train_stage2")
