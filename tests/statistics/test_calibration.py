"""Calibration: the fit against scikit-learn, and never on what is scored."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from intracranial.jsonable import to_json
from intracranial.metrics import cell
from intracranial.statistics.bootstrap import draw_resamples
from intracranial.statistics.calibration import (
    calibration_table,
    fit_correction,
    fittable,
    reliability,
)
from intracranial.statistics.crossfit import from_reference, over_folds, over_patients
from intracranial.statistics.operating import operating_table
from intracranial.statistics.sample import Sample
from intracranial.tasks import Task

TASK = Task(
    "small", ("Left A", "Right A", "Any"), "Any", ("Left A", "Right A"), weights=(0.25, 0.25, 0.5)
)


def a_sample(rows=400, seed=0, slope=2.0, shift=1.0, per_patient=2):
    """Predictions that are too bold by `slope` and too high by `shift`, two series a patient."""
    rng = np.random.default_rng(seed)
    z = rng.normal([-2.5, -2.0, 0.0], 1.2, (rows, 3))
    targets = (rng.random((rows, 3)) < expit(z)).astype(int)
    return Sample(
        targets,
        expit(slope * z + shift),
        np.array([f"1.2.{k}" for k in range(rows)]),
        np.array([f"p{k // per_patient:04d}" for k in range(rows)]),
    )


def test_the_correction_undoes_a_known_distortion():
    sample = a_sample(20000)
    found = fit_correction(sample.targets, sample.probabilities, [0, 1, 2])
    assert found.slope == pytest.approx(1 / 2, abs=0.02)
    assert list(found.intercepts.values()) == pytest.approx([-0.5] * 3, abs=0.1)


def test_the_fit_equals_a_logistic_regression_with_a_shared_slope():
    sample = a_sample(300)
    found = fit_correction(sample.targets, sample.probabilities, [0, 2])
    # Smoothed targets are rows of both classes with weights; the labels are columns of their own.
    columns, weights, classes = [], [], []
    for position, number in enumerate((0, 2)):
        truth = sample.targets[:, number]
        ones = truth.sum()
        smoothed = np.where(truth == 1, (ones + 1) / (ones + 2), 1 / (len(truth) - ones + 2))
        for value, share in ((1, smoothed), (0, 1 - smoothed)):
            block = np.zeros((len(truth), 3))
            block[:, 0] = logit(sample.probabilities[:, number])
            block[:, 1 + position] = 1
            columns.append(block)
            weights.append(share)
            classes.append(np.full(len(truth), value))
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=5000)
    model.fit(np.concatenate(columns), np.concatenate(classes), np.concatenate(weights))
    expected = model.coef_[0]
    assert [found.slope, *found.intercepts.values()] == pytest.approx(expected, abs=1e-4)


def test_a_perfect_separation_and_a_reversed_order_give_finite_corrections():
    targets = np.tile([[0], [1]], (30, 1))
    perfect = np.tile([[0.1], [0.9]], (30, 1))
    found = fit_correction(targets, perfect, [0])
    assert np.isfinite(found.slope) and 0.9 < found.apply(perfect).max() < 1
    found = fit_correction(targets, 1 - perfect, [0])
    assert found.slope == 0
    assert found.apply(perfect) == pytest.approx(np.full((60, 1), 0.5), abs=1e-4)


def test_labels_that_are_not_fitted_stay_as_they_are():
    sample = a_sample()
    corrected = fit_correction(sample.targets, sample.probabilities, [2]).apply(
        sample.probabilities
    )
    assert np.array_equal(corrected[:, :2], sample.probabilities[:, :2])
    assert not np.array_equal(corrected[:, 2], sample.probabilities[:, 2])


def test_the_table_shows_a_smaller_error_afterwards_and_names_what_is_uncalibrated():
    sample = a_sample()
    targets = sample.targets.copy()
    targets[:, 0] = 0
    targets[:11, 0] = 1  # of five parts, four hold about nine of them
    sample = Sample(targets, sample.probabilities, sample.uids, sample.groups)
    table = calibration_table(TASK, sample, over_patients(sample, targets[:, 2], 0))
    json.dumps(to_json(table), allow_nan=False)
    assert table.uncalibrated == ("Left A",)
    assert table.per_label["Left A"].after is None
    assert len(table.slope) == len(table.per_label["Any"].intercept) == 5
    for label in ("Right A", "Any"):
        before, after = (getattr(table.per_label[label], when) for when in ("before", "after"))
        assert after.brier.value < before.brier.value
        assert after.error.value < 0.6 * before.error.value


def test_several_series_of_one_patient_do_not_make_a_label_fittable():
    sample = a_sample(400, per_patient=2)
    targets = sample.targets.copy()
    for patients, fitted in ((9, False), (10, True)):
        rows = np.arange(200) < 2 * patients  # both series of each
        targets[:, 0] = np.tile(rows, 2)
        both = Sample(targets, sample.probabilities, sample.uids, sample.groups)
        assert (0 in fittable(TASK, over_folds(both, np.arange(400) // 200))) == fitted
        turned = Sample(1 - targets, sample.probabilities, sample.uids, sample.groups)
        assert (0 in fittable(TASK, over_folds(turned, np.arange(400) // 200))) == fitted


def test_the_brier_score_is_scikit_learns_and_the_bins_hold_every_row_once():
    sample = a_sample(237)
    truth, p = sample.targets[:, 2], sample.probabilities[:, 2]
    found = reliability(truth, p)
    assert found.brier == cell(pytest.approx(brier_score_loss(truth, p)))
    counts = [one.rows for one in found.bins]
    assert sum(counts) == 237 and len(counts) == 10 and set(counts) == {23, 24}
    order = np.argsort(p)[: counts[0]]
    assert found.bins[0].predicted == pytest.approx(p[order].mean())
    assert found.bins[0].observed == pytest.approx(truth[order].mean())
    gaps = [one.rows / 237 * abs(one.predicted - one.observed) for one in found.bins]
    assert found.error == cell(pytest.approx(sum(gaps)))


def test_intervals_of_the_brier_score_and_the_error_are_those_of_resampled_patients():
    sample = a_sample(60, per_patient=2)
    truth, p = sample.targets[:, 2], sample.probabilities[:, 2]
    drawn = draw_resamples(sample.groups, truth, 300, 0)
    found = reliability(truth, p, drawn)
    edges = np.searchsorted(np.sort(p), p) * 6 // 60  # sixty rows make six bins of ten
    briers, errors = [], []
    for counts in drawn.counts.T:
        rows = np.repeat(np.arange(60), counts[drawn.row_of])
        briers.append(brier_score_loss(truth[rows], p[rows]))
        gaps = [(p[rows] - truth[rows])[edges[rows] == name].sum() for name in range(6)]
        errors.append(np.abs(gaps).sum() / len(rows))
    for name, values in (("brier", briers), ("error", errors)):
        expected = np.quantile(values, (0.025, 0.975))
        assert [getattr(found, name).low, getattr(found, name).high] == pytest.approx(
            expected.tolist()
        )


def test_a_label_of_few_patients_has_no_interval_of_its_calibration():
    sample = a_sample(60, per_patient=1)
    p = sample.probabilities[:, 2]
    for positives, known in ((4, False), (5, True), (55, True), (56, False)):
        truth = (np.arange(60) < positives).astype(int)
        found = reliability(truth, p, draw_resamples(sample.groups, truth, 100, 0))
        assert [one.low is not None for one in (found.brier, found.error)] == [known] * 2


def test_equal_probabilities_share_a_bin_whatever_the_order_of_the_rows():
    rng = np.random.default_rng(0)
    p, truth = np.repeat([0.1, 0.2, 0.9], [95, 3, 2]), rng.integers(0, 2, 100)
    found = reliability(truth, p)
    assert [one.rows for one in found.bins] == [95, 5]
    shuffled = rng.permutation(100)
    again = reliability(truth[shuffled], p[shuffled]).bins
    assert [vars(one) for one in again] == [pytest.approx(vars(one)) for one in found.bins]
    assert len(reliability(truth[:15], p[:15]).bins) == 1
    assert reliability(truth[:0], p[:0]) is None


def test_no_patient_is_both_fitted_on_and_scored_and_every_row_is_scored_once():
    sample = a_sample(83, per_patient=3)
    others = a_sample(150, seed=1, per_patient=3).rows(np.arange(60, 150))
    for crossfit in (
        over_patients(sample, sample.targets[:, 2], 0),
        over_folds(sample, np.arange(83) // 30),  # a multiple of three: no patient is in two folds
        from_reference(sample, others, "others"),
    ):
        assert sorted(np.concatenate([part.rows for part in crossfit.parts])) == list(range(83))
        for part in crossfit.parts:
            assert part.fit.targets[:, 2].any()
            assert not set(part.fit.groups) & set(sample.groups[part.rows])
            assert not set(part.fit.uids) & set(sample.uids[part.rows])


def test_a_target_never_moves_its_own_correction_or_threshold():
    sample = a_sample(120)
    changed = sample.targets.copy()
    rows = np.flatnonzero(sample.groups == sample.groups[7])
    changed[rows, 0] = 1 - changed[rows, 0]
    other = Sample(changed, sample.probabilities, sample.uids, sample.groups)
    finding = sample.targets[:, 2]
    for first, second in zip(
        over_patients(sample, finding, 0).parts, over_patients(other, finding, 0).parts, strict=True
    ):
        same = np.array_equal(first.fit.targets, second.fit.targets)
        assert same == bool(np.isin(rows, first.rows).all())


def test_the_division_of_patients_does_not_depend_on_the_order_of_the_rows():
    sample = a_sample(60)
    shuffled = np.random.default_rng(0).permutation(60)
    first = over_patients(sample, sample.targets[:, 2], 3)
    second = over_patients(sample.rows(shuffled), sample.targets[shuffled, 2], 3)
    for one, other in zip(first.parts, second.parts, strict=True):
        assert set(one.rows) == set(shuffled[other.rows])


def test_without_patients_to_fit_on_nothing_is_calibrated_and_the_reason_is_given():
    sample = a_sample(40)
    for crossfit in (
        over_patients(sample, np.zeros(40), 0),
        over_folds(sample, np.zeros(40)),
        from_reference(sample, sample, "held-out predictions"),
    ):
        assert crossfit.parts == () and crossfit.fitted_on.startswith("nothing: ")
        assert fittable(TASK, crossfit) == []
        table = calibration_table(TASK, sample, crossfit)
        assert table.uncalibrated == TASK.labels and table.slope == ()
        assert operating_table(TASK, sample, crossfit, None).left_out == TASK.labels


def test_series_and_patients_that_are_scored_are_taken_out_of_the_reference():
    sample, reference = a_sample(20), a_sample(40)
    same_patient = Sample(
        reference.targets, reference.probabilities, reference.uids + ".9", reference.groups
    )
    for overlapping in (reference, same_patient):
        (part,) = from_reference(sample, overlapping, "x").parts
        assert len(part.fit) == 20
