"""Assembles stage-1 training and scoring from the split, the caches and the network."""

from dataclasses import asdict

import numpy as np
import torch
from torch import nn

from intracranial.artifacts import FINAL_FOLD, DataPaths
from intracranial.caching.manifest import open_preprocess
from intracranial.compute import (
    choose_compute,
    compile_network,
    loading_processes,
    make_deterministic,
)
from intracranial.errors import InputError, UsageError
from intracranial.imaging.pixels import Pixels
from intracranial.inference.stack_prediction import spot_requests, spot_scores
from intracranial.lineage import SplitName, Stage1Record
from intracranial.membership import make_part, trained_on, write_part
from intracranial.models.backbones import weights_licence
from intracranial.models.slice_classifier import (
    HEATMAP_STRIDE,
    SliceClassifier,
    SliceClassifierConfig,
)
from intracranial.options.stage1 import StackAugmentation, TrainStage1Options
from intracranial.options.training import TrainingOptions
from intracranial.provenance import Plan, Request, write_manifest
from intracranial.runlog import log
from intracranial.sampling.series_info import SeriesInfo, series_infos
from intracranial.sampling.slice_samples import (
    EpochPlanner,
    SeriesPlanner,
    StackDataset,
    StackRequest,
    TargetSpec,
)
from intracranial.sampling.stacks import StackSpec
from intracranial.splits.folds import ALWAYS_TRAINS, Split
from intracranial.splits.split_files import first_of_group
from intracranial.tasks import Task
from intracranial.training.batches import Batch, TrainingData, key, keyed_data
from intracranial.training.checkpoint import save_weights
from intracranial.training.contact_sheet import draw_batches
from intracranial.training.distributed import is_first, process_count
from intracranial.training.loop import Fit, LossParts
from intracranial.training.losses import focal_loss, heatmap_loss, known_labels, known_peaks
from intracranial.training.preview import preview


def input_spec(options: TrainStage1Options) -> StackSpec:
    """How cached pixels become input."""
    return StackSpec(options.input.crop, options.input.input_size, options.input.input_mean)


def model_config(options: TrainStage1Options, task: Task) -> SliceClassifierConfig:
    """The network that these options describe."""
    return SliceClassifierConfig(
        backbone=options.network.model,
        labels=len(task.labels),
        input_size=options.input.input_size,
        pool=options.network.pool,
        dropout=options.network.dropout,
        heatmap=bool(task.locations),
        channels=input_spec(options).channels,
    )


def selection_series(
    options: TrainingOptions, split: Split, fold: int | str, uids: list[str]
) -> tuple[list[str], list[str]]:
    """Series to train on, and those that the log's scores are of.

    The held-out fold is only watched, unless `--select heldout` lets it choose the weights;
    `inner` takes a group-wise tenth out of the training series for that.

    Raises:
        UsageError: `heldout` without a held-out fold.
        InputError: too few groups for `inner`.
    """
    if options.progress.select == "inner":
        return inner_split(split, uids, options.seed)
    watched: list[str] = [] if fold == FINAL_FOLD else split.held_out(int(fold))
    if options.progress.select == "heldout" and not watched:
        raise UsageError("--select heldout needs a held-out fold; use --select last")
    return uids, watched


def inner_split(split: Split, uids: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Divide training series into nine tenths and a tenth, by group, for `--select inner`.

    Series that are never held out are never in the tenth.
    """
    groups = first_of_group(split.series.index.to_series(), split.series["group"])
    divided = groups[split.series["fold"] != ALWAYS_TRAINS]
    inner = {group for group in divided.unique() if key("inner", seed, group) % 10 == 0}
    chosen = [uid for uid in uids if groups[uid] in inner]
    rest = [uid for uid in uids if groups[uid] not in inner]
    if not chosen or not rest:
        raise InputError("too few groups for --select inner; use --select last")
    return rest, chosen


def stack_dataset(
    data: DataPaths,
    infos: dict[str, SeriesInfo],
    task: Task,
    inputs: StackSpec,
    sigma_mm: float = 4.0,
    augmentation: StackAugmentation | None = None,
    seed: int = 0,
) -> StackDataset:
    """Data set of stacks; the heat map's geometry follows from the input size."""
    cells = -(-inputs.input_size // HEATMAP_STRIDE)
    target = TargetSpec(cells, HEATMAP_STRIDE, sigma_mm)
    return StackDataset(data, infos, task, inputs, target, augmentation, seed)


def training_data(
    options: TrainStage1Options,
    data: DataPaths,
    infos: dict[str, SeriesInfo],
    task: Task,
    hard: dict[str, np.ndarray],
) -> TrainingData:
    """Keyed batches of every epoch.

    Raises:
        InputError: there is no positive spot, or fewer stacks than one batch.
        UsageError: hard negatives for labels without places.
    """
    drawn = (options.sampling, options.input.steps, options.seed)
    planner: EpochPlanner | SeriesPlanner
    if task.locations:
        planner = EpochPlanner(infos, *drawn, hard)
        if not planner.positives:
            raise InputError("the training folds hold no positive spot: check train_localizers.csv")
    elif hard:
        raise UsageError("--hard_negatives: no label of this task has a place; leave it out")
    else:
        planner = SeriesPlanner(infos, *drawn, task)
    dataset = stack_dataset(
        data,
        infos,
        task,
        input_spec(options),
        options.loss.heatmap_sigma,
        options.augmentation,
        options.seed,
    )
    per_epoch = len(planner.epoch(0)) // options.optimization.batch_size
    if per_epoch == 0:
        raise InputError(
            f"an epoch has {len(planner.epoch(0))} stacks, fewer than --batch_size "
            f"{options.optimization.batch_size}: give a smaller batch"
        )

    def batches(epoch: int) -> list[list[StackRequest]]:
        plan, size = planner.epoch(epoch), options.optimization.batch_size
        return [plan[i * size : (i + 1) * size] for i in range(per_epoch)]

    return keyed_data(options, dataset, batches, per_epoch, asdict)


class Stage1Loss:
    """Focal loss of the labels plus, where labels have places, a weighted heat-map loss."""

    def __init__(self, gamma: float, heatmap_weight: float, smoothing: float) -> None:
        """Keep the constants."""
        self.gamma = gamma
        self.heatmap_weight = heatmap_weight
        self.smoothing = smoothing

    def counts(self, batch: Batch) -> torch.Tensor:
        """Known labels, and known peaks where there are heat maps."""
        weights = batch["weights"]
        counts = [known_labels(weights)]
        if "heatmap" in batch:
            counts.append(known_peaks(batch["heatmap"], weights))
        return torch.stack(counts)

    def __call__(self, model: nn.Module, batch: Batch, counts: torch.Tensor) -> LossParts:
        """Loss parts of a piece that is on the model's device."""
        output = model(batch["stack"])
        weights = batch["weights"]
        label = focal_loss(
            output.logits, batch["targets"], weights, self.gamma, counts[0], self.smoothing
        )
        if output.heatmap is None:
            return {"loss": label, "label_loss": label}
        heat = heatmap_loss(output.heatmap, batch["heatmap"], weights, counts[1])
        return {"loss": label + self.heatmap_weight * heat, "label_loss": label, "heat_loss": heat}


def record_of(
    options: TrainStage1Options,
    split: Split,
    uids: list[str],
    task: Task,
    preprocessing: Pixels,
    licence: str,
    fold: int | str,
) -> Stage1Record:
    """What a reader of `model/<run>` needs beside the weights."""
    return Stage1Record(
        task=task,
        model=model_config(options, task),
        input=input_spec(options),
        steps=tuple(options.input.steps),
        preprocessing=preprocessing,
        weights_licence=licence,
        seed=options.seed,
        fold=fold,
        select=options.progress.select,
        split=SplitName(split.folds, split.split_hash),
        trained_on=trained_on(uids),
    )


def selecting(options: TrainingOptions, watched: list[str]) -> list[str]:
    """The series whose scores chose the weights."""
    return [] if options.progress.select == "last" else watched


def preview_stage1(
    options: TrainStage1Options,
    split: Split,
    fold: int | str,
    uids: list[str],
    hard: dict[str, np.ndarray],
    request: Request,
    todo: Plan,
    task: Task,
) -> None:
    """Say what `fit_stage1` would do with the same arguments; `todo` is what was decided."""
    uids, watched = selection_series(options, split, fold, uids)
    data = training_data(options, options.data, series_infos(split, uids, task), task, hard)
    counts = len(uids), len(watched)
    model = SliceClassifier(model_config(options, task))
    paths = options.fold_paths(fold)
    preview(options, paths, "stage1", request, todo, counts, data, model)


def fit_stage1(
    options: TrainStage1Options,
    split: Split,
    fold: int | str,
    uids: list[str],
    hard: dict[str, np.ndarray],
    request: Request,
    task: Task,
) -> Stage1Record:
    """Train one fold and save its weights.

    Args:
        options: of the stage.
        split: the division into folds.
        fold: held-out fold, or `FINAL_FOLD`.
        uids: training series.
        hard: hard negatives by series.
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
    torch.manual_seed(key(options.seed, "initial weights"))
    model = SliceClassifier(model_config(options, task), options.network.weights)
    licence = weights_licence(model.encoder, options.network.weights)
    log.info("%s, %s", options.network.model, licence)
    uids, watched = selection_series(options, split, fold, uids)
    data = training_data(options, options.data, series_infos(split, uids, task), task, hard)
    log.info(
        "%d training series, %d batches of %d stacks per epoch",
        len(uids),
        data.batches_per_epoch,
        options.optimization.batch_size,
    )
    requests = spot_requests(split, watched, options.input.steps[:1])
    dataset = stack_dataset(
        options.data, series_infos(split, watched, task), task, input_spec(options)
    )

    workers = loading_processes(options.num_workers, options.device)
    # what a process trains with at once fits into its memory; a whole batch may not
    pieces = options.optimization.accumulate * process_count()
    piece = -(-options.optimization.batch_size // pieces)

    def evaluate(ema: nn.Module) -> dict[str, float | None]:
        return spot_scores(ema, dataset, requests, piece, workers, compute, task)

    loss = Stage1Loss(
        options.loss.focal_gamma, options.loss.heatmap_weight, options.loss.label_smoothing
    )
    fit = Fit(model, loss, options, compute, paths, "stage1", request.identity)
    if options.computing.compile:
        compile_network(fit.model)
    if is_first():
        # only now: until here nothing was made that a later run could resume from
        write_manifest(paths.manifest("stage1"), request, complete=False)
        if not paths.batches("stage1").exists():
            draw_batches(paths.batches("stage1"), data, task)
    selected = fit.run(data, evaluate if requests else None, task.higher_is_better)
    if is_first():
        save_weights(paths.weights("stage1"), selected)
        held_out = [] if fold == FINAL_FOLD else split.held_out(int(fold))
        known = make_part(options.data, uids, selecting(options, watched), held_out)
        write_part(paths, "stage1", known)
    preprocessing = open_preprocess(options.data).pixels
    return record_of(options, split, uids, task, preprocessing, licence, fold)
