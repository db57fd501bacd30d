"""Assembles stage-2 training from the split, the features and the network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from intracranial.artifacts import FoldPaths
from intracranial.compute import choose_compute, make_deterministic
from intracranial.errors import InputError, UsageError
from intracranial.inference.series_prediction import plain_views, predict_series
from intracranial.inference.stack_prediction import logged_scores
from intracranial.lineage import LabelCounts, SplitName, Stage2Record
from intracranial.membership import make_part, trained_on, write_part
from intracranial.models.sequence_classifier import SequenceClassifier, SequenceClassifierConfig
from intracranial.options.stage2 import TrainStage2Options
from intracranial.provenance import Plan, Request, write_manifest
from intracranial.runlog import log
from intracranial.sampling.features import load_features
from intracranial.sampling.sequences import (
    SequenceDataset,
    SequenceSpec,
    bucketed,
    collate,
)
from intracranial.sampling.series_info import SeriesInfo, series_infos
from intracranial.splits.folds import Split
from intracranial.stages.slice_training import selecting, selection_series
from intracranial.tasks import Task
from intracranial.training.batches import Batch, TrainingData, key, keyed_data
from intracranial.training.checkpoint import save_weights
from intracranial.training.distributed import is_first, share_work
from intracranial.training.loop import Fit, LossParts
from intracranial.training.losses import focal_loss, known_labels
from intracranial.training.preview import preview


def sequence_spec(options: TrainStage2Options, task: Task) -> SequenceSpec:
    """What of the stage-1 output stage 2 sees; where no label has a place there are no peaks."""
    parts = parts_of(options, task)
    return SequenceSpec(parts, options.input.limit_slices, options.loss.slice_sigma)


def parts_of(options: TrainStage2Options, task: Task) -> tuple[str, ...]:
    """The stage-1 output to look at, as far as there is such.

    Raises:
        UsageError: nothing is left.
    """
    parts = tuple(part for part in options.input.parts if part != "peaks" or task.locations)
    if not parts:
        raise UsageError("--parts peaks: no label of this task has a place, so there are no peaks")
    return parts


def model_config(
    options: TrainStage2Options, features: int, task: Task
) -> SequenceClassifierConfig:
    """The network that these options describe; `features` is stage 1's C."""
    sizes = {
        "features": features,
        "logits": len(task.labels),
        "peaks": len(task.labels),
    }
    parts = parts_of(options, task)
    # peaks see small lesions better than the classifier's logits
    known = next((part for part in ("peaks", "logits") if part in parts), None)
    before = parts[: parts.index(known)] if known else ()
    return SequenceClassifierConfig(
        skip=sum(sizes[part] for part in before) if known else -1,
        inputs=sum(sizes[part] for part in parts),
        labels=len(task.labels),
        width=options.network.width,
        feed_forward=options.network.feed_forward,
        layers=options.network.layers,
        heads=options.network.heads,
        pool=options.network.pool,
        dropout=options.network.dropout,
        head_dropout=options.network.head_dropout,
    )


class Stage2Loss:
    """Series loss plus a weighted per-slice loss."""

    def __init__(self, gamma: float, slice_weight: float, smoothing: float) -> None:
        """Keep the constants; smoothing is of the series' labels alone."""
        self.gamma = gamma
        self.slice_weight = slice_weight
        self.smoothing = smoothing

    def counts(self, batch: Batch) -> torch.Tensor:
        """Known labels of series and of slices."""
        return torch.stack([known_labels(batch["weights"]), known_labels(batch["slice_weights"])])

    def __call__(self, model: nn.Module, batch: Batch, counts: torch.Tensor) -> LossParts:
        """Loss parts of a padded piece that is on the model's device."""
        output = model(batch["tokens"], batch["position"], batch["mask"], batch["known"])
        series = focal_loss(
            output.logits,
            batch["targets"],
            batch["weights"],
            self.gamma,
            counts[0],
            self.smoothing,
        )
        # padded slices have weight 0 already: collate fills with zeros
        slices = focal_loss(
            output.slice_logits,
            batch["slice_targets"],
            batch["slice_weights"],
            self.gamma,
            counts[1],
        )
        return {
            "loss": series + self.slice_weight * slices,
            "series_loss": series,
            "slice_loss": slices,
        }


def training_data(
    options: TrainStage2Options, paths: FoldPaths, infos: dict[str, SeriesInfo], task: Task
) -> TrainingData:
    """Keyed batches of every epoch."""
    dataset = SequenceDataset(
        paths.feature,
        infos,
        task,
        sequence_spec(options, task),
        options.augmentation,
        options.seed,
    )

    def batches(epoch: int) -> list[list[tuple[str, int]]]:
        return bucketed(
            infos, options.optimization.batch_size, options.input.bucket, epoch, options.seed
        )

    def member(request: tuple[str, int]) -> dict[str, Any]:
        uid, epoch = request
        return {"uid": uid, "epoch": epoch}

    return keyed_data(options, dataset, batches, len(batches(0)), member, collate)


def feature_width(paths: FoldPaths, uids: list[str]) -> int:
    """Stage 1's number of features C, as the feature files of training series have it.

    Raises:
        InputError: there are none.
    """
    if not uids:
        raise InputError(
            f"{paths.features} holds no features of training series: run extract_features.py with "
            "a larger --limit, or without one"
        )
    sets = load_features(paths.feature(uids[0]), lambda keys: keys[:1])
    return int(next(iter(sets.values())).features.shape[1])


def label_counts(split: Split, uids: list[str], task: Task) -> LabelCounts:
    """How many series there are, and how many of them have each label."""
    counts = (split.series.loc[uids, list(task.labels)] == 1).to_numpy().sum(axis=0)
    return LabelCounts(len(uids), dict(zip(task.labels, counts.tolist(), strict=True)))


def preview_stage2(
    options: TrainStage2Options,
    split: Split,
    fold: int | str,
    uids: list[str],
    request: Request,
    todo: Plan,
    task: Task,
) -> None:
    """Say what `fit_stage2` would do with the same arguments; `todo` is what was decided."""
    paths = options.fold_paths(fold)
    uids, watched = selection_series(options, split, fold, uids)
    watched = [uid for uid in watched if paths.feature(uid).exists()]
    data = training_data(options, paths, series_infos(split, uids, task), task)
    counts = len(uids), len(watched)
    model = SequenceClassifier(model_config(options, feature_width(paths, uids), task))
    preview(options, paths, "stage2", request, todo, counts, data, model)


def fit_stage2(
    options: TrainStage2Options,
    split: Split,
    fold: int | str,
    uids: list[str],
    request: Request,
    task: Task,
) -> Stage2Record:
    """Train one fold and save its weights.

    Args:
        options: of the stage.
        split: the division into folds.
        fold: held-out fold, or `FINAL_FOLD`.
        uids: training series.
        request: names the artifact; only its own checkpoint is resumed.
        task: labels and locations.

    Returns:
        What the manifest keeps for later stages.
    """
    paths = options.fold_paths(fold)
    compute = choose_compute(options.device, options.computing.precision)
    if options.computing.deterministic:
        make_deterministic()
    log.info("fold %s: %s", fold, compute.reason)
    uids, watched = selection_series(options, split, fold, uids)
    watched = [uid for uid in watched if paths.feature(uid).exists()]  # few after --limit
    config = model_config(options, feature_width(paths, uids), task)
    torch.manual_seed(key(options.seed, "initial weights of stage 2"))
    model = SequenceClassifier(config)
    data = training_data(options, paths, series_infos(split, uids, task), task)
    log.info("%d training series, %d batches per epoch", len(uids), data.batches_per_epoch)
    infos = series_infos(split, watched, task)
    spec = sequence_spec(options, task)

    def evaluate(ema: nn.Module) -> dict[str, float | None]:
        ema.eval()

        def predict(uids: Sequence[str]) -> list[np.ndarray]:
            return [
                predict_series(
                    ema,
                    load_features(paths.feature(uid), plain_views),
                    infos[uid].slice_mm,
                    infos[uid].spacing_known,
                    spec,
                    compute,
                ).probabilities
                for uid in uids
            ]

        found = share_work(list(infos), predict)
        labels = np.stack([info.labels for info in infos.values()])
        return logged_scores(task, labels, np.stack(found))

    loss = Stage2Loss(
        options.loss.focal_gamma, options.loss.slice_weight, options.loss.label_smoothing
    )
    fit = Fit(model, loss, options, compute, paths, "stage2", request.identity)
    if is_first():
        # only now: until here nothing was made that a later run could resume from
        write_manifest(paths.manifest("stage2"), request, complete=False)
    selected = fit.run(data, evaluate if infos else None, task.higher_is_better)
    if is_first():
        save_weights(paths.weights("stage2"), selected)
        write_part(paths, "stage2", make_part(options.data, uids, selecting(options, watched)))
    return Stage2Record(
        task=task,
        model=config,
        sequence=spec,
        precision=options.computing.precision,
        seed=options.seed,
        fold=fold,
        select=options.progress.select,
        split=SplitName(split.folds, split.split_hash),
        trained_on=trained_on(uids),
        training_labels=label_counts(split, uids, task),
    )
