"""Options of train_stage1.py and eval_stage1.py; the defaults are the original solution's."""

from dataclasses import dataclass
from typing import Annotated

from intracranial.errors import UsageError
from intracranial.marks import Before
from intracranial.options.common import CompiledComputing, Precision
from intracranial.options.evaluation import EvaluationOptions
from intracranial.options.training import LossOptions, Optimization, TrainingOptions


@dataclass(frozen=True, kw_only=True)
class SliceNetwork:
    """The slice classifier, and what it starts from."""

    model: str = "convnext_base.dinov3_lvd1689m"
    """timm backbone, any name that timm.list_models() knows."""

    weights: str = "auto"
    """Initial weights: `auto` (timm's pretrained), `none` (from scratch) or a file."""

    pool: str = ""
    """timm global pooling of the encoder ('' for the model's own; catavgmax for small lesions)."""

    dropout: float = 0.1
    """Dropout before the linear classifier, 0..1."""


@dataclass(frozen=True, kw_only=True)
class StackInput:
    """What of the cached slices the network sees."""

    crop: float = 0.875
    """Central share of the cached field that the network sees, 0..1 (448 of 512 pixels)."""

    input_size: int = 448
    """Edge of the network's input in pixels; the crop is resampled to it."""

    input_mean: float = 2.5
    """Subtracted from cached values, which run from 0 to 5."""

    steps: tuple[int, ...] = (1, 2)
    """Distances in slices between the slices of a stack; training draws one of them."""

    def __post_init__(self) -> None:
        """Check that there is something to see."""
        if not 0 < self.crop <= 1:
            raise UsageError(f"--crop {self.crop}: give a share above 0 and at most 1")
        if self.input_size < 32:
            raise UsageError(f"--input_size {self.input_size}: give 32 pixels or more")
        if not self.steps or min(self.steps) < 1:
            raise UsageError(f"--steps {self.steps}: give distances of 1 slice or more")


@dataclass(frozen=True, kw_only=True)
class StackSampling:
    """Which stacks an epoch shows."""

    negatives_per_positive: float = 1.0
    """Negative stacks per positive one in an epoch."""

    slices_per_series: Annotated[int, Before(8)] = 8
    """Stacks of each positive series in an epoch, where no label has a place."""

    shift_positive: float = 0.5
    """Probability that a positive stack is centred one slice beside its localizer."""

    hard_negatives: str | None = None
    """Hard negatives: a run whose other folds mined them, or a file f_dict_hard.pkl."""

    hard_probability: float = 0.5
    """Probability that a negative stack is a hard negative, where there are any."""

    def __post_init__(self) -> None:
        """Check that a series shows something."""
        if self.slices_per_series < 1:
            raise UsageError(f"--slices_per_series {self.slices_per_series}: give 1 or more")


@dataclass(frozen=True, kw_only=True)
class StackAugmentation:
    """How training stacks are varied."""

    flip_lr: float = 0.5
    """Probability of a left-right flip, which exchanges paired labels."""

    flip_other: float = 0.5
    """Probability of each of the flips that exchange nothing."""

    rot90: float = 0.5
    """Probability of a rotation by a multiple of 90 degrees."""

    affine: float = 0.5
    """Probability of a small affine transform."""

    rotate: float = 10.0
    """Largest rotation of the affine transform in degrees."""

    zoom: float = 0.1
    """Largest zoom of the affine transform as a share."""

    shift: float = 0.05
    """Largest shift of the affine transform as a share of the edge."""

    drift: float = 0.01
    """Standard deviation of intensity gain and offset, as a share of the value range."""

    patch_dropout: float = 0.05
    """Share of 32-pixel patches that are blanked."""


@dataclass(frozen=True, kw_only=True)
class SliceLossOptions(LossOptions):
    """What is minimised: the classification loss and a weighted localisation loss."""

    heatmap_weight: float = 0.1
    """Weight of the localisation loss; 0 trains the classifier alone."""

    heatmap_sigma: float = 4.0
    """Standard deviation of the Gaussian at a localizer in mm."""


@dataclass(frozen=True, kw_only=True)
class TrainStage1Options(TrainingOptions):
    """Train the slice classifier on the spots of every fold but one."""

    network: SliceNetwork = SliceNetwork()
    input: StackInput = StackInput()
    sampling: StackSampling = StackSampling()
    augmentation: StackAugmentation = StackAugmentation()
    loss: SliceLossOptions = SliceLossOptions(focal_gamma=2.0)
    optimization: Optimization = Optimization(epochs=20, optimizer="mars", lr=3e-5, ema_every=3)
    computing: CompiledComputing = CompiledComputing()

    def default_run(self) -> str:
        """The model's name."""
        return self.network.model


@dataclass(frozen=True, kw_only=True)
class EvalStage1Options(EvaluationOptions):
    """Score stage 1 at the spots of its held-out fold, beside its training spots."""

    batch_size: int = 32
    """Stacks per forward pass."""

    precision: Precision = "auto"
    """auto, bf16, fp16 or fp32."""
