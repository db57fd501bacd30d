"""Script 4 of 8: score stage 1 at the spots of its held-out fold, beside its training spots.

Reads:   model/<run>/fold-<k>/stage1.safetensors and stage1.json, the split, data/npy_sequence/.
Writes:  model/<run>/fold-<k>/stage1_metrics.json and stage1_predictions.csv (one row per spot).
Skips:   a fold that was scored with the same weights and spots.

Full size:  python eval_stage1.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python eval_stage1.py --config configs/demo.yaml --data_dir demo/data
"""

from typing import TYPE_CHECKING

from intracranial.errors import EXIT_DONE
from intracranial.options.stage1 import EvalStage1Options
from intracranial.runlog import Record, log

if TYPE_CHECKING:
    from intracranial.splits.folds import Split
    from intracranial.stages.scoring import Rows


def main(options: EvalStage1Options, record: Record) -> int:
    """Score every requested fold."""
    from intracranial.stages.scoring import score_folds

    code, _ = score_folds(
        options, "stage1", lambda split, fold: score(options, split, fold, record)
    )
    return code


def score(options: EvalStage1Options, split: "Split", fold: int, record: Record) -> int:
    """Score one fold, unless it is scored."""
    from intracranial.compute import choose_compute, loading_processes
    from intracranial.inference.encoder import Encoder
    from intracranial.inference.stack_prediction import predict_stacks, spot_requests
    from intracranial.lineage import data_identities, open_stage1, require_record
    from intracranial.sampling.series_info import series_infos
    from intracranial.stages.run_series import training_series
    from intracranial.stages.scoring import Rows, score_stage
    from intracranial.stages.slice_training import stack_dataset

    paths, task = options.fold_paths(fold), split.task
    current = data_identities(options.data, split.identity)
    stage1 = open_stage1(paths, current, task)
    require_record(stage1)
    inputs = {**current, "stage1": stage1.identity}
    request = options.request("stage1_metrics", inputs, stage1.partial, fold)

    def predict() -> "tuple[Rows, Rows]":
        compute = choose_compute(options.device, options.precision)
        log.info("fold %s: %s", fold, compute.reason)
        encoder = Encoder(paths, stage1, compute)

        def rows_of(uids: list[str], words: str) -> Rows:
            requests = spot_requests(split, uids, encoder.steps)
            if not requests:
                return Rows.none(task)
            infos = series_infos(split, uids, task)
            dataset = stack_dataset(options.data, infos, task, encoder.inputs)
            with record.timed(f"fold {fold}, {words}"):
                targets, probabilities = predict_stacks(
                    encoder.model,
                    dataset,
                    requests,
                    options.batch_size,
                    loading_processes(options.num_workers, options.device),
                    compute,
                )
            spots = requests[:: len(encoder.steps)]
            uids = [spot.uid for spot in spots]
            return Rows(uids, targets, probabilities, {"index": [spot.index for spot in spots]})

        trained = training_series(paths, stage1, split)
        return rows_of(split.held_out(fold), "held out"), rows_of(trained, "training")

    score_stage(
        options, paths, split, "stage1", "stage 1 at spots", [stage1], request, predict, "spots"
    )
    return EXIT_DONE
