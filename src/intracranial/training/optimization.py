"""How weights are changed: optimizer, schedule, and gradient clipping."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import nn

from intracranial.errors import UsageError
from intracranial.options.training import Optimization

CLIP_HISTORY = 256
"""Gradient norms whose median is the clipping threshold."""

CLIP_RANGE = (1.0, 100.0)
"""Bounds of the clipping threshold."""

FUSED = ("adam", "adamw", "sgd")
"""Optimizers that torch has as one kernel, taken on CUDA. On a CPU the whole step gained nothing
that could be measured, and last bits would change: see LOG.md."""

KERNELS = ("capturable", "foreach", "fused")
"""Settings of torch's optimizers that choose between kernels for the same update."""

LOWEST_LR = 0.01
"""Learning rate at the start of the warm-up and at the end of a cosine, as a share of the full."""


class GradientClipper:
    """Clips at the median of the last gradient norms, which follows the run's own scale.

    Norms and threshold stay on the device, so that no step waits for it.
    """

    def __init__(self, device: torch.device, history: Sequence[float] = ()) -> None:
        """Go on from an earlier history of finite norms, the oldest first."""
        # an empty place is infinite: it sorts behind all norms
        empty = [math.inf] * (CLIP_HISTORY - len(history))
        # in float64 the mean of two norms is that of Python's statistics.median
        self._norms = torch.tensor([*empty, *history], dtype=torch.float64, device=device)

    @property
    def history(self) -> list[float]:
        """The last finite norms, the oldest first; reading them waits for the device."""
        return [norm for norm in self._norms.tolist() if math.isfinite(norm)]

    @property
    def threshold(self) -> torch.Tensor:
        """Present threshold, float64 scalar on the device; the upper bound without a history."""
        count = self._norms.isfinite().sum()
        middle = torch.stack([(count - 1).clamp(min=0) // 2, count // 2])
        median = self._norms.sort().values[middle].sum() / 2
        return median.clamp(*CLIP_RANGE)

    def clip(self, parameters: list[nn.Parameter]) -> torch.Tensor:
        """Clip gradients in place, remember their norm if it is finite, and return it.

        The norm is a float32 scalar on the device.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        # as torch's clip_grads_with_norm_ does, which takes the threshold as a number of the host
        scale = (norm + 1e-6).reciprocal() * self.threshold.to(norm.dtype)
        torch._foreach_mul_(gradients, scale.clamp(max=1.0))
        moved = torch.cat([self._norms[1:], norm.to(self._norms.dtype)[None]])
        self._norms = torch.where(norm.isfinite(), moved, self._norms)
        return norm


def make_optimizer(model: nn.Module, spec: Optimization) -> torch.optim.Optimizer:
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


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's saved state, but keep the kernels that suit the present device.

    Args:
        optimizer: of the network that is placed already.
        state: its state_dict, from another device perhaps; changed.
    """
    for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True):
        saved.update({name: own[name] for name in KERNELS if name in own})
    optimizer.load_state_dict(state)


def make_schedule(
    optimizer: torch.optim.Optimizer, spec: Optimization, batches_per_epoch: int
) -> Any:  # noqa: ANN401
    """Timm's scheduler; it has no state, its `step` is told the number of the update."""
    constant = spec.schedule == "constant"
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
