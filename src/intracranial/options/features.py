"""Options of extract_features.py."""

import math
from dataclasses import dataclass

from intracranial.errors import UsageError
from intracranial.options.common import ModelOptions, Precision, Setting


@dataclass(frozen=True, kw_only=True)
class ExtractFeaturesOptions(ModelOptions):
    """Apply stage 1 to every slice of every series."""

    augmented_views: int = 0
    """Augmented views of each training series beside the plain one."""

    mine_hard_negatives: Setting[bool] = False
    """Write hard_negatives.csv: slices of the held-out fold that stage 1 takes for an aneurysm."""

    hard_threshold: Setting[float] = 0.1
    """Least probability of a hard negative, 0..1."""

    train_on_all: Setting[bool] = False
    """Features for the final model (same as --fold final)."""

    precision: Precision = "auto"
    """auto, bf16, fp16 or fp32."""

    seed: int = 0
    """Keys the augmented views."""

    limit: int | None = None
    """Extract only the first N series (a trial; the artifact is marked as partial)."""

    compile: Setting[bool] = False
    """Compile the network with torch.compile: a minute at the start, faster on a GPU."""

    deterministic: Setting[bool] = False
    """On CUDA, use only kernels that give the same bits every time; slower. A CPU always does."""

    rank_patience: Setting[float] = 300.0
    """Seconds without a sign of life after which another process of several counts as lost."""

    dry_run: Setting[bool] = False
    """Say what would be done, and do nothing."""

    def __post_init__(self) -> None:
        """Check ranges."""
        super().__post_init__()
        if self.augmented_views < 0:
            raise UsageError(f"--augmented_views {self.augmented_views}: give 0 or more")
        if not (math.isfinite(self.rank_patience) and self.rank_patience > 0):
            raise UsageError(f"--rank_patience {self.rank_patience}: give more than 0")
