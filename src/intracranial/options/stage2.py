"""Options of train_stage2.py and eval_stage2.py."""

from dataclasses import dataclass
from typing import Literal

from intracranial.errors import UsageError
from intracranial.options.evaluation import EvaluationOptions
from intracranial.options.training import LossOptions, Optimization, TrainingOptions

PARTS = ("features", "logits", "peaks")


@dataclass(frozen=True, kw_only=True)
class SequenceNetwork:
    """The sequence classifier."""

    layers: int = 3
    """Transformer layers."""

    width: int = 1024
    """Width of the transformer."""

    feed_forward: int = 1024
    """Width of its feed-forward layers."""

    heads: int = 8
    """Attention heads."""

    pool: Literal["gem", "mean", "max", "attention"] = "gem"
    """Pooling of the slices beside the CLS token."""

    dropout: float = 0.05
    """Dropout inside the transformer, 0..1."""

    head_dropout: float = 0.15
    """Dropout before the outputs, 0..1."""

    def __post_init__(self) -> None:
        """Check that the width can be divided."""
        if self.width % (2 * self.heads):
            raise UsageError(
                f"--width {self.width} must be a multiple of twice --heads {self.heads}"
            )


@dataclass(frozen=True, kw_only=True)
class SequenceInput:
    """What of the stage-1 output the network sees, and in which batches."""

    parts: tuple[str, ...] = ("features", "logits", "peaks")
    """Stage-1 output to look at: features, logits, peaks (heat-map maxima)."""

    limit_slices: int = 512
    """Longer series are thinned to this many slices, in training and evaluation alike."""

    bucket: int = 12
    """Batches whose series are drawn together and sorted by length: more of them mean less padding
    (7 % of the slices with 12, 20 % with 4) and batches that are less random."""

    def __post_init__(self) -> None:
        """Check that there is something to see."""
        if self.bucket < 1:
            raise UsageError(f"--bucket {self.bucket}: give 1 or more")
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise UsageError(f"--parts {' '.join(self.parts)}: choose from {', '.join(PARTS)}")
        if self.limit_slices < 1:
            raise UsageError(f"--limit_slices {self.limit_slices}: give 1 or more")


@dataclass(frozen=True, kw_only=True)
class SequenceAugmentation:
    """How training sequences are varied."""

    noise: float = 0.1
    """Noise on the inputs, relative to each input's standard deviation over the series."""

    input_dropout: float = 0.1
    """Share of the inputs that are blanked for a whole series."""

    slice_dropout: float = 0.1
    """Share of slices that are left out."""

    reverse: float = 0.5
    """Probability of reversing the slice order (exchanges paired labels in sagittal series)."""

    use_views: bool = True
    """Train on the augmented views too, where extract_features.py made some."""


@dataclass(frozen=True, kw_only=True)
class SequenceLossOptions(LossOptions):
    """What is minimised: the loss of the series and a weighted loss of its slices."""

    slice_weight: float = 0.5
    """Weight of the per-slice loss."""

    slice_sigma: float = 4.0
    """Standard deviation of the per-slice targets in mm."""


@dataclass(frozen=True, kw_only=True)
class TrainStage2Options(TrainingOptions):
    """Train the sequence classifier on the features of every fold but one."""

    network: SequenceNetwork = SequenceNetwork()
    input: SequenceInput = SequenceInput()
    augmentation: SequenceAugmentation = SequenceAugmentation()
    loss: SequenceLossOptions = SequenceLossOptions(focal_gamma=0.0)
    optimization: Optimization = Optimization(epochs=12, lr=1e-5)


@dataclass(frozen=True, kw_only=True)
class EvalStage2Options(EvaluationOptions):
    """Score stage 2 on the series of its held-out fold, beside its training series."""
