"""Script 7 of 8: score stage 2 on the series of its held-out fold, beside its training series.

Reads:   model/<run>/fold-<k>/stage2.safetensors and stage2.json, features/, the split.
Writes:  model/<run>/fold-<k>/stage2_metrics.json and stage2_predictions.csv (one row per series).
Skips:   a fold that was scored with the same weights and features.

Full size:  python eval_stage2.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python eval_stage2.py --config configs/demo.yaml --data_dir demo/data
"""

from typing import TYPE_CHECKING

from intracranial.errors import EXIT_DONE
from intracranial.options.stage2 import EvalStage2Options
from intracranial.runlog import Record, log, progress

if TYPE_CHECKING:
    from intracranial.splits.folds import Split
    from intracranial.stages.scoring import Rows


def main(options: EvalStage2Options, record: Record) -> int:
    """Score every requested fold."""
    from intracranial.stages.scoring import score_folds

    code, _ = score_folds(
        options, "stage2", lambda split, fold: score(options, split, fold, record)
    )
    return code


def score(options: EvalStage2Options, split: "Split", fold: int, record: Record) -> int:
    """Score one fold, unless it is scored."""
    import numpy as np

    from intracranial.inference.sequence_predictor import SequencePredictor
    from intracranial.inference.series_prediction import plain_views
    from intracranial.lineage import (
        data_identities,
        open_features,
        open_stage1,
        open_stage2,
        require_record,
    )
    from intracranial.sampling.features import load_features
    from intracranial.sampling.series_info import series_infos
    from intracranial.stages.run_series import extracted_series, training_series
    from intracranial.stages.scoring import Rows, score_stage

    paths, task = options.fold_paths(fold), split.task
    current = data_identities(options.data, split.identity)
    stage1 = open_stage1(paths, current, task)
    current["stage1"] = stage1.identity
    features = open_features(paths, current, task)
    current["features"] = features.identity
    stage2 = open_stage2(paths, current, task)
    require_record(stage2)
    inputs = {**current, "stage2": stage2.identity}
    request = options.request("stage2_metrics", inputs, stage2.partial, fold)

    def predict() -> "tuple[Rows, Rows]":
        predictor = SequencePredictor(paths, stage2, options.device)
        log.info("fold %s: %s", fold, predictor.compute.reason)

        def rows_of(uids: list[str], words: str) -> Rows:
            labels, found = [], []
            infos = series_infos(split, uids, task)
            with record.timed(f"fold {fold}, {words}"):
                for uid, info in progress(infos.items(), len(infos), words):
                    sets = load_features(paths.feature(uid), plain_views)
                    result = predictor.predict(sets, info.slice_mm, info.spacing_known)
                    labels.append(info.labels)
                    found.append(result.probabilities)
            return Rows(uids, np.array(labels), np.array(found)) if uids else Rows.none(task)

        extracted = set(extracted_series(split, features))
        held_out = [uid for uid in split.held_out(fold) if uid in extracted]
        trained = training_series(paths, stage2, split, extracted)
        return rows_of(held_out, "held out"), rows_of(trained, "training")

    weights = [stage1, stage2]
    score_stage(options, paths, split, "stage2", "stage 2 on series", weights, request, predict)
    return EXIT_DONE
