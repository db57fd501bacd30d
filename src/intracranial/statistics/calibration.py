"""Calibration: do probabilities mean what they say, before and after a correction.

The correction of a label's probability p is sigmoid(slope * logit(p) + intercept), with one slope
for all labels, since single labels have too few positive series for one of their own, and an
intercept per label (Platt 1999, with his smoothed targets, so that a perfect separation does not
ask for an infinite slope). A slope is never negative: a model that ranks the wrong way round is
corrected to the share of positives. What is fitted where is `statistics.crossfit`'s matter.

- Brier score: mean of (p - target)^2.
- Calibration error: rows are sorted by p into bins of equal numbers of rows; the error is the mean
  over rows of |mean p - share of positives| of their bin. It is above 0 by chance alone, the more
  so the fewer rows a bin has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from intracranial.metrics import Cell, cell
from intracranial.statistics.bootstrap import Resamples, count_groups, interval
from intracranial.statistics.crossfit import Crossfit
from intracranial.statistics.ratios import by_group, share, with_both_classes
from intracranial.statistics.sample import Sample
from intracranial.tasks import Task

MIN_FITTED = 10
"""Patients with and without a label that it needs for a correction of its own: several rows of one
patient say little more than one."""

BINS = 10
"""Bins of a reliability diagram, where there are rows enough."""

MIN_BIN_ROWS = 10
"""Rows that a bin should have."""

SMALLEST = 1e-6
"""Probabilities are kept this far from 0 and 1, so that their logit is finite."""


@dataclass(frozen=True)
class Bin:
    """Rows of a reliability diagram's bin: their mean probability, and their share of positives."""

    predicted: float
    observed: float
    rows: int


@dataclass(frozen=True)
class Reliability:
    """Brier score, calibration error and bins of one label."""

    brier: Cell
    error: Cell
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class LabelCalibration:
    """One label.

    Attributes:
        intercept: of each part of the `Crossfit`; None if uncalibrated.
        before: the correction; None without rows.
        after: the correction; None if uncalibrated.
    """

    intercept: tuple[float, ...] | None
    before: Reliability | None
    after: Reliability | None


@dataclass(frozen=True)
class CalibrationTable:
    """All labels before and after the cross-fitted correction.

    Attributes:
        fitted_on: in words.
        slope: of each part of the `Crossfit`.
        uncalibrated: labels that had fewer than `MIN_FITTED` patients with or without them to fit
            on, in any part.
        per_label: by label.
    """

    fitted_on: str
    slope: tuple[float, ...]
    uncalibrated: tuple[str, ...]
    per_label: Mapping[str, LabelCalibration]


@dataclass(frozen=True)
class Correction:
    """Slope of all labels, and the intercept by number of label."""

    slope: float
    intercepts: Mapping[int, float]

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Corrected copy of probabilities (N, L); labels without an intercept stay as they are."""
        corrected = np.array(probabilities, dtype=np.float64)
        for label, intercept in self.intercepts.items():
            corrected[:, label] = expit(self.slope * _logit(corrected[:, label]) + intercept)
        return corrected


def fit_correction(
    targets: np.ndarray, probabilities: np.ndarray, labels: Sequence[int]
) -> Correction:
    """Fit the shared slope and the intercepts of `labels` by maximum likelihood.

    Args:
        targets: (N, L) of 0 and 1, NaN where a label is not known.
        probabilities: (N, L) float.
        labels: numbers of the labels that take part, each with both classes.
    """
    chosen = list(labels)
    values = _logit(np.asarray(probabilities, dtype=np.float64)[:, chosen])  # (N, l)
    truth = np.asarray(targets, dtype=np.float64)[:, chosen]
    known = ~np.isnan(truth)
    ones, zeros = (truth == 1).sum(axis=0), (truth == 0).sum(axis=0)
    smoothed = np.where(truth == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        z = point[0] * values + point[1:]
        residual = np.where(known, expit(z) - smoothed, 0.0)
        total = np.where(known, np.logaddexp(0, z) - smoothed * z, 0.0).sum()
        return float(total), np.concatenate([[(residual * values).sum()], residual.sum(axis=0)])

    start = np.concatenate([[1.0], np.zeros(len(chosen))])
    bounds = [(0, None), *[(None, None)] * len(chosen)]
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-8 * max(1, truth.size)},
    )
    slope, *intercepts = map(float, found.x)
    return Correction(slope, dict(zip(chosen, intercepts, strict=True)))


def calibration_table(
    task: Task, sample: Sample, crossfit: Crossfit, drawn: Resamples | None = None
) -> CalibrationTable:
    """Calibration before and after the cross-fitted correction.

    Args:
        task: the labels.
        sample: what is scored.
        crossfit: what the correction is fitted on.
        drawn: resamples of the sample for the intervals, or None.
    """
    fitted = fittable(task, crossfit)
    corrected = np.array(sample.probabilities, dtype=np.float64)
    corrections = []
    for part in crossfit.parts if fitted else ():
        correction = fit_correction(part.fit.targets, part.fit.probabilities, fitted)
        corrected[part.rows] = correction.apply(sample.probabilities[part.rows])
        corrections.append(correction)
    per_label = {}
    for number, label in enumerate(task.labels):
        truth = sample.targets[:, number]
        known = ~np.isnan(truth.astype(np.float64))
        draws = None if drawn is None else drawn.of_rows(known)
        used = number in fitted
        before, after = (
            reliability(truth[known], one[known, number], draws)
            for one in (sample.probabilities, corrected)
        )
        per_label[label] = LabelCalibration(
            tuple(found.intercepts[number] for found in corrections) if used else None,
            before,
            after if used else None,
        )
    return CalibrationTable(
        fitted_on=crossfit.fitted_on,
        slope=tuple(found.slope for found in corrections),
        uncalibrated=tuple(name for k, name in enumerate(task.labels) if k not in fitted),
        per_label=per_label,
    )


def fittable(task: Task, crossfit: Crossfit) -> list[int]:
    """Labels that `MIN_FITTED` patients have, and as many lack, in every part to fit on."""
    if not crossfit.parts:
        return []
    enough = np.ones(len(task.labels), dtype=bool)
    for part in crossfit.parts:
        _, row_of = np.unique(part.fit.groups, return_inverse=True)
        for number, truth in enumerate(np.asarray(part.fit.targets).T):
            fewest = min(count_groups(row_of, truth == value) for value in (0, 1))
            enough[number] &= fewest >= MIN_FITTED
    return np.flatnonzero(enough).tolist()


def reliability(
    targets: np.ndarray, probabilities: np.ndarray, drawn: Resamples | None = None
) -> Reliability | None:
    """Brier score, calibration error and bins of one label; None without rows.

    Equal probabilities share a bin, so that the order of the rows does not matter. Resamples keep
    the bins and the correction. As a resample is rougher than the sample, its error is larger on
    average: the interval of the error lies high.

    Args:
        targets: (N,) of 0 and 1.
        probabilities: (N,) float.
        drawn: resamples of the rows, or None for no intervals.
    """
    rows = len(targets)
    if not rows:
        return None
    order = np.sort(probabilities)
    first = np.searchsorted(order, probabilities, "left")
    number = first * max(1, min(BINS, rows // MIN_BIN_ROWS)) // rows
    bins = []
    for name in np.unique(number):
        chosen = number == name
        predicted, observed = probabilities[chosen].mean(), targets[chosen].mean()
        bins.append(Bin(float(predicted), float(observed), int(chosen.sum())))
    error = sum(one.rows * abs(one.predicted - one.observed) for one in bins) / rows
    drawn = with_both_classes(targets, drawn)
    ends = None
    if drawn is not None:
        off = (probabilities - targets)[:, None] * (number[:, None] == np.unique(number))
        counted = by_group(np.ones(rows), drawn) @ drawn.counts
        ends = interval(np.abs(by_group(off, drawn) @ drawn.counts).sum(axis=0) / counted)
    return Reliability(
        brier=share((probabilities - targets) ** 2, np.ones(rows), drawn),
        error=cell(float(error), ends),
        bins=tuple(bins),
    )


def _logit(probabilities: np.ndarray) -> np.ndarray:
    return logit(np.clip(probabilities, SMALLEST, 1 - SMALLEST))
