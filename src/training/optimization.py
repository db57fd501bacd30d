"""How weights are changed: optimizer, schedule, and gradient clipping."""

import statistics
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

from src.errors import UsageError

CLIP_HISTORY = 256
"""Gradient norms whose median is the clipping threshold."""

CLIP_RANGE = (1.0, 100.0)
"""Bounds of the clipping threshold."""

FUSED = ("adam", "adamw", "sgd")
"""Optimizers that torch has as one kernel, taken on CUDA. On a CPU the whole step gained nothing
that could be measured, and last bits would change: see LOG.md."""

LOWEST_LR = 0.01
"""Learning rate at the start of the warm-up and at the end of a cosine, as a share of the full."""


@dataclass(frozen=True)
class FitSpec:
    """How long and how fast to train.

    `epochs`; `optimizer`, `lr` and `weight_decay` as timm's; `schedule` is constant or cosine,
    after `warmup_epochs` of linear warm-up; the EMA has `ema_decay` and is updated every
    `ema_every` steps; `select` is last, inner or heldout; `seed` keys all random numbers;
    `max_steps` ends the training early; `checkpoint_minutes` is the time between checkpoints and
    `evaluate_every` the steps between scores within an epoch, 0 for none; `tensorboard` asks for
    event files.
    """

    epochs: int
    optimizer: str
    lr: float
    weight_decay: float
    schedule: str
    warmup_epochs: float
    ema_decay: float
    ema_every: int
    select: str
    seed: int
    max_steps: int | None = None
    checkpoint_minutes: float = 0.0
    evaluate_every: int = 0
    tensorboard: bool = False


class GradientClipper:
    """Clips at the median of the last gradient norms, which follows the run's own scale."""

    def __init__(self, history: list[float]) -> None:
        """Go on from an earlier history."""
        self.history = history

    @property
    def threshold(self) -> float:
        """Present threshold."""
        low, high = CLIP_RANGE
        return min(max(statistics.median(self.history), low), high) if self.history else high

    def clip(self, parameters: list[nn.Parameter]) -> float:
        """Clip gradients in place, remember their norm if it is finite, and return it."""
        norm = float(nn.utils.clip_grad_norm_(parameters, self.threshold))
        if norm < float("inf"):
            self.history = [*self.history[-(CLIP_HISTORY - 1) :], norm]
        return norm


def make_optimizer(model: nn.Module, spec: FitSpec) -> torch.optim.Optimizer:
    """The optimizer of a placed network.

    Raises:
        UsageError: timm does not know it.
    """
    on_cuda = next(model.parameters()).device.type == "cuda"
    fused: dict[str, Any] = {"fused": True} if on_cuda and spec.optimizer in FUSED else {}
    try:
        return create_optimizer_v2(
            model,
            opt=spec.optimizer,
            lr=spec.lr,
            weight_decay=spec.weight_decay,
            filter_bias_and_bn=False,
            **fused,
        )
    except (ValueError, AssertionError) as error:
        raise UsageError(f"--optimizer {spec.optimizer}: {error}") from None


def make_schedule(optimizer: torch.optim.Optimizer, spec: FitSpec, batches_per_epoch: int) -> Any:  # noqa: ANN401
    """Timm's scheduler; it has no state, its `step` is told the number of the update.

    Raises:
        UsageError: unknown schedule.
    """
    constant = spec.schedule == "constant"
    if not constant and spec.schedule != "cosine":
        raise UsageError(f"--schedule {spec.schedule}: give constant or cosine")
    # timm counts whole epochs; counting updates as "epochs" lets the warm-up be a fraction.
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="step" if constant else "cosine",
        num_epochs=spec.epochs * batches_per_epoch,
        decay_epochs=spec.epochs * batches_per_epoch,
        decay_rate=1.0,
        min_lr=spec.lr * LOWEST_LR,
        warmup_lr=spec.lr * LOWEST_LR,
        warmup_epochs=round(spec.warmup_epochs * batches_per_epoch),
        step_on_epochs=True,
    )
    return scheduler
