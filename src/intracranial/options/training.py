"""Options that both training stages share."""

import math
from dataclasses import dataclass
from typing import Literal

from intracranial.errors import UsageError
from intracranial.marks import Setting
from intracranial.options.common import Computing, ModelOptions, Trial


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """How the weights are changed, and which average of them is kept."""

    # the stages give what has no default here

    epochs: int
    """Passes over the positive spots (stage 1) or the training series (stage 2)."""

    batch_size: int = 32
    """Stacks (stage 1) or series (stage 2) per step, over all pieces and processes together."""

    accumulate: int = 1
    """Pieces in which a batch is computed, for less memory; the gradient is that of the batch."""

    optimizer: str = "adamw"
    """timm optimizer."""

    lr: float
    """Learning rate after warm-up."""

    weight_decay: float = 0.01
    """Weight decay, on every parameter."""

    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after warm-up."""

    warmup_epochs: float = 1.0
    """Epochs of linear warm-up."""

    ema_decay: float = 0.999
    """Decay of the weight average that is saved, after its own warm-up."""

    ema_every: int = 1
    """Steps between updates of the weight average."""

    def __post_init__(self) -> None:
        """Check flags against each other."""
        if self.epochs < 1 or self.batch_size < 1:
            raise UsageError("--epochs and --batch_size must be 1 or more")
        if not 1 <= self.accumulate <= self.batch_size:
            raise UsageError(
                f"--accumulate {self.accumulate}: give 1 to --batch_size {self.batch_size}"
            )


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """What is minimised."""

    focal_gamma: float
    """Focusing exponent of the classification loss; 0 is cross-entropy."""

    label_smoothing: float = 0.0
    """Share by which the classification targets move towards 0.5, 0 to below 1."""

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"--label_smoothing {self.label_smoothing}: give 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What is scored, saved and kept while a training runs."""

    select: Literal["last", "inner", "heldout"] = "last"
    """Weights to keep: last epoch, best on an `inner` tenth, or best on the `heldout` fold."""

    evaluate_every: int = 0
    """Steps between scores within an epoch; 0 scores at the end of each epoch only."""

    checkpoint_minutes: Setting[float] = 10.0
    """Minutes between checkpoints within an epoch; 0 saves at the end of each epoch only."""

    tensorboard: Setting[bool] = False
    """Write TensorBoard event files beside the CSV log; needs the package tensorboard."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.evaluate_every < 0:
            raise UsageError(f"--evaluate_every {self.evaluate_every}: give 0 or more")
        if not (math.isfinite(self.checkpoint_minutes) and self.checkpoint_minutes >= 0):
            raise UsageError(f"--checkpoint_minutes {self.checkpoint_minutes}: give 0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainingTrial(Trial):
    """A part of the work, or a look at it."""

    limit: int | None = None
    """Use only the first N training series (a trial; the artifact is marked as partial)."""

    max_steps: int | None = None
    """Stop after N steps (a trial; the artifact is marked as partial)."""

    def __post_init__(self) -> None:
        """Check that something is trained."""
        if self.max_steps is not None and self.max_steps < 1:
            raise UsageError(f"--max_steps {self.max_steps}: give 1 or more")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(ModelOptions):
    """How long and how fast to train, and which weights to keep."""

    train_on_all: Setting[bool] = False
    """Train one final model on every series (same as --fold final)."""

    seed: int = 0
    """Keys every random number."""

    optimization: Optimization
    progress: Progress = Progress()
    trial: TrainingTrial = TrainingTrial()
    computing: Computing = Computing()

    def partial(self, inherited: str | None) -> str | None:
        """What is limited, in words: by these options, else by an input; None for nothing."""
        limits = {"limit": self.trial.limit, "max_steps": self.trial.max_steps}
        words = [f"--{name} {value}" for name, value in limits.items() if value is not None]
        return ", ".join(words) or inherited
