"""Options of extract_features.py."""

from dataclasses import dataclass

from intracranial.errors import UsageError
from intracranial.marks import Setting
from intracranial.options.common import CompiledComputing, ModelOptions, Trial, check_above_zero


@dataclass(frozen=True, kw_only=True)
class Mining:
    """Hard negatives, for the next training of stage 1."""

    mine_hard_negatives: Setting[bool] = False
    """Write hard_negatives.csv: slices of the held-out fold that stage 1 takes for an aneurysm."""

    hard_threshold: Setting[float] = 0.1
    """Least probability of a hard negative, 0..1."""


@dataclass(frozen=True, kw_only=True)
class ExtractFeaturesOptions(ModelOptions):
    """Apply stage 1 to every slice of every series."""

    train_on_all: Setting[bool] = False
    """Features for the final model (same as --fold final)."""

    augmented_views: int = 0
    """Augmented views of each training series beside the plain one."""

    seed: int = 0
    """Keys the augmented views."""

    rank_patience: Setting[float] = 300.0
    """Seconds without a sign of life after which another process of several counts as lost."""

    mining: Mining = Mining()
    trial: Trial = Trial()
    computing: CompiledComputing = CompiledComputing()

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.augmented_views < 0:
            raise UsageError(f"--augmented_views {self.augmented_views}: give 0 or more")
        check_above_zero("--rank_patience", self.rank_patience)
