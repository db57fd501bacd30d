"""Script 5 of 8: apply stage 1 to every slice of every series, for stage 2 to read.

Reads:   model/<run>/fold-<k>/stage1.safetensors and stage1.json, data/npy_sequence/, the split.
Writes:  model/<run>/fold-<k>/features/<uid>.safetensors and features.json; with
         --mine_hard_negatives also hard_negatives.csv of the held-out series.
Skips:   series whose features are there; a killed run resumes. Changed options or inputs end with
         exit code 5, and --overwrite rebuilds.

Full size:  python extract_features.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python extract_features.py --config configs/demo.yaml --data_dir demo/data

`--help` tells more; the plot is src/intracranial/stages/extract_features.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("extract_features")
