"""DeLong's variance against its definition by double loops, and against the bootstrap."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from intracranial.statistics.delong import auc_covariance, auc_interval, difference_p_value


def by_definition(targets, scores):
    """Equations 3 to 6 of DeLong et al. with loops over all pairs."""
    ones, zeros = np.flatnonzero(targets == 1), np.flatnonzero(targets == 0)

    def wins(score, i, j):
        return 1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0

    v10 = np.array([[np.mean([wins(s, i, j) for j in zeros]) for i in ones] for s in scores])
    v01 = np.array([[np.mean([wins(s, i, j) for i in ones]) for j in zeros] for s in scores])
    aucs = v10.mean(axis=1)
    s10 = (v10 - aucs[:, None]) @ (v10 - aucs[:, None]).T / (len(ones) - 1)
    s01 = (v01 - aucs[:, None]) @ (v01 - aucs[:, None]).T / (len(zeros) - 1)
    return aucs, s10 / len(ones) + s01 / len(zeros)


def rows(seed, levels=3):
    rng = np.random.default_rng(seed)
    targets = (np.arange(40) < 14).astype(int)
    first = np.round(rng.normal(targets, 1) * levels) / levels
    return targets, np.stack([first, np.round((first + rng.normal(0, 1, 40)) * levels) / levels])


@pytest.mark.parametrize("seed", range(4))
def test_aucs_and_covariance_equal_the_definition_with_ties(seed):
    targets, scores = rows(seed)
    aucs, covariance = auc_covariance(targets, scores)
    expected_aucs, expected = by_definition(targets, scores)
    assert aucs == pytest.approx(expected_aucs)
    assert aucs == pytest.approx([roc_auc_score(targets, score) for score in scores])
    assert covariance == pytest.approx(expected)


def test_the_interval_reaches_196_standard_errors_to_either_side_within_0_and_1():
    targets, scores = rows(1)
    aucs, covariance = by_definition(targets, scores)
    low, high = auc_interval(targets, scores[0])
    assert low == pytest.approx(aucs[0] - norm.ppf(0.975) * np.sqrt(covariance[0, 0]))
    assert high == pytest.approx(min(1, aucs[0] + norm.ppf(0.975) * np.sqrt(covariance[0, 0])))
    nearly = targets + 0.0
    nearly[0] = -1
    assert auc_interval(targets, nearly)[1] == 1.0


def test_a_perfect_separation_has_no_interval():
    targets, _ = rows(1)
    assert auc_interval(targets, targets.astype(float)) is None


def test_the_p_value_is_that_of_the_paired_z_test():
    targets, scores = rows(2)
    aucs, covariance = by_definition(targets, scores)
    z = (aucs[0] - aucs[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert difference_p_value(targets, *scores) == pytest.approx(2 * norm.sf(abs(z)))


def test_equal_ranks_have_no_p_value():
    targets, scores = rows(3)
    assert difference_p_value(targets, scores[0], np.exp(scores[0])) is None
