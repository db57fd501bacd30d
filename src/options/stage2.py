"""Options of train_stage2.py and eval_stage2.py."""

from dataclasses import dataclass

from src.errors import UsageError
from src.options.common import ModelOptions
from src.options.stage1 import SELECTIONS

PARTS = ("features", "logits", "peaks")


@dataclass(frozen=True, kw_only=True)
class TrainStage2Options(ModelOptions):
    """Train the sequence classifier on the features of every fold but one."""

    parts: tuple[str, ...] = ("features", "logits", "peaks")
    """Stage-1 output to look at: features, logits, peaks (heat-map maxima)."""

    layers: int = 3
    """Transformer layers."""

    width: int = 1024
    """Width of the transformer."""

    feed_forward: int = 1024
    """Width of its feed-forward layers."""

    heads: int = 8
    """Attention heads."""

    pool: str = "gem"
    """Pooling of the slices beside the CLS token: gem, mean, max or attention."""

    dropout: float = 0.05
    """Dropout inside the transformer, 0..1."""

    head_dropout: float = 0.15
    """Dropout before the outputs, 0..1."""

    limit_slices: int = 512
    """Longer series are thinned to this many slices, in training and evaluation alike."""

    epochs: int = 12
    """Passes over the training series."""

    batch_size: int = 32
    """Series per step."""

    optimizer: str = "adamw"
    """timm optimizer."""

    lr: float = 1e-5
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

    focal_gamma: float = 0.0
    """Focusing exponent of the loss; 0 is cross-entropy."""

    slice_weight: float = 0.5
    """Weight of the per-slice loss."""

    slice_sigma: float = 4.0
    """Standard deviation of the per-slice targets in mm."""

    noise: float = 0.1
    """Noise on the inputs, relative to each input's standard deviation over the series."""

    input_dropout: float = 0.1
    """Share of the inputs that are blanked for a whole series."""

    slice_dropout: float = 0.1
    """Share of slices that are left out."""

    reverse: float = 0.5
    """Probability of reversing the slice order (exchanges paired labels in sagittal series)."""

    views: bool = True
    """Train on the augmented views too, where extract_features.py made some."""

    precision: str = "auto"
    """auto, bf16, fp16 or fp32."""

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
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise UsageError(f"--parts {' '.join(self.parts)}: choose from {', '.join(PARTS)}")
        if self.width % (2 * self.heads):
            raise UsageError(
                f"--width {self.width} must be a multiple of twice --heads {self.heads}"
            )
        if self.limit_slices < 1 or self.epochs < 1 or self.batch_size < 1:
            raise UsageError("--limit_slices, --epochs and --batch_size must be 1 or more")
        if self.select not in SELECTIONS:
            raise UsageError(f"--select {self.select}: choose from {', '.join(SELECTIONS)}")


@dataclass(frozen=True, kw_only=True)
class EvalStage2Options(ModelOptions):
    """Score stage 2 on the series of its held-out fold, beside its training series."""
