"""Stage-1 samples: which stacks an epoch shows, and what a stack's targets are.

Nothing here draws from a global random stream: an epoch's plan depends on (seed, epoch) and a
sample's augmentation on (seed, epoch, position), so that the number of workers and the place of
an interruption change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from intracranial.artifacts import DataPaths, ImageFile
from intracranial.options.stage1 import StackAugmentation, StackSampling
from intracranial.provenance import MADE_BY
from intracranial.sampling.augment import augment
from intracranial.sampling.regions import cache_to_input
from intracranial.sampling.sample_errors import blame
from intracranial.sampling.series_info import SeriesInfo
from intracranial.sampling.stacks import (
    Images,
    StackSpec,
    as_channels,
    neighbours,
    prepare_slices,
)
from intracranial.splits.spots import eligible_negatives, relative_position, slice_at, slice_targets
from intracranial.tasks import Task


@dataclass(frozen=True)
class StackRequest:
    """One stack to make: where it lies and the key of its random numbers."""

    uid: str
    index: int
    step: int
    epoch: int
    position: int


class SeriesPlanner:
    """Draws the stacks of each epoch where no label has a place: slices have their series' labels.

    Every series with the finding gives `slices_per_series` stacks, evenly spread and moved at
    random; series without give `negatives_per_positive` times as many in all.
    """

    def __init__(
        self,
        infos: dict[str, SeriesInfo],
        sampling: StackSampling,
        steps: Sequence[int],
        seed: int,
        task: Task,
    ) -> None:
        """Part the training series by whether they have the finding.

        Args:
            infos: training series.
            sampling: how to draw.
            steps: of the stacks, to draw from.
            seed: keys what is drawn.
            task: the labels.
        """
        self.infos = infos
        self.sampling, self.steps, self.seed = sampling, steps, seed
        positive = {uid: bool(task.has_finding(info.labels)) for uid, info in infos.items()}
        self.positives = [uid for uid, found in positive.items() if found]
        self.negatives = [uid for uid, found in positive.items() if not found]

    def epoch(self, epoch: int) -> list[StackRequest]:
        """Stacks of one epoch in the order in which they are shown."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        count = self.sampling.slices_per_series
        chosen = [one for uid in self.positives for one in self._slices(uid, count, rng)]
        wanted = round(self.sampling.negatives_per_positive * len(chosen))
        if not self.positives:
            wanted = count * len(self.negatives)
        order = rng.permutation(len(self.negatives)).tolist()
        for turn, number in enumerate(order):
            # as equal a share each as whole stacks allow
            share = wanted * (turn + 1) // len(order) - wanted * turn // len(order)
            chosen += self._slices(self.negatives[number], share, rng)
        steps = rng.choice(self.steps, size=len(chosen))
        return [
            StackRequest(uid, index, int(steps[position]), epoch, position)
            for position, (uid, index) in enumerate(
                chosen[source] for source in rng.permutation(len(chosen))
            )
        ]

    def _slices(self, uid: str, count: int, rng: np.random.Generator) -> list[tuple[str, int]]:
        n = self.infos[uid].n
        offsets = (np.arange(count) + rng.random(count)) * n / max(count, 1)
        return [(uid, min(int(offset), n - 1)) for offset in offsets]


class EpochPlanner:
    """Draws the stacks of each epoch where labels have places."""

    def __init__(
        self,
        infos: dict[str, SeriesInfo],
        sampling: StackSampling,
        steps: Sequence[int],
        seed: int,
        hard: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Prepare the positives, the slices allowed as negatives, and the hard negatives.

        Args:
            infos: training series.
            sampling: how to draw.
            steps: of the stacks, to draw from.
            seed: keys what is drawn.
            hard: slice indices of hard negatives by series.
        """
        self.infos = infos
        self.sampling, self.steps, self.seed = sampling, steps, seed
        self.positives = [
            (uid, int(index)) for uid, info in infos.items() for index in np.unique(info.indices)
        ]
        self.allowed = {
            uid: allowed
            for uid, info in infos.items()
            if info.localized and len(allowed := eligible_negatives(info.n, info.indices))
        }
        self.sources = sorted(self.allowed)
        self.hard = [
            (uid, int(index))
            for uid in self.sources
            for index in (hard or {}).get(uid, ())
            if index in self.allowed[uid]
        ]

    def epoch(self, epoch: int) -> list[StackRequest]:
        """Stacks of one epoch in the order in which they are shown."""
        rng = np.random.default_rng([self.seed, 1, epoch])
        chosen = [self._shifted(uid, index, rng) for uid, index in self.positives]
        negatives = round(self.sampling.negatives_per_positive * max(1, len(chosen)))
        if self.sources:
            chosen += [self._negative(rng) for _ in range(negatives)]
        order = rng.permutation(len(chosen))
        steps = rng.choice(self.steps, size=len(chosen))
        return [
            StackRequest(
                chosen[source][0], chosen[source][1], int(steps[position]), epoch, position
            )
            for position, source in enumerate(order)
        ]

    def _shifted(self, uid: str, index: int, rng: np.random.Generator) -> tuple[str, int]:
        if rng.random() < self.sampling.shift_positive:
            index += int(rng.choice((-1, 1)))
        return uid, min(max(index, 0), self.infos[uid].n - 1)

    def _negative(self, rng: np.random.Generator) -> tuple[str, int]:
        if self.hard and rng.random() < self.sampling.hard_probability:
            return self.hard[rng.integers(len(self.hard))]
        uid = self.sources[rng.integers(len(self.sources))]
        allowed = self.allowed[uid]
        if self.positives and rng.random() < 0.5:
            # Half of the negatives lie where findings lie, so that position alone tells nothing.
            like, index = self.positives[rng.integers(len(self.positives))]
            if self.infos[like].plane == self.infos[uid].plane:
                wanted = slice_at(relative_position(index, self.infos[like].n), self.infos[uid].n)
                return uid, int(allowed[np.abs(allowed - wanted).argmin()])
        return uid, int(allowed[rng.integers(len(allowed))])


@dataclass(frozen=True)
class TargetSpec:
    """Heat maps: `cells` per edge, `stride` input pixels per cell, `sigma_mm` of the peaks."""

    cells: int
    stride: int
    sigma_mm: float

    def sigma(self, pixel_mm: tuple[float, float], scale: np.ndarray) -> np.ndarray:
        """Standard deviation of the peaks along x and y in cells, float64 (2,).

        Args:
            pixel_mm: mm per cache pixel along x and y.
            scale: input pixels per cache pixel along them, (2,).
        """
        return self.sigma_mm / np.array(pixel_mm) * scale / self.stride


class StackDataset(Dataset[dict[str, torch.Tensor]]):
    """Stacks by request, read from the caches.

    An item has `stack` float32 (C, S, S), `targets` and `weights` float32 (L,), and, where labels
    have places, `heatmap` float32 (L, cells, cells), whose overall channel shows every localizer.
    """

    def __init__(
        self,
        data: DataPaths,
        infos: dict[str, SeriesInfo],
        task: Task,
        inputs: StackSpec,
        target: TargetSpec,
        augmentation: StackAugmentation | None,
        seed: int,
    ) -> None:
        """Keep the specifications; caches are opened when an item is made.

        Args:
            data: where the caches lie.
            infos: series that may be requested.
            task: labels and locations.
            inputs: what a stack shows.
            target: heat-map geometry.
            augmentation: None for evaluation.
            seed: first part of every sample's random key.
        """
        self.data = data
        self.infos = infos
        self.task = task
        self.inputs = inputs
        self.target = target
        self.augmentation = augmentation
        self.seed = seed
        self.mirror_labels = list(task.mirrored()) if task.flips else []
        localized = task.localized_labels
        self.whole = [k for k, name in enumerate(task.labels) if name not in localized]

    def __getitem__(self, request: StackRequest) -> dict[str, torch.Tensor]:
        """One stack with its targets.

        Raises:
            InputError: it cannot be made; the message names series, slice and file.
        """
        path = self.data.sequence(request.uid)
        with blame(f"series {request.uid}, slice {request.index}, file {path}"):
            return self._make(request, ImageFile(path, MADE_BY["preprocess"]))

    def _make(self, request: StackRequest, volume: Images) -> dict[str, torch.Tensor]:
        info = self.infos[request.uid]
        region = self.inputs.region(info.size)
        chosen = neighbours(request.index, request.step, info.n, self.inputs.slices)
        stack = prepare_slices(volume, self.inputs, region, chosen)
        reach = self.inputs.reach(request.step)
        near = np.abs(info.indices - request.index) <= reach
        names = [self.task.locations[i] if i >= 0 else "" for i in info.locations]
        targets = slice_targets(info.indices, names, request.index, reach, self.task)
        targets[self.whole] = np.nan_to_num(info.labels[self.whole])
        weights = np.where(targets > 0, np.float32(1), info.label_weights)  # seen, so known
        points = cache_to_input(info.points[near], region, self.inputs.input_size)
        channels = self._channels(
            [name for name, is_near in zip(names, near, strict=True) if is_near]
        )
        sigma = self.target.sigma(info.pixel_mm, region.scale(self.inputs.input_size))
        if self.augmentation is not None:
            rng = np.random.default_rng([self.seed, 2, request.epoch, request.position])
            augmented = augment(stack, points, info.axis, self.augmentation, rng)
            stack, points = augmented.stack, augmented.points
            if augmented.mirrored:
                targets = targets[self.mirror_labels]
                weights = weights[self.mirror_labels]
                channels = [(i, self.mirror_labels[label]) for i, label in channels]
        item = {
            "stack": torch.from_numpy(np.ascontiguousarray(as_channels(stack))),
            "targets": torch.from_numpy(targets.copy()),
            "weights": torch.from_numpy(weights.copy()),
        }
        if self.task.locations:
            shown, numbers = np.array(channels, dtype=np.int64).reshape(-1, 2).T
            heatmap = gaussian_peaks(
                ((points + 0.5) / self.target.stride - 0.5)[shown],
                numbers,
                sigma,
                (len(self.task.labels), self.target.cells, self.target.cells),
            )
            item["heatmap"] = torch.from_numpy(heatmap)
        return item

    def _channels(self, names: list[str]) -> list[tuple[int, int]]:
        """Numbers of a localizer and of a label whose heat map shows it; the overall one last."""
        own = [(i, self.task.labels.index(name)) for i, name in enumerate(names) if name]
        if self.task.overall is None:
            return own
        overall = self.task.labels.index(self.task.overall)
        return own + [(i, overall) for i in range(len(names))]


def gaussian_peaks(
    points: np.ndarray, channels: np.ndarray, sigma: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """Heat-map targets: a Gaussian of height 1 at each point, the larger one where two meet.

    Args:
        points: float64 (m, 2) as x, y in cells.
        channels: int64 (m,) channel of each point.
        sigma: float64 (2,) standard deviation along x and y in cells; 0.7 cells at least, so that
            a peak between four cells still reaches them.
        shape: (channels, rows, columns).

    Returns:
        float32 array of `shape`, 0..1.
    """
    heatmap = np.zeros(shape, dtype=np.float32)
    sigma_x, sigma_y = np.maximum(sigma, 0.7)
    rows, columns = np.arange(shape[1]), np.arange(shape[2])
    for (x, y), channel in zip(points, channels, strict=True):
        across = np.exp(-0.5 * ((columns - x) / sigma_x) ** 2)
        down = np.exp(-0.5 * ((rows - y) / sigma_y) ** 2)
        peak = np.outer(down, across).astype(np.float32)
        np.maximum(heatmap[channel], peak, out=heatmap[channel])
    return heatmap
