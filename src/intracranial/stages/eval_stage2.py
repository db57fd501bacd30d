"""Script 7 of 8: score stage 2 on the series of its held-out fold, beside its training series.

Reads:   model/<run>/fold-<k>/stage2.safetensors and stage2.json, features/, the split.
Writes:  model/<run>/fold-<k>/stage2_metrics.json and stage2_predictions.csv (one row per series).
Skips:   a fold that was scored with the same weights and features.

Full size:  python eval_stage2.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python eval_stage2.py --config configs/demo.yaml --data_dir demo/data
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from intracranial.artifacts import ALL_FOLDS, FINAL_FOLD, write_csv
from intracranial.errors import UsageError
from intracranial.jsonable import to_json
from intracranial.options.stage2 import EvalStage2Options
from intracranial.processes.locks import only_one
from intracranial.provenance import Plan, plan, write_manifest
from intracranial.runlog import Record, log, progress
from intracranial.tasks import SERIES_COLUMN

if TYPE_CHECKING:
    from intracranial.splits.folds import Split


def main(options: EvalStage2Options, record: Record) -> int:
    """Score every requested fold."""
    from intracranial.evaluation.all_folds import check_seed_runs, summarise_folds
    from intracranial.splits.folds import chosen_folds, load_split

    if options.fold == FINAL_FOLD:
        raise UsageError("--fold final: the final model has no held-out fold to score")
    check_seed_runs(options, "stage2")
    split = load_split(options.data, options.folds)
    for fold in chosen_folds(split, options.fold):
        score(options, split, int(fold), record)
    if options.fold == ALL_FOLDS:
        summarise_folds(options, split, "stage2", split.task)
    return 0


def score(options: EvalStage2Options, split: "Split", fold: int, record: Record) -> None:
    """Score one fold, unless it is scored."""
    import numpy as np

    from intracranial.evaluation.predictions import GROUP_COLUMN, prediction_rows
    from intracranial.evaluation.stage_scores import stage_metrics
    from intracranial.evaluation.subgroups import sample_of_split
    from intracranial.inference.sequence_predictor import SequencePredictor
    from intracranial.inference.series_prediction import plain_views
    from intracranial.lineage import data_identities, open_stage, require_record
    from intracranial.sampling.features import load_features
    from intracranial.sampling.series_info import series_infos
    from intracranial.stages.run_series import extracted_series, training_series
    from intracranial.statistics.intervals import Settings

    paths = options.fold_paths(fold)
    current = data_identities(options.data, split.identity)
    stage1 = open_stage(paths, "stage1", current, split.task)
    current["stage1"] = stage1["identity"]
    features = open_stage(paths, "features", current, split.task)
    current["features"] = features["identity"]
    stage2 = open_stage(paths, "stage2", current, split.task)
    require_record(paths, "stage2", stage2)
    inputs = {**current, "stage2": stage2["identity"]}
    request = options.request("stage2_metrics", inputs, stage2["partial"], fold)
    outputs = [paths.predictions("stage2")]
    if plan(paths.metrics("stage2"), request, options.overwrite, outputs) is Plan.DONE:
        log.info("%s: nothing to do, stage 2 is scored", paths.root)
        return
    with only_one(paths.lock("stage2_metrics"), f"the scores of stage 2 in {paths.root}"):
        predictor = SequencePredictor(paths, stage2, options.device)
        log.info("fold %s: %s", fold, predictor.compute.reason)
        extracted = set(extracted_series(split, features))
        held_out = [uid for uid in split.held_out(fold) if uid in extracted]
        trained = training_series(paths, "stage2", stage2, split, extracted)
        scored = {}
        for part, uids in (("held out", held_out), ("training", trained)):
            labels, found = [], []
            infos = series_infos(split, uids, split.task)
            with record.timed(f"fold {fold}, {part}"):
                for uid, info in progress(infos.items(), len(infos), part):
                    sets = load_features(paths.feature(uid), plain_views)
                    result = predictor.predict(sets, info.slice_mm, info.spacing_known)
                    labels.append(info.labels)
                    found.append(result.probabilities)
            empty = np.zeros((0, len(split.task.labels)))
            scored[part] = (np.array(labels) if labels else empty, np.array(found or empty))
        metrics = stage_metrics(
            split.task,
            "stage 2 on series",
            sample_of_split(split, split.task, held_out, *scored["held out"]),
            sample_of_split(split, split.task, trained, *scored["training"]),
            [stage1, stage2],
            Settings(options.resamples, options.seed),
        )
        patients = split.series["group"]
        keys = [{SERIES_COLUMN: uid, GROUP_COLUMN: patients[uid]} for uid in held_out]
        columns, rows = prediction_rows(split.task, keys, *scored["held out"])
        write_csv(paths.predictions("stage2"), columns, rows)
        content = to_json(replace(metrics, split_hash=split.split_hash))
        write_manifest(paths.metrics("stage2"), request, complete=True, content=content)
        log.info("wrote %s", paths.metrics("stage2"))
