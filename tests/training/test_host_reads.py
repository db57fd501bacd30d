"""In an epoch no step waits for the device: the host reads a report only when it has arrived."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from intracranial.artifacts import FoldPaths
from intracranial.compute import choose_compute
from intracranial.config import with_values
from intracranial.models.sequence_classifier import SequenceClassifier, SequenceClassifierConfig
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from intracranial.stages.sequence_training import Stage2Loss
from intracranial.stages.slice_training import Stage1Loss
from intracranial.training.batches import Batch, TrainingData
from intracranial.training.loop import Fit, Loss
from intracranial.training.optimization import GradientClipper
from intracranial.training.step_report import STEPS_AHEAD, StepReport
from tests.training.test_loop import SPEC as EPOCHS

LABELS = 3
PIECES = 2
BATCHES = 7
SPEC = with_values(
    EPOCHS,
    epochs=1,
    optimizer="sgd",  # AdamW counts steps on the host on a CPU, on CUDA in its fused kernel
    lr=1e-3,
    weight_decay=0.01,
    checkpoint_minutes=10,
)

WAITING = frozenset(
    "__array__ __bool__ __float__ __index__ __int__ as_tensor cpu item masked_select new_tensor "
    "nonzero numpy tensor tolist unique".split()
)
"""Calls that wait on a CUDA device: those that read from it, and copies of Python numbers to it."""

WAITING_KERNELS = frozenset(
    {
        torch.ops.aten._local_scalar_dense.default,
        torch.ops.aten.nonzero.default,
        torch.ops.aten.masked_select.default,
    }
)


class Kernels(TorchDispatchMode):
    """Notes kernels that wait, whoever calls them."""

    def __init__(self, note: Any) -> None:
        super().__init__()
        self.note = note

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in WAITING_KERNELS:
            self.note(str(func))
        return func(*args, **(kwargs or {}))


class Calls(TorchFunctionMode):
    """Notes calls from Python that wait."""

    def __init__(self, note: Any) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        to_host = any(isinstance(arg, str) and arg == "cpu" for arg in args[1:])
        moved = name == "to" and to_host and not kwargs.get("non_blocking")
        if name in WAITING or moved:
            self.note(name)
        return func(*args, **kwargs)


def stacks() -> Batch:
    return {
        "stack": torch.randn(2, 3, 32, 32),
        "targets": torch.zeros(2, LABELS),
        "weights": torch.ones(2, LABELS),
        "heatmap": torch.rand(2, LABELS, 4, 4),
    }


def sequences() -> Batch:
    return {
        "tokens": torch.randn(2, 5, 4 + LABELS),
        "position": torch.randn(2, 5),
        "mask": torch.ones(2, 5, dtype=torch.bool),
        "known": torch.ones(2, dtype=torch.bool),
        "targets": torch.zeros(2, LABELS),
        "weights": torch.ones(2, LABELS),
        "slice_targets": torch.zeros(2, 5, LABELS),
        "slice_weights": torch.ones(2, 5, LABELS),
    }


def stage1() -> tuple[nn.Module, Loss, list[Batch]]:
    model = SliceClassifier(SliceClassifierConfig("test_resnet", LABELS, 32, dropout=0.1))
    return model, Stage1Loss(2.0, 1.0, 0.1), [stacks() for _ in range(BATCHES * PIECES)]


def stage2() -> tuple[nn.Module, Loss, list[Batch]]:
    config = SequenceClassifierConfig(4 + LABELS, LABELS, 8, 8, 1, 2, "gem", 0.1, 0.1, skip=4)
    loss = Stage2Loss(2.0, 1.0, 0.1)
    return SequenceClassifier(config), loss, [sequences() for _ in range(BATCHES * PIECES)]


def steps_that_wait(stage, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Batch and call of every read in an epoch, but for reports of `STEPS_AHEAD` steps ago."""
    model, loss, pieces = stage()
    compute = choose_compute("cpu", "bf16")
    run = Fit(model, loss, SPEC, compute, FoldPaths(folder, "run", 0), "stage1", "id")
    run.ahead = STEPS_AHEAD
    found: list[tuple[int, str]] = []
    arrived: list[int] = []

    def note(name: str) -> None:
        if run.epoch == 0 and run.batch < BATCHES and not arrived:
            found.append((run.batch, name))

    def read(report: StepReport) -> Any:
        if run.batch - 1 - report.batch < STEPS_AHEAD:
            return original(report)
        arrived.append(report.batch)
        try:
            return original(report)
        finally:
            arrived.clear()

    original = StepReport.read
    monkeypatch.setattr(StepReport, "read", read)
    with Kernels(note), Calls(note):
        run.run(TrainingData(lambda epoch, first: pieces, BATCHES, PIECES), None)
    assert run.rows and not run.reports
    return found


@pytest.mark.parametrize("stage", [stage1, stage2])
def test_no_step_waits_for_the_device(stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert steps_that_wait(stage, tmp_path, monkeypatch) == []


def test_a_norm_that_is_read_is_noticed_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clip = GradientClipper.clip

    def reading(clipper: GradientClipper, parameters: list[nn.Parameter]) -> torch.Tensor:
        norm = clip(clipper, parameters)
        float(norm)
        return norm

    monkeypatch.setattr(GradientClipper, "clip", reading)
    assert {batch for batch, _ in steps_that_wait(stage2, tmp_path, monkeypatch)} == set(
        range(BATCHES)
    )
