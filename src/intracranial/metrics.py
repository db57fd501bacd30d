"""The task's score, and the table that every evaluation writes.

Score = w * value(overall label) + (1 - w) * mean of the other labels' values, which are AUCs or log
losses; the mean is weighted where the task weighs labels. Rows whose label is not known (NaN) take
no part in its figures. A label whose known targets are of one class has no AUC, and one without
known targets no log loss: it is left out by name and the mean is over the remaining labels. A
figure that cannot be computed is None (null in JSON), never NaN.

Log loss of a label: mean of -log of the probability given to what is true (natural logarithm,
probabilities kept `SMALLEST` from 0 and 1). The prior, which gives every row the share of
positives, loses the entropy of that share; the ratio to it is 1 for a model that knows nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from intracranial.errors import InputError, NumericalError
from intracranial.jsonable import ABSENT, Absent
from intracranial.tasks import METRIC_NAMES, Metric, Task

MAX_ROWS_NAMED = 5
"""Rows that an error message names before it only counts them."""

SMALLEST = 1e-15
"""Distance from 0 and 1 that probabilities keep in a logarithm: the challenges' own."""


@dataclass(frozen=True)
class Cell:
    """A figure and the ends of its 95 % interval; each None where it does not exist."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Ends:
    """The two ends of an interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LabelScore(Cell):
    """The value of one label, and what it rests on.

    Attributes:
        positives: rows with the label.
        negatives: rows without it.
        ratio_to_prior: a log loss over that of the share of positives, None where either does not
            exist; absent of an AUC.
    """

    positives: int
    negatives: int
    ratio_to_prior: float | Absent | None = ABSENT


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The value of every label and the score of some rows.

    Attributes:
        score: the task's.
        others_mean: of the labels without the overall one; None (no cell) where the task has no
            overall label.
        per_label: by label.
        left_out: the labels without a value, in label order.
        series: rows, which are spots in the tables of stage 1.
        with_finding: how many of them have the finding.
        metric: what a label's value is.
        score_name: what the score is called.
        higher_is_better: whether it is.
        ratio_to_prior: of the score, as of a label.
    """

    score: Cell
    others_mean: Cell | None
    per_label: Mapping[str, LabelScore]
    left_out: tuple[str, ...]
    series: int
    with_finding: int
    metric: Metric
    score_name: str
    higher_is_better: bool
    ratio_to_prior: float | Absent | None = ABSENT


def score_table(task: Task, targets: np.ndarray, probabilities: np.ndarray) -> ScoreTable:
    """The value of every label and the score, still without intervals.

    Args:
        task: the labels, their order and weights, and the metric.
        targets: (N, L) of 0, 1 and, as float, NaN where a label is not known, in `task.labels`
            order.
        probabilities: (N, L) float in the same order; an AUC asks for their ranks alone.

    Raises:
        NumericalError: a probability is not finite; the message names the label and the rows.
        InputError: a target is neither 0 nor 1 nor unknown.
        ValueError: the shapes do not fit the task.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    _check(task, targets, probabilities)
    per_label = {
        label: _label_score(task, targets[:, column], probabilities[:, column])
        for column, label in enumerate(task.labels)
    }
    values = values_of(per_label)
    score = _plain(task.score_of(values))
    ratio: float | Absent | None = ABSENT
    if task.metric == "log_loss":
        priors = {
            label: prior_loss(one.positives, one.negatives) for label, one in per_label.items()
        }
        ratio = _ratio(score, _plain(task.score_of({label: priors[label] for label in values})))
    return ScoreTable(
        score=cell(score),
        others_mean=others_cell(task, values),
        per_label=per_label,
        left_out=tuple(label for label in task.labels if label not in values),
        series=len(targets),
        with_finding=int(task.has_finding(targets).sum()),
        metric=task.metric,
        score_name=task.score_name,
        higher_is_better=task.higher_is_better,
        ratio_to_prior=ratio,
    )


def values_of(per_label: Mapping[str, Cell]) -> dict[str, float]:
    """The labels' values, by label, without those that have none."""
    return {label: one.value for label, one in per_label.items() if one.value is not None}


def others_cell(task: Task, values: Mapping[str, float]) -> Cell | None:
    """Cell of the mean over the labels without the overall one; None where there is no overall."""
    if task.overall is None or not task.others:
        return None
    named = [name for name in task.others if name in values]
    return cell(float(task.mean_of(values, named)) if named else None)


def prior_loss(positives: int, negatives: int) -> float:
    """Log loss of a model that gives every row the share of positives; 0 for one class."""
    count = positives + negatives
    shares = np.array([part / count for part in (positives, negatives) if part])
    return float(-(shares * np.log(shares)).sum())


def losses(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Log loss of each row: float64 of the targets' shape, NaN where a target is not known."""
    targets = np.asarray(targets, dtype=np.float64)
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return -np.where(targets == 1, np.log(clipped), np.log1p(-clipped)) + 0 * targets


def format_table(task: Task, table: ScoreTable, unit: str = "series") -> str:
    """A score table as aligned plain text for the terminal, 80 columns wide.

    Args:
        task: gives the order of the labels, which a table read back from JSON has lost.
        table: what `score_table` returned, with intervals or without.
        unit: what a row of the data is: "series", or "spots" for stage 1.
    """
    rank = task.metric == "auc"
    others, head = task.others_name, METRIC_NAMES[task.metric] if rank else "loss"
    width = max(len(label) for label in (*task.labels, task.score_name, others))
    ratios = "" if rank else "  of prior"
    lines = [
        f"{'label':<{width}}  {head:>5}  {'95 % interval':<14}  {'pos':>5}  {'neg':>5}{ratios}"
    ]
    for label in task.labels:
        one = table.per_label[label]
        ratio = "" if one.ratio_to_prior is ABSENT else f"     {figure(one.ratio_to_prior)}"
        lines.append(
            f"{label:<{width}}  {figure(one.value)}  {ends(one):<14}  "
            f"{one.positives:>5}  {one.negatives:>5}{ratio}"
        )
    mean, score = table.others_mean, table.score
    used = sum(name not in table.left_out for name in task.others)
    if mean is not None:
        lines.append(
            f"{others:<{width}}  {figure(mean.value)}  {ends(mean):<14}  "
            f"{used:>2} of {len(task.others)}"
        )
    lines.append(
        f"{task.score_name:<{width}}  {figure(score.value)}  {ends(score):<14}  "
        f"{table.series} {unit}"
    )
    if table.ratio_to_prior is not ABSENT:
        lines.append(f"ratio to the loss of the prior: {figure(table.ratio_to_prior).strip()}")
    if table.left_out:
        why = "one class only" if rank else "no row is labelled"
        lines.append(f"left out ({why}): {', '.join(table.left_out)}")
    return "\n".join(lines)


def cell(value: float | None, ends: tuple[float, float] | None = None) -> Cell:
    """A figure as the tables hold it; `ends` are those of its interval."""
    low, high = ends or (None, None)
    return Cell(value, low, high)


def ends(score: Cell | Ends) -> str:
    """An interval as text, or nothing where there is none."""
    return "" if score.low is None else f"{score.low:.3f} to {score.high:.3f}"


def figure(value: float | None) -> str:
    """A score with three decimals, or a dash of the same width where there is none."""
    return "    -" if value is None else f"{value:.3f}"


def _label_score(task: Task, targets: np.ndarray, probabilities: np.ndarray) -> LabelScore:
    """Value of one label from two (N,) columns, over the rows whose label is known."""
    positives, negatives = int((targets == 1).sum()), int((targets == 0).sum())
    known = positives + negatives
    value: float | None = None
    ratio: float | Absent | None = ABSENT
    if task.metric == "auc":
        if positives and negatives:
            rows = slice(None) if known == len(targets) else ~np.isnan(targets)
            value = float(roc_auc_score(targets[rows].astype(np.int64), probabilities[rows]))
    else:
        value = float(np.nanmean(losses(targets, probabilities))) if known else None
        ratio = _ratio(value, prior_loss(positives, negatives) if known else None)
    return LabelScore(
        value, None, None, positives=positives, negatives=negatives, ratio_to_prior=ratio
    )


def _plain(value: Any) -> float | None:  # noqa: ANN401
    """A number of numpy as Python's: a checkpoint takes no other."""
    return None if value is None else float(value)


def _ratio(value: float | None, prior: float | None) -> float | None:
    return None if value is None or not prior else value / prior


def _check(task: Task, targets: np.ndarray, probabilities: np.ndarray) -> None:
    expected = (len(targets), len(task.labels))
    if targets.shape != expected or probabilities.shape != expected:
        raise ValueError(
            f"targets {targets.shape} and probabilities {probabilities.shape} must both be "
            f"(rows, {len(task.labels)})"
        )
    unknown = np.isnan(targets.astype(np.float64))
    for bad, error, words in (
        (~np.isfinite(probabilities), NumericalError, "probability is not finite"),
        (~np.isin(targets, (0, 1)) & ~unknown, InputError, "target is neither 0 nor 1"),
    ):
        for column, label in enumerate(task.labels):
            rows = np.flatnonzero(bad[:, column])
            if rows.size:
                named = ", ".join(map(str, rows[:MAX_ROWS_NAMED]))
                more = f" and {rows.size - MAX_ROWS_NAMED} more" * (rows.size > MAX_ROWS_NAMED)
                raise error(f"{label}: {words} in row {named}{more} (counted from 0)")
