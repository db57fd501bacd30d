"""Script 8 of 8: DICOM folders through both stages, scored end to end, with a report.

Reads:   model/<run>/fold-<k>/stage1.* and stage2.*, and the DICOM files of the held-out fold in
         data/series/, or any folder of series with --series_dir.
Writes:  end_to_end_metrics.json, end_to_end_predictions.csv, end_to_end_points.csv,
         end_to_end_views.csv and report.html in the fold's folder, or in --out_dir; with --fold all
         also metrics and report over all folds, in model/<run>/all/.
Skips:   series that were scored with the same weights.

Full size:  python eval_end_to_end.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python eval_end_to_end.py --config configs/demo.yaml --data_dir demo/data

`--help` tells more; the plot is src/intracranial/stages/eval_end_to_end.py.
"""

from intracranial.program import run_script

if __name__ == "__main__":
    run_script("eval_end_to_end")
