"""Operating points: thresholds from other patients, rates on the scored ones."""

import numpy as np
import pytest
from sklearn.metrics import recall_score

from intracranial.statistics.bootstrap import draw_resamples
from intracranial.statistics.crossfit import over_folds
from intracranial.statistics.operating import (
    operating_table,
    threshold_at_sensitivity,
    threshold_at_specificity,
)
from tests.statistics.test_calibration import TASK, a_sample


def test_a_threshold_leaves_nine_of_ten_negatives_below_it_and_no_fewer():
    scores = np.array([*np.linspace(0.1, 1.0, 10), 0.55])
    targets = np.array([*[0] * 10, 1])
    threshold = threshold_at_specificity(targets, scores)
    assert np.mean(scores[:10] < threshold) == 0.9
    assert 0.9 < threshold < 0.9 + 1e-9  # the tenth negative, at 1.0, is called


def test_negatives_that_tie_at_the_threshold_are_below_it():
    scores, targets = np.array([0.1] * 9 + [0.4] * 3), np.zeros(12)
    assert np.mean(scores < threshold_at_specificity(targets, scores)) == 1


def test_a_threshold_keeps_nine_of_ten_positives_at_or_above_it():
    scores, targets = np.array([*np.linspace(0.1, 1.0, 10), 0.9]), np.array([*[1] * 10, 0])
    threshold = threshold_at_sensitivity(targets, scores)
    assert threshold == pytest.approx(0.2) and np.mean(scores[:10] >= threshold) == 0.9


def test_rates_are_those_of_the_thresholds_of_the_other_folds():
    sample = a_sample(300)
    folds = np.arange(300) % 3
    drawn = draw_resamples(sample.groups, sample.targets[:, 2], 500, 0)
    table = operating_table(TASK, sample, over_folds(sample, folds), drawn)
    called = np.zeros(300, dtype=int)
    for fold, threshold in enumerate(table.per_label["Any"].at_specificity.thresholds):
        others = folds != fold
        expected = threshold_at_specificity(
            sample.targets[others, 2], sample.probabilities[others, 2]
        )
        assert threshold == expected
        called[folds == fold] = sample.probabilities[folds == fold, 2] >= threshold
    point = table.per_label["Any"].at_specificity
    truth = sample.targets[:, 2]
    assert point.aim == 0.9
    assert point.sensitivity.value == pytest.approx(recall_score(truth, called))
    assert point.specificity.value == pytest.approx(recall_score(1 - truth, 1 - called))
    for cell in (point.sensitivity, point.specificity):
        assert cell.low < cell.value < cell.high
    # The interval of a share of n rows is about two standard errors to either side.
    share, n = point.sensitivity.value, truth.sum()
    width = point.sensitivity.high - point.sensitivity.low
    assert width == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / n), rel=0.35)


def test_without_resamples_there_are_rates_and_no_intervals():
    sample = a_sample(300)
    table = operating_table(TASK, sample, over_folds(sample, np.arange(300) % 3), None)
    cell = table.per_label["Any"].at_sensitivity.sensitivity
    assert 0.7 < cell.value <= 1 and cell.low is None and cell.high is None
