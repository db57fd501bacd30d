"""Baseline of the quality benchmark: one 2-D net that sees 32 slices of a series as channels.

The same backbone, input size, augmentation, optimizer and schedule as stage 1 of the recipe, and
as many forward and backward passes as stage 1 had; labels of whole series only.
"""

import zlib
from typing import Any

import numpy as np
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader, Dataset

from intracranial.artifacts import DataPaths, load_array
from intracranial.compute import Compute, loading_processes
from intracranial.metrics import ScoreTable, score_table
from intracranial.options.stage1 import StackAugmentation, TrainStage1Options
from intracranial.provenance import MADE_BY
from intracranial.sampling.augment import augment
from intracranial.sampling.series_info import SeriesInfo
from intracranial.sampling.stacks import StackSpec, as_channels, prepare_slices
from intracranial.stages.slice_training import input_spec
from intracranial.tasks import Task
from intracranial.training.losses import focal_loss, known_labels
from intracranial.training.optimization import GradientClipper

CHANNELS = 32
"""Slices per series, evenly spread."""


class VolumeDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Whole series as 32 channels: float32 (32, S, S) and the series' labels."""

    def __init__(
        self,
        data: DataPaths,
        infos: dict[str, SeriesInfo],
        task: Task,
        inputs: StackSpec,
        augmentation: StackAugmentation | None,
        seed: int,
    ) -> None:
        """Keep what an item needs."""
        self.data, self.infos, self.inputs = data, infos, inputs
        self.augmentation, self.seed = augmentation, seed
        self.mirror = list(task.mirrored())
        self.prepared: dict[str, np.ndarray] = {}

    def prepare(self, uid: str) -> np.ndarray:
        """Read one series once; every pass after the first finds it in memory."""
        if uid not in self.prepared:
            volume = load_array(self.data.sequence(uid), MADE_BY["preprocess"])
            chosen = np.linspace(0, self.infos[uid].n - 1, CHANNELS).round().astype(int)
            region = self.inputs.region(self.infos[uid].size)
            self.prepared[uid] = as_channels(prepare_slices(volume[chosen], self.inputs, region))
        return self.prepared[uid]

    def __getitem__(self, request: tuple[str, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """One series, augmented with the key of (series, pass)."""
        uid, number = request
        info = self.infos[uid]
        stack, labels = self.prepare(uid).copy(), info.labels
        if self.augmentation is not None:
            rng = np.random.default_rng([self.seed, 9, number, zlib.crc32(uid.encode())])
            changed = augment(stack, np.zeros((0, 2)), info.axis, self.augmentation, rng)
            stack = changed.stack
            if changed.mirrored:
                labels = labels[self.mirror]
        return torch.from_numpy(np.ascontiguousarray(stack)), torch.from_numpy(labels.copy())


def train_and_score(
    options: TrainStage1Options,
    passes: int,
    training: tuple[DataPaths, dict[str, SeriesInfo]],
    testing: tuple[DataPaths, dict[str, SeriesInfo]],
    task: Task,
    compute: Compute,
) -> ScoreTable:
    """Train the baseline and score it.

    Args:
        options: stage 1's; model, input, optimizer and augmentation are taken from them.
        passes: series to show in all, as many as stage 1 was shown stacks.
        training: caches and series to train on.
        testing: caches and series to score.
        task: labels and metric.
        compute: device and precision.

    Returns:
        `metrics.score_table` of the test series.
    """
    torch.manual_seed(options.seed)
    how = options.optimization
    pool: dict[str, Any] = {"global_pool": options.network.pool} if options.network.pool else {}
    model = timm.create_model(
        options.network.model, in_chans=CHANNELS, num_classes=len(task.labels), **pool
    ).to(compute.device)
    model = model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(
        model,
        opt=how.optimizer,
        lr=how.lr,
        weight_decay=how.weight_decay,
        filter_bias_and_bn=False,
    )
    steps = passes // how.batch_size
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=steps,
        warmup_lr=how.lr * 0.01,
        warmup_epochs=round(steps * how.warmup_epochs / how.epochs),
    )
    ema = ModelEmaV3(model, decay=how.ema_decay, use_warmup=True)
    dataset = VolumeDataset(
        training[0], training[1], task, input_spec(options), options.augmentation, options.seed
    )
    clipper = GradientClipper(compute.device)
    parameters = list(model.parameters())
    model.train()
    for step, (stacks, labels) in enumerate(
        DataLoader(
            dataset,
            batch_sampler=_batches(list(training[1]), steps, how.batch_size, options.seed),
            num_workers=loading_processes(options.num_workers, options.device),
        )
    ):
        schedule.step(step)
        with compute.autocast():
            logits = model(compute.place(stacks))
        targets = labels.to(logits.device)
        known = torch.ones_like(targets)
        loss = focal_loss(logits, targets, known, options.loss.focal_gamma, known_labels(known))
        optimizer.zero_grad()
        loss.backward()
        clipper.clip(parameters)
        optimizer.step()
        ema.update(model, step=step + 1)
    return _score(ema.module.eval(), testing, options, task, compute)


def _batches(uids: list[str], steps: int, size: int, seed: int) -> list[list[tuple[str, int]]]:
    rng = np.random.default_rng([seed, 10])
    order: list[tuple[str, int]] = []
    number = 0
    while len(order) < steps * size:
        order += [(uids[i], number) for i in rng.permutation(len(uids))]
        number += 1
    return [order[i * size : (i + 1) * size] for i in range(steps)]


@torch.inference_mode()
def _score(
    model: torch.nn.Module,
    testing: tuple[DataPaths, dict[str, SeriesInfo]],
    options: TrainStage1Options,
    task: Task,
    compute: Compute,
) -> ScoreTable:
    dataset = VolumeDataset(testing[0], testing[1], task, input_spec(options), None, 0)
    found, targets = [], []
    for uid in testing[1]:
        stack, labels = dataset[uid, 0]
        with compute.autocast():
            logits = model(compute.place(stack[None]))
        found.append(logits[0].double().sigmoid().cpu().numpy())
        targets.append(labels.numpy())
    return score_table(task, np.stack(targets), np.stack(found))
