"""Script 7 of 8: score stage 2 on the series of its held-out fold, beside its training series.

Reads:   model/<run>/fold-<k>/stage2.safetensors and stage2.json, features/, the split.
Writes:  model/<run>/fold-<k>/stage2_metrics.json and stage2_predictions.csv (one row per series).
Skips:   a fold that was scored with the same weights and features.

Full size:  python eval_stage2.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python eval_stage2.py --config configs/demo.yaml --data_dir demo/data

`--help` tells more; the plot is src/intracranial/stages/eval_stage2.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("eval_stage2")
