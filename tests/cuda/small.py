"""Small networks of both stages with batches and trainings of them."""

from pathlib import Path

import torch
from torch import nn

from intracranial.artifacts import FoldPaths
from intracranial.compute import Compute
from intracranial.config import with_values
from intracranial.models.sequence_classifier import SequenceClassifier, SequenceClassifierConfig
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from intracranial.options.training import Optimization, TrainingOptions
from intracranial.stages.sequence_training import Stage2Loss
from intracranial.stages.slice_training import Stage1Loss
from intracranial.training.batches import Batch, TrainingData
from intracranial.training.loop import Fit, Loss

LABELS, EDGE, FEATURES = 3, 64, 8
BATCHES, SIZE = 3, 4

SPEC = TrainingOptions(
    run="run",
    seed=1,
    optimization=Optimization(epochs=2, lr=1e-3, warmup_epochs=0.5, ema_decay=0.9),
)


def stacks(number: int, size: int = SIZE) -> Batch:
    """A batch of stage 1, on the CPU."""
    generator = torch.Generator().manual_seed(number)
    return {
        "stack": torch.randn(size, 3, EDGE, EDGE, generator=generator),
        "targets": (torch.rand(size, LABELS, generator=generator) > 0.5).float(),
        "weights": torch.ones(size, LABELS),
        "heatmap": torch.rand(size, LABELS, EDGE // 8, EDGE // 8, generator=generator),
    }


def sequences(number: int, size: int = SIZE) -> Batch:
    """A padded batch of stage 2, on the CPU."""
    generator = torch.Generator().manual_seed(number)
    length = 12
    mask = torch.arange(length)[None] < torch.arange(length, length - size, -1)[:, None]
    return {
        "tokens": torch.randn(size, length, FEATURES + LABELS, generator=generator),
        "position": torch.linspace(-20, 20, length).repeat(size, 1),
        "mask": mask,
        "known": torch.ones(size, dtype=torch.bool),
        "targets": (torch.rand(size, LABELS, generator=generator) > 0.5).float(),
        "weights": torch.ones(size, LABELS),
        "slice_targets": torch.rand(size, length, LABELS, generator=generator),
        "slice_weights": mask[..., None].float().repeat(1, 1, LABELS),
    }


def classifier(backbone: str = "test_convnext", dropout: float = 0.1) -> SliceClassifier:
    """Stage 1 with the same random weights every time."""
    torch.manual_seed(0)
    return SliceClassifier(SliceClassifierConfig(backbone, LABELS, EDGE, dropout=dropout))


def transformer(dropout: float = 0.1) -> SequenceClassifier:
    """Stage 2 with the same random weights every time."""
    torch.manual_seed(0)
    size = (FEATURES + LABELS, LABELS, 32, 32, 2, 2, "gem", dropout, dropout)
    return SequenceClassifier(SequenceClassifierConfig(*size, skip=FEATURES))


def stage(name: str, dropout: float = 0.1) -> tuple[nn.Module, Loss, list[Batch]]:
    """Network, loss and batches of `stage1` or `stage2`."""
    if name == "stage1":
        made = [stacks(number) for number in range(BATCHES)]
        return classifier(dropout=dropout), Stage1Loss(2.0, 0.1, 0.0), made
    made = [sequences(number) for number in range(BATCHES)]
    return transformer(dropout), Stage2Loss(0.0, 0.5, 0.0), made


def data_of(batches: list[Batch], accumulate: int = 1) -> TrainingData:
    """The same batches in every epoch, each cut into strided pieces."""

    def pieces(epoch: int, first: int) -> list[Batch]:
        return [
            {name: tensor[number::accumulate] for name, tensor in batch.items()}
            for batch in batches[first:]
            for number in range(accumulate)
        ]

    return TrainingData(pieces, len(batches), accumulate)


def fit(name: str, compute: Compute, folder: Path, dropout: float = 0.1, **changes: object) -> Fit:
    """A training of one stage that has not begun."""
    model, loss, _ = stage(name, dropout)
    spec = with_values(SPEC, **changes)
    return Fit(model, loss, spec, compute, FoldPaths(folder, "run", 0), name, "id")


def train(
    name: str, compute: Compute, folder: Path, dropout: float = 0.1, **changes: object
) -> Fit:
    """A training of one stage that is done."""
    made = fit(name, compute, folder, dropout, **changes)
    made.run(data_of(stage(name)[2]), None)
    return made


def weights_of(made: Fit) -> dict[str, torch.Tensor]:
    """The average's weights on the CPU."""
    return {name: value.cpu().clone() for name, value in made.ema.module.state_dict().items()}


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference of two networks' weights."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)
