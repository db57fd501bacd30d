"""Variance of AUCs after DeLong, DeLong and Clarke-Pearson (Biometrics 1988).

Computed from midranks as Sun and Xu (IEEE Signal Processing Letters 2014) do. It takes the rows as
independent: use it only where every patient has one row.
"""

import math

import numpy as np
from scipy.stats import norm, rankdata

from intracranial.statistics.bootstrap import LEVEL


def auc_covariance(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs of K scores of the same rows, and their covariance.

    Args:
        targets: (N,) of 0 and 1, two of each or more.
        scores: (K, N) float.

    Returns:
        AUCs float64 (K,) and covariance float64 (K, K).
    """
    positive = np.asarray(targets) == 1
    scores = np.atleast_2d(scores)
    ones, zeros = int(positive.sum()), int((~positive).sum())
    together = rankdata(scores, axis=1)
    # Share of the other class that each row is on the right side of.
    above = (together[:, positive] - rankdata(scores[:, positive], axis=1)) / zeros  # (K, P)
    below = 1 - (together[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / ones
    covariance = np.cov(above, ddof=1) / ones + np.cov(below, ddof=1) / zeros
    return above.mean(axis=1), np.atleast_2d(covariance)


def auc_interval(targets: np.ndarray, scores: np.ndarray) -> tuple[float, float] | None:
    """95 % interval of one AUC, cut off at 0 and 1; None where the variance is zero."""
    (auc,), ((variance,),) = auc_covariance(targets, scores)
    if variance <= 0:
        return None
    reach = norm.ppf((1 + LEVEL) / 2) * math.sqrt(variance)
    return max(0.0, float(auc - reach)), min(1.0, float(auc + reach))


def difference_p_value(targets: np.ndarray, first: np.ndarray, second: np.ndarray) -> float | None:
    """Two-sided p-value of equal AUCs of two scores of the same rows; None without variance."""
    aucs, covariance = auc_covariance(targets, np.stack([first, second]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance <= 1e-15:  # equal ranks: rounding is all that is left
        return None
    return float(2 * norm.sf(abs(aucs[0] - aucs[1]) / math.sqrt(variance)))
