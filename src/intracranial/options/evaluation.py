"""Options that the three evaluations share."""

from dataclasses import dataclass

from intracranial.artifacts import ALL_FOLDS
from intracranial.errors import UsageError
from intracranial.marks import Setting
from intracranial.options.common import ModelOptions

FEWEST_RESAMPLES = 100
"""Below, an end of a 95 % interval would rest on two values."""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(ModelOptions):
    """How intervals are made."""

    resamples: int = 2000
    """Resamples of the bootstrap over patients behind every interval; 0 leaves intervals out."""

    seed: int = 0
    """Keys the resamples, and the parts of a fold in which calibration is fitted."""

    seed_runs: Setting[tuple[str, ...]] = ()
    """With --fold all: further runs of this recipe and split with other seeds; the table over all
    folds then has the spread over the seeds too."""

    def __post_init__(self) -> None:
        """Check that intervals can be made."""
        super().__post_init__()
        if self.seed_runs and self.fold != ALL_FOLDS:
            raise UsageError(
                f"--seed_runs goes with --fold {ALL_FOLDS}; for one fold: tools/seeds.py"
            )
        if len({self.run_name, *self.seed_runs}) < 1 + len(self.seed_runs):
            raise UsageError(
                f"--seed_runs {' '.join(self.seed_runs)}: give other runs than {self.run_name}, "
                "each once"
            )
        if self.resamples and self.resamples < FEWEST_RESAMPLES:
            raise UsageError(
                f"--resamples {self.resamples}: give {FEWEST_RESAMPLES} or more, or 0 for none"
            )
        check_seed(self.seed)


def check_seed(seed: int) -> None:
    """Refuse what no generator can be seeded with.

    Raises:
        UsageError: it is below 0.
    """
    if seed < 0:
        raise UsageError(f"--seed {seed}: give 0 or more")
