"""Script 4 of 8: score stage 1 at the spots of its held-out fold, beside its training spots.

Reads:   model/<run>/fold-<k>/stage1.safetensors and stage1.json, the split, data/npy_sequence/.
Writes:  model/<run>/fold-<k>/stage1_metrics.json and stage1_predictions.csv (one row per spot).
Skips:   a fold that was scored with the same weights.

Full size:  python eval_stage1.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python eval_stage1.py --config configs/demo.yaml --data_dir demo/data

`--help` tells more; the plot is src/intracranial/stages/eval_stage1.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("eval_stage1")
