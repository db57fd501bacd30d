"""Options that both training stages share."""

from dataclasses import dataclass

from src.errors import UsageError
from src.options.common import ModelOptions

SELECTIONS = ("last", "inner", "heldout")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(ModelOptions):
    """How long and how fast to train, and which weights to keep."""

    epochs: int = 20
    """Passes over the training data."""

    batch_size: int = 32
    """Stacks (stage 1) or series (stage 2) per step."""

    optimizer: str = "adamw"
    """timm optimizer."""

    lr: float = 1e-4
    """Learning rate after warm-up."""

    weight_decay: float = 0.01
    """Weight decay, on every parameter."""

    schedule: str = "constant"
    """Learning rate after warm-up: constant or cosine."""

    warmup_epochs: float = 1.0
    """Epochs of linear warm-up."""

    ema_decay: float = 0.999
    """Decay of the weight average that is saved, after its own warm-up."""

    ema_every: int = 1
    """Steps between updates of the weight average."""

    precision: str = "auto"
    """auto, bf16, fp16 or fp32; auto takes bf16 where the device is fast at it."""

    select: str = "last"
    """Weights to keep: last epoch, best on an `inner` tenth, or best on the `heldout` fold."""

    train_on_all: bool = False
    """Train one final model on every series (same as --fold final)."""

    seed: int = 0
    """Keys every random number."""

    limit: int | None = None
    """Use only the first N training series (a trial; the artifact is marked as partial)."""

    def __post_init__(self) -> None:
        """Check flags against each other."""
        super().__post_init__()
        if self.epochs < 1 or self.batch_size < 1:
            raise UsageError("--epochs and --batch_size must be 1 or more")
        if self.select not in SELECTIONS:
            raise UsageError(f"--select {self.select}: choose from {', '.join(SELECTIONS)}")
