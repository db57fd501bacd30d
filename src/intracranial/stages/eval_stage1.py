"""Script 4 of 8: score stage 1 at the spots of its held-out fold, beside its training spots.

Reads:   model/<run>/fold-<k>/stage1.safetensors and stage1.json, the split, data/npy_sequence/.
Writes:  model/<run>/fold-<k>/stage1_metrics.json and stage1_predictions.csv (one row per spot).
Skips:   a fold that was scored with the same weights and spots.

Full size:  python eval_stage1.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python eval_stage1.py --config configs/demo.yaml --data_dir demo/data
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from intracranial.artifacts import ALL_FOLDS, FINAL_FOLD, write_csv
from intracranial.errors import UsageError
from intracranial.jsonable import to_json
from intracranial.options.stage1 import EvalStage1Options
from intracranial.processes.locks import only_one
from intracranial.provenance import Plan, plan, write_manifest
from intracranial.runlog import Record, log
from intracranial.tasks import SERIES_COLUMN

if TYPE_CHECKING:
    from intracranial.splits.folds import Split


def main(options: EvalStage1Options, record: Record) -> int:
    """Score every requested fold."""
    from intracranial.evaluation.all_folds import check_seed_runs, summarise_folds
    from intracranial.splits.folds import chosen_folds, load_split

    if options.fold == FINAL_FOLD:
        raise UsageError("--fold final: the final model has no held-out fold to score")
    check_seed_runs(options, "stage1")
    split = load_split(options.data, options.folds)
    for fold in chosen_folds(split, options.fold):
        score(options, split, int(fold), record)
    if options.fold == ALL_FOLDS:
        summarise_folds(options, split, "stage1", split.task)
    return 0


def score(options: EvalStage1Options, split: "Split", fold: int, record: Record) -> None:
    """Score one fold, unless it is scored."""
    import numpy as np

    from intracranial.compute import choose_compute, loading_processes
    from intracranial.evaluation.predictions import GROUP_COLUMN, prediction_rows
    from intracranial.evaluation.stage_scores import stage_metrics
    from intracranial.evaluation.subgroups import sample_of_split
    from intracranial.inference.encoder import Encoder
    from intracranial.inference.stack_prediction import predict_stacks, spot_requests
    from intracranial.lineage import data_identities, open_stage, require_record
    from intracranial.sampling.series_info import series_infos
    from intracranial.stages.run_series import training_series
    from intracranial.stages.slice_training import stack_dataset
    from intracranial.statistics.intervals import Settings

    paths = options.fold_paths(fold)
    current = data_identities(options.data, split.identity)
    stage1 = open_stage(paths, "stage1", current, split.task)
    require_record(paths, "stage1", stage1)
    inputs = {**current, "stage1": stage1["identity"]}
    request = options.request("stage1_metrics", inputs, stage1["partial"], fold)
    outputs = [paths.predictions("stage1")]
    if plan(paths.metrics("stage1"), request, options.overwrite, outputs) is Plan.DONE:
        log.info("%s: nothing to do, stage 1 is scored", paths.root)
        return
    with only_one(paths.lock("stage1_metrics"), f"the scores of stage 1 in {paths.root}"):
        compute = choose_compute(options.device, options.precision)
        log.info("fold %s: %s", fold, compute.reason)
        encoder = Encoder(paths, stage1, compute)
        trained = training_series(paths, "stage1", stage1, split)
        scored, empty = {}, np.zeros((0, len(split.task.labels)))
        for part, uids in (("held out", split.held_out(fold)), ("training", trained)):
            requests = spot_requests(split, uids, encoder.steps)
            if not requests:
                scored[part] = (requests, empty, empty)
                continue
            dataset = stack_dataset(
                options.data, series_infos(split, uids, split.task), split.task, encoder.inputs
            )
            with record.timed(f"fold {fold}, {part}"):
                found = predict_stacks(
                    encoder.model,
                    dataset,
                    requests,
                    options.batch_size,
                    loading_processes(options.num_workers, options.device),
                    compute,
                )
            scored[part] = (requests[:: len(encoder.steps)], *found)
        held_out, training = (
            sample_of_split(split, split.task, [spot.uid for spot in spots], *found)
            for spots, *found in (scored["held out"], scored["training"])
        )
        metrics = stage_metrics(
            split.task,
            "stage 1 at spots",
            held_out,
            training,
            [stage1],
            Settings(options.resamples, options.seed),
            "spots",
        )
        spots, targets, probabilities = scored["held out"]
        patients = split.series["group"]
        keys = [
            {SERIES_COLUMN: spot.uid, "index": spot.index, GROUP_COLUMN: patients[spot.uid]}
            for spot in spots
        ]
        columns, rows = prediction_rows(split.task, keys, targets, probabilities)
        write_csv(paths.predictions("stage1"), columns, rows)
        content = to_json(replace(metrics, split_hash=split.split_hash))
        write_manifest(paths.metrics("stage1"), request, complete=True, content=content)
        log.info("wrote %s", paths.metrics("stage1"))
