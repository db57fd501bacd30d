"""Operating points: thresholds that are fixed on some predictions and hold on others.

A sensitivity read from the ROC curve of the scored series (`statistics.weighted`) takes the
threshold from the very series that it is about. Here the threshold comes from other patients
(`statistics.crossfit`), so the specificity that it reaches is a finding too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from intracranial.metrics import Cell
from intracranial.statistics.bootstrap import Resamples
from intracranial.statistics.calibration import fittable
from intracranial.statistics.crossfit import Crossfit
from intracranial.statistics.ratios import share
from intracranial.statistics.sample import Sample
from intracranial.statistics.weighted import ROUNDING, SENSITIVITY, SPECIFICITY
from intracranial.tasks import Task


@dataclass(frozen=True)
class OperatingPoint:
    """Sensitivity and specificity at a threshold that was fixed on other patients.

    Attributes:
        aim: the specificity, or sensitivity, that the threshold was fixed at.
        thresholds: of each part of the `Crossfit`.
        sensitivity: reached; no value where the scored rows lack the class.
        specificity: likewise.
    """

    aim: float
    thresholds: tuple[float, ...]
    sensitivity: Cell
    specificity: Cell


@dataclass(frozen=True)
class LabelPoints:
    """The operating points of one label, by the rule that fixed the threshold."""

    at_specificity: OperatingPoint
    at_sensitivity: OperatingPoint


@dataclass(frozen=True)
class OperatingTable:
    """Operating points of all labels.

    Attributes:
        fitted_on: in words.
        left_out: labels that too few patients had or lacked to fix a threshold on
            (`statistics.calibration.MIN_FITTED`).
        per_label: of the others.
    """

    fitted_on: str
    left_out: tuple[str, ...]
    per_label: Mapping[str, LabelPoints]


def threshold_at_specificity(targets: np.ndarray, scores: np.ndarray) -> float:
    """Smallest threshold at which `SPECIFICITY` of the negatives lie below it."""
    without = np.sort(scores[np.asarray(targets) == 0])
    last = without[math.ceil(len(without) * (SPECIFICITY - ROUNDING)) - 1]
    return float(np.nextafter(last, np.inf))


def threshold_at_sensitivity(targets: np.ndarray, scores: np.ndarray) -> float:
    """Largest threshold at which `SENSITIVITY` of the positives lie at or above it."""
    with_one = np.sort(scores[np.asarray(targets) == 1])[::-1]
    return float(with_one[math.ceil(len(with_one) * (SENSITIVITY - ROUNDING)) - 1])


RULES = {
    "at_specificity": (SPECIFICITY, threshold_at_specificity),
    "at_sensitivity": (SENSITIVITY, threshold_at_sensitivity),
}


def operating_table(
    task: Task, sample: Sample, crossfit: Crossfit, drawn: Resamples | None
) -> OperatingTable:
    """Sensitivity and specificity at thresholds from other patients.

    Args:
        task: the labels.
        sample: what is scored.
        crossfit: where thresholds come from.
        drawn: resamples of the sample for the intervals, or None.
    """
    fitted = fittable(task, crossfit)
    per_label = {
        task.labels[number]: LabelPoints(
            **{rule: _point(sample, number, crossfit, drawn, rule) for rule in RULES}
        )
        for number in fitted
    }
    left_out = tuple(name for name in task.labels if name not in per_label)
    return OperatingTable(crossfit.fitted_on, left_out, per_label)


def _point(
    sample: Sample, number: int, crossfit: Crossfit, drawn: Resamples | None, rule: str
) -> OperatingPoint:
    aim, choose = RULES[rule]
    called = np.zeros(len(sample), dtype=bool)
    thresholds = []
    for part in crossfit.parts:
        threshold = choose(part.fit.targets[:, number], part.fit.probabilities[:, number])
        called[part.rows] = sample.probabilities[part.rows, number] >= threshold
        thresholds.append(threshold)
    with_it, without = (sample.targets[:, number] == value for value in (1, 0))
    return OperatingPoint(
        aim=aim,
        thresholds=tuple(thresholds),
        sensitivity=share(called & with_it, with_it, drawn),
        specificity=share(~called & without, without, drawn),
    )
