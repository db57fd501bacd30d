"""Shares and means over rows, with their interval over patients."""

from collections.abc import Sequence

import numpy as np

from intracranial.metrics import Cell, cell
from intracranial.statistics.bootstrap import MIN_GROUPS, Resamples, count_groups, interval


def share(hits: np.ndarray, every: np.ndarray, drawn: Resamples | None) -> Cell:
    """Sum of `hits` over sum of `every`, as a cell; no value where there is nothing to count.

    The interval needs `MIN_GROUPS` patients with something to count. Resamples without any say
    nothing and are left out.

    Args:
        hits: (N,) by row: what is counted, or summed.
        every: (N,) by row: what it is a share of.
        drawn: resamples of the rows, or None for no interval.
    """
    hits, every = (np.asarray(values, dtype=np.float64) for values in (hits, every))
    if not every.sum():
        return cell(None)
    ends = None
    if drawn is not None and count_groups(drawn.row_of, every > 0) >= MIN_GROUPS:
        top, base = (by_group(values, drawn) @ drawn.counts for values in (hits, every))
        ends = interval(top[base > 0] / base[base > 0])
    return cell(float(hits.sum() / every.sum()), ends)


def by_group(values: np.ndarray, drawn: Resamples) -> np.ndarray:
    """Sum over the rows of each group: (N,) -> (G,), and (N, T) -> (T, G)."""
    summed = np.zeros((len(drawn.counts), *values.shape[1:]))
    np.add.at(summed, drawn.row_of, values)
    return summed.T


def with_both_classes(truth: np.ndarray, drawn: Resamples | None) -> Resamples | None:
    """The resamples, or None where fewer than `MIN_GROUPS` patients have either class."""
    if drawn is None:
        return None
    counts: Sequence[int] = [count_groups(drawn.row_of, truth == value) for value in (0, 1)]
    return drawn if min(counts) >= MIN_GROUPS else None
