"""Intervals by bootstrap over patients.

Rows of one patient are not independent, so whole groups are drawn with replacement, as many as
there are, separately among patients with and without the finding: every resample keeps the number
of each. The interval is the central 95 % of the resampled values (percentile method).

A resample may lack a class of a rare label. That label's term is then drawn again until it has
both classes, so that the set of labels in the mean never changes; the share of such resamples is
reported beside the label. There is no interval

- below `MIN_GROUPS` patients with the label or without it: so few say nothing of the others that
  there are;
- where all resamples give one value, as for a perfect separation: its width of zero would be
  read as certainty.

2,000 resamples of 500 series with 14 labels take 0.3 s of one core.
"""

from dataclasses import dataclass, replace

import numpy as np

LEVEL = 0.95
"""Probability with which an interval is meant to hold the true value."""

MIN_GROUPS = 5
"""Patients of either class from which on a figure gets an interval."""

RESAMPLES = 2000
"""Resamples by default: the ends of a 95 % interval then rest on 50 values on either side."""


@dataclass(frozen=True, eq=False)
class Resamples:
    """Drawn groups: `counts` int32 (G, B) says how often each group is in each resample.

    `row_of` int64 (N,) is the group of each row; `strata` are the groups' numbers with and without
    the finding; `seed` keys the draws of `for_label` too.
    """

    counts: np.ndarray
    row_of: np.ndarray
    strata: tuple[np.ndarray, ...]
    seed: int

    def has_enough(self) -> bool:
        """Whether `MIN_GROUPS` patients have the finding and as many have not."""
        return len(self.strata) == 2 and min(map(len, self.strata)) >= MIN_GROUPS

    def of_rows(self, chosen: np.ndarray) -> "Resamples":
        """The same draws of groups, for some of the rows: bool (N,)."""
        return replace(self, row_of=self.row_of[chosen])

    def for_label(self, targets: np.ndarray, label: int) -> tuple[np.ndarray, float]:
        """Counts (G, B) in which every resample has both classes of one label.

        Args:
            targets: (N,) of 0 and 1, both present, and NaN where the label is not known.
            label: number of the label; keys the random numbers, so that two models of one label
                are compared on the same resamples.

        Returns:
            The counts, and the share of resamples that had to be drawn again.
        """
        groups = len(self.counts)
        ones = np.bincount(self.row_of, weights=targets == 1, minlength=groups)
        zeros = np.bincount(self.row_of, weights=targets == 0, minlength=groups)
        lacking = np.flatnonzero(~((ones @ self.counts > 0) & (zeros @ self.counts > 0)))
        if not lacking.size:
            return self.counts, 0.0
        counts, share = self.counts.copy(), lacking.size / self.counts.shape[1]
        rng = np.random.default_rng([self.seed, 1, label])
        while lacking.size:  # any one group is drawn with a chance of 0.63 or more
            again = _draw_counts(self.strata, groups, lacking.size, rng)
            counts[:, lacking] = again
            lacking = lacking[~((ones @ again > 0) & (zeros @ again > 0))]
        return counts, share


def draw_resamples(
    groups: np.ndarray, with_finding: np.ndarray, resamples: int, seed: int
) -> Resamples:
    """Draw groups with replacement, apart by whether any row of the group has the finding.

    Args:
        groups: (N,) `Sample.patients`; the order of the rows does not matter.
        with_finding: (N,) of 0 and 1.
        resamples: how many.
        seed: keys the random numbers.
    """
    names, row_of = np.unique(groups, return_inverse=True)
    affected = np.zeros(len(names), dtype=bool)
    np.logical_or.at(affected, row_of, np.asarray(with_finding) == 1)
    strata = tuple(part for part in map(np.flatnonzero, (affected, ~affected)) if part.size)
    rng = np.random.default_rng([seed, 0])
    counts = _draw_counts(strata, len(names), resamples, rng)
    return Resamples(counts, row_of, strata, seed)


def _draw_counts(
    strata: tuple[np.ndarray, ...], groups: int, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    counts = np.zeros((groups, resamples), dtype=np.int32)
    columns = np.arange(resamples)
    for members in strata:
        drawn = rng.integers(len(members), size=(len(members), resamples)) * resamples + columns
        flat = np.bincount(drawn.ravel(), minlength=len(members) * resamples)
        counts[members] = flat.reshape(len(members), resamples)
    return counts


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """Ends of the central 95 % of resampled values; None where they are all the same."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Equal sums of equal counts differ in their last bits at most.
    return None if np.ptp(values) < 1e-12 else (float(low), float(high))


def p_value(differences: np.ndarray) -> float:
    """Two-sided p-value of no difference: twice the share of resamples beyond zero, at most 1.

    One is added to both counts, so that B resamples never claim less than 2 / (B + 1).
    """
    beyond = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return min(1.0, 2 * (beyond + 1) / (len(differences) + 1))


def count_groups(row_of: np.ndarray, chosen: np.ndarray) -> int:
    """How many groups have a chosen row."""
    return len(np.unique(row_of[chosen]))
