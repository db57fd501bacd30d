"""Figures under weights: against scikit-learn, and against rows that are written out."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from intracranial.statistics import weighted
from intracranial.statistics.weighted import (
    SENSITIVITY,
    SPECIFICITY,
    plain_figures,
    weighted_figures,
)


def rows(seed, count=60, levels=None):
    """Targets (N,), scores (N,) with ties where `levels` is given."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(count) < 0.3).astype(int)
    targets[:2] = 0, 1
    scores = rng.normal(targets, 1.0)
    return targets, np.round(scores * levels) / levels if levels else scores


def by_scikit_learn(targets, scores):
    """The four figures, read from scikit-learn's curves."""
    fall_out, hit_rate, _ = roc_curve(targets, scores, drop_intermediate=False)
    return {
        "auc": roc_auc_score(targets, scores),
        "average_precision": average_precision_score(targets, scores),
        "sensitivity": hit_rate[1 - fall_out >= SPECIFICITY - 1e-9].max(),
        "specificity": (1 - fall_out)[hit_rate >= SENSITIVITY - 1e-9].max(),
    }


@pytest.mark.parametrize("levels", [None, 2, 1])
@pytest.mark.parametrize("seed", range(5))
def test_every_figure_equals_scikit_learn_with_and_without_ties(seed, levels):
    targets, scores = rows(seed, levels=levels)
    assert plain_figures(targets, scores) == pytest.approx(by_scikit_learn(targets, scores))


def test_a_row_of_weight_k_counts_like_k_rows_and_one_of_weight_0_like_none():
    targets, scores = rows(3, levels=4)
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, (len(targets), 20))
    weights[:2] += 1  # both classes in every weighting
    found = weighted_figures(targets, scores, weights, np.arange(len(targets)))
    for column in range(20):
        often = np.repeat(np.arange(len(targets)), weights[:, column])
        expected = by_scikit_learn(targets[often], scores[often])
        got = {name: values[column] for name, values in found.items()}
        assert got == pytest.approx(expected), column


def test_rows_of_one_group_share_its_weight():
    targets, scores = rows(4)
    group_of = np.arange(len(targets)) // 2
    weights = np.random.default_rng(1).integers(1, 4, (30, 5))
    together = weighted_figures(targets, scores, weights, group_of)
    apart = weighted_figures(targets, scores, weights[group_of], np.arange(len(targets)))
    for name, values in together.items():
        assert values.tolist() == apart[name].tolist()


def test_working_in_parts_changes_nothing(monkeypatch):
    targets, scores = rows(5)
    weights = np.random.default_rng(2).integers(1, 4, (60, 50))
    whole = weighted_figures(targets, scores, weights, np.arange(60))
    monkeypatch.setattr(weighted, "CELLS", 60 * 7)
    parts = weighted_figures(targets, scores, weights, np.arange(60))
    assert all(whole[name].tolist() == parts[name].tolist() for name in whole)


def test_a_share_is_reached_by_a_round_number_of_rows():
    # Nine of ten negatives lie below both positives: the specificity there is 0.9, not less.
    scores = np.array([0.9, 0.8, 0.95, *np.linspace(0.1, 0.5, 9)])
    targets = np.array([1, 1, *[0] * 10])
    assert plain_figures(targets, scores)["sensitivity"] == 1.0
