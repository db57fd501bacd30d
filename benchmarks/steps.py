"""Steps of a training loop under the clock, once it runs steadily."""

import copy
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from benchmarks.side_by_side import Measured, between, now
from intracranial.artifacts import FoldPaths
from intracranial.compute import Compute, compile_network
from intracranial.config import with_values
from intracranial.options.training import TrainingOptions
from intracranial.training.batches import Batch, TrainingData
from intracranial.training.loop import Fit, Loss


@dataclass(frozen=True)
class Window:
    """Steps `warm` to `warm + steps` are measured; another one ends the last."""

    warm: int
    steps: int

    @property
    def total(self) -> int:
        """Steps that are made."""
        return self.warm + self.steps + 1


class Watch:
    """Reads the clocks when the loop asks for the first and for the last batch of the window.

    Neither the start of loader processes nor the checkpoint at the end is in it: a training makes
    them once an epoch. `waited` is the time in which the loop waits for batches. `scale` is the
    gradient scaler's at the end, 1 where gradients are not scaled.
    """

    def __init__(self, window: Window, device: torch.device) -> None:
        """Watch one run."""
        self.window, self.device = window, device
        self.marks: list[Measured] = []
        self.waited = 0.0
        self.scale = 1.0

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, watched."""
        remaining = iter(batches)
        for number in range(self.window.total):
            measured = self.window.warm <= number < self.window.warm + self.window.steps
            if number in (self.window.warm, self.window.warm + self.window.steps):
                self.marks.append(now(self.device))
            start = time.perf_counter()
            batch = next(remaining)
            if measured:
                self.waited += time.perf_counter() - start
            yield batch

    @property
    def time(self) -> Measured:
        """Time of the window."""
        return between(*self.marks)

    @property
    def wait(self) -> float:
        """Share of the window's wall time in which the loop waited for batches."""
        return self.waited / self.time.wall


def held(data: TrainingData, batches: list[Batch]) -> TrainingData:
    """The first batches of the first epoch from memory; the schedule stays that of `data`."""
    return replace(data, pieces=lambda epoch, first: batches[first:])


def watched_fit(
    model: nn.Module,
    loss: Loss,
    options: TrainingOptions,
    compute: Compute,
    data: TrainingData,
    window: Window,
    scratch: Path,
    compiled: bool = False,
) -> tuple[Watch, float]:
    """Train a copy of the network by the program's own loop; `compiled` compiles it first.

    Returns:
        The watch, and the mean loss of all steps.
    """
    watch, trained = Watch(window, compute.device), copy.deepcopy(model)
    if compiled:
        compile_network(trained)
    watched = replace(data, pieces=lambda epoch, first: watch.over(data.pieces(epoch, first)))
    with TemporaryDirectory(dir=scratch) as folder:
        paths = FoldPaths(Path(folder), "run", 0)
        limited = with_values(options, epochs=1, max_steps=window.total)
        fit = Fit(trained, loss, limited, compute, paths, "stage1", "benchmark")
        fit.run(watched, None)
        watch.scale = fit.scaler.get_scale()
    return watch, fit.rows[-1]["loss"]
