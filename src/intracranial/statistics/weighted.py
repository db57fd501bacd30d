"""Figures of one label that depend on the order of its scores, for many weightings at once.

A weighting says how often each row counts; a bootstrap has one per resample, a plain figure is a
single weighting of ones. Higher scores mean positive, and a threshold calls every score at or
above it positive.

- AUC: the chance that a positive row scores above a negative one, ties counting half.
- Average precision: the mean over positive rows of the precision at that row's score, as
  scikit-learn defines it (no interpolation).
- Sensitivity at `SPECIFICITY`: the largest over all thresholds whose specificity is at least that.
- Specificity at `SENSITIVITY`: the same with the two exchanged.
- Log loss: the mean over rows, see `metrics`; it asks for probabilities, the others for any scores.
"""

from collections.abc import Iterator

import numpy as np

from intracranial.metrics import losses

SPECIFICITY = 0.9
"""Specificity at which sensitivity is read: one false alarm in ten series without the finding."""

SENSITIVITY = 0.9
"""Sensitivity at which specificity is read: one finding in ten missed."""

FIGURES = ("auc", "average_precision", "sensitivity", "specificity")
"""Those that any scores have; "log_loss" asks for probabilities."""

ROUNDING = 1e-9
"""Relative slack of a comparison with a share: 0.9 x 10 rows must be reached by 9 of them."""

CELLS = 8_000_000
"""Rows times weightings that are worked on at a time: 32 MB of counts."""


def weighted_figures(
    targets: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    row_of: np.ndarray,
    names: tuple[str, ...] = FIGURES,
) -> dict[str, np.ndarray]:
    """The figures of one label under each of B weightings.

    Args:
        targets: (N,) of 0 and 1, both present.
        scores: (N,) finite float.
        weights: (G, B) int, how often each group of rows counts; every weighting must give weight
            to both classes.
        row_of: (N,) int, the group of each row.
        names: which of `FIGURES`, or "log_loss".

    Returns:
        For each name float64 (B,).
    """
    positive = np.asarray(targets) == 1
    count = weights.shape[1]
    found = {name: np.empty(count) for name in names}
    for part in _chunks(count, len(positive)):
        chunk = _chunk_figures(positive, np.asarray(scores), weights[:, part], row_of, names)
        for name in names:
            found[name][part] = chunk[name]
    return found


def plain_figures(
    targets: np.ndarray, scores: np.ndarray, names: tuple[str, ...] = FIGURES
) -> dict[str, float]:
    """The figures with every row counted once."""
    once = np.ones((1, 1), dtype=np.int64)
    rows = np.zeros(len(targets), dtype=np.int64)
    found = weighted_figures(targets, scores, once, rows, names)
    return {name: float(values[0]) for name, values in found.items()}


def _chunks(count: int, rows: int) -> Iterator[slice]:
    size = max(1, CELLS // max(rows, 1))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _chunk_figures(
    positive: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    row_of: np.ndarray,
    names: tuple[str, ...],
) -> dict[str, np.ndarray]:
    order = np.argsort(scores, kind="stable")
    with_one, without = order[positive[order]], order[~positive[order]]
    high, low = scores[with_one], scores[without]  # (P,) and (M,), ascending
    ones, zeros = weights[row_of[with_one]], weights[row_of[without]]  # (P, B) and (M, B)
    all_ones, all_zeros = ones.sum(axis=0, dtype=np.float64), zeros.sum(axis=0, dtype=np.float64)
    below = _running(zeros, np.searchsorted(low, high, "left"))  # negatives below each positive
    found = {}
    if "auc" in names:
        beaten = (below + _running(zeros, np.searchsorted(low, high, "right"))) / 2
        found["auc"] = _dot(ones, beaten) / (all_ones * all_zeros)
    if "average_precision" in names:
        hits = all_ones - _running(ones, np.searchsorted(high, high, "left"))
        called = hits + all_zeros - below
        # A row of weight 0 may have nothing at or above it; its precision counts 0 times.
        precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
        found["average_precision"] = _dot(ones, precision) / all_ones
    if "sensitivity" in names:
        allowed = below >= (SPECIFICITY - ROUNDING) * all_zeros
        found["sensitivity"] = _dot(ones, allowed) / all_ones
    if "specificity" in names:
        above = all_ones - _running(ones, np.searchsorted(high, low, "right"))
        allowed = above >= (SENSITIVITY - ROUNDING) * all_ones
        found["specificity"] = _dot(zeros, allowed) / all_zeros
    if "log_loss" in names:
        lost = _dot(ones, losses(np.ones(len(high)), high)[:, None])
        lost += _dot(zeros, losses(np.zeros(len(low)), low)[:, None])
        found["log_loss"] = lost / (all_ones + all_zeros)
    return found


def _running(weights: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Sum of the first k rows of `weights` (n, B) for each k of `ends` (m,): float64 (m, B).

    Rows between two ends are summed in one go, so that a label with few positives is cheap.
    """
    starts = np.unique(np.append(ends, 0))
    starts = starts[starts < len(weights)]
    sums = np.add.reduceat(weights, starts, axis=0)
    total = np.zeros((len(starts) + 1, weights.shape[1]))
    np.cumsum(sums, axis=0, out=total[1:])
    return total[np.searchsorted(np.append(starts, len(weights)), ends)]


def _dot(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted sum over the rows: two (n, B) arrays -> float64 (B,)."""
    return np.einsum(
        "nb,nb->b",
        weights,
        np.broadcast_to(values, weights.shape),
        dtype=np.float64,
        casting="unsafe",
    )
