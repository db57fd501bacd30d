"""Script 8 of 8: DICOM folders through both stages, scored end to end, with a report.

Reads:   model/<run>/fold-<k>/stage1.* and stage2.*, and the DICOM files of the held-out fold in
         data/series/, or any folder of series with --series_dir.
Writes:  end_to_end_metrics.json, end_to_end_predictions.csv, end_to_end_points.csv,
         end_to_end_views.csv and report.html in the fold's folder, or in --out_dir; with --fold all
         also metrics and report over all folds, in model/<run>/all/.
Skips:   everything when the same files were scored with the same weights. Series that cannot be
         read are rejected with their reason (exit code 4, or 0 with --allow_rejected).

Full size:  python eval_end_to_end.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python eval_end_to_end.py --config configs/demo.yaml --data_dir demo/data
Elsewhere:  python eval_end_to_end.py --run demo --series_dir incoming --out_dir results
"""

from typing import TYPE_CHECKING

from intracranial.artifacts import FINAL_FOLD, ScoredFolderPaths
from intracranial.errors import UsageError
from intracranial.options.end_to_end import EvalEndToEndOptions
from intracranial.runlog import Record, log

if TYPE_CHECKING:
    from intracranial.splits.folds import Split


def main(options: EvalEndToEndOptions, record: Record) -> int:
    """Score the held-out fold, every fold, or a folder of series."""
    if options.elsewhere.series_dir is not None and options.elsewhere.out_dir is not None:
        return score_folder(options, record)
    if options.fold == FINAL_FOLD:
        raise UsageError("--fold final has no held-out series: give --series_dir and --out_dir")
    from intracranial.report.folds_page import write_folds_report
    from intracranial.stages.scoring import score_folds

    code, pooled = score_folds(
        options, "end_to_end", lambda split, fold: score(options, split, fold, record)
    )
    if pooled is not None and options.report:
        log.info("wrote %s", write_folds_report(options, pooled))
    return code


def score(options: EvalEndToEndOptions, split: "Split", fold: int, record: Record) -> int:
    """Score the held-out series of one fold, unless they are scored."""
    from intracranial.evaluation.end_to_end import held_out_jobs
    from intracranial.lineage import data_identities, open_features, open_fold, open_stage1
    from intracranial.stages.end_to_end import score_jobs

    paths = options.fold_paths(fold)
    current = data_identities(options.data, split.identity)
    current["stage1"] = open_stage1(paths, current, split.task).identity
    current["features"] = open_features(paths, current, split.task).identity
    trained, out = open_fold(paths, current, split.task), ScoredFolderPaths(paths.root)
    jobs = held_out_jobs(split, fold, options.data, split.task)
    return score_jobs(options, record, jobs, trained, out, str(fold))


def score_folder(options: EvalEndToEndOptions, record: Record) -> int:
    """Score the folders in --series_dir; the run's folder alone is enough."""
    from intracranial.evaluation.end_to_end import folder_jobs
    from intracranial.lineage import open_fold
    from intracranial.stages.end_to_end import score_jobs

    assert options.elsewhere.series_dir is not None and options.elsewhere.out_dir is not None
    trained = open_fold(options.fold_paths(options.fold))
    jobs = folder_jobs(options.elsewhere.series_dir, options.elsewhere.labels, trained.task)
    out = ScoredFolderPaths(options.elsewhere.out_dir)
    return score_jobs(options, record, jobs, trained, out, options.elsewhere.series_dir.name)
