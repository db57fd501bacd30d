"""Options of create_folds.py."""

import math
from dataclasses import dataclass

from intracranial.errors import UsageError
from intracranial.marks import Setting
from intracranial.options.common import DataOptions


@dataclass(frozen=True, kw_only=True)
class CreateFoldsOptions(DataOptions):
    """Divide the training series into folds by patient and choose the spots of stage 1."""

    folds: Setting[int] = 10
    """Number of folds, 2 or more; splits with other numbers of folds stay as they are."""

    seed: int = 0
    """Seed of the division and of the negative spots."""

    negatives_per_positive: float = 2.0
    """Evaluation negatives for each positive spot, 1 or more."""

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        if self.folds < 2:
            raise UsageError(f"--folds {self.folds}: give 2 or more")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: give 0 or more")
        ratio = self.negatives_per_positive
        if not (math.isfinite(ratio) and ratio >= 1):
            raise UsageError(f"--negatives_per_positive {ratio:g}: give 1 or more")
