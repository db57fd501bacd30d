"""Script 5 of 8: apply stage 1 to every slice of every series, for stage 2 to read.

Reads:   model/<run>/fold-<k>/stage1.safetensors and stage1.json, data/npy_sequence/, the split.
Writes:  model/<run>/fold-<k>/features/<uid>.safetensors and features.json; with
         --mine_hard_negatives also hard_negatives.csv of the held-out series.

The plot and the whole of its help are in src/intracranial/stages/extract_features.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("extract_features")
