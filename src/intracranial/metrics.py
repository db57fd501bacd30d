"""The challenge's score: weighted multilabel AUC, and the table that every evaluation writes.

Weighted AUC = w * AUC(overall label) + (1 - w) * mean of the AUCs of the locations. A label whose
targets are of one class has no AUC: it is left out by name and the mean is over the remaining
locations. A figure that cannot be computed is None (null in JSON), never NaN.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from intracranial.errors import InputError, NumericalError
from intracranial.task import Task

MAX_ROWS_NAMED = 5
"""Rows that an error message names before it only counts them."""


def score_table(task: Task, targets: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """AUC of every label, and the weighted AUC, as a JSON-ready table.

    Args:
        task: the labels, their order and the overall label's weight.
        targets: (N, L) of 0 and 1, any integer, boolean or float dtype, in `task.labels` order.
        probabilities: (N, L) float in the same order; only their ranks matter.

    Returns:
        `weighted_auc` and `locations_mean`: a cell {"value": float | None, "low": None, "high":
        None}; `per_label`: for each label a cell with "positives" and "negatives", int;
        `left_out`: the labels with one class, in label order; `series`: N (rows: spots in the
        tables of stage 1). The ends of intervals are filled in by `statistics.intervals`.

    Raises:
        NumericalError: a probability is not finite; the message names the label and the rows.
        InputError: a target is neither 0 nor 1.
        ValueError: the shapes do not fit the task.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    _check(task, targets, probabilities)
    per_label = {
        label: _label_score(targets[:, column], probabilities[:, column])
        for column, label in enumerate(task.labels)
    }
    left_out = [label for label, score in per_label.items() if score["value"] is None]
    scored = [per_label[name]["value"] for name in task.locations if name not in left_out]
    locations_mean = float(np.mean(scored)) if scored else None
    overall = per_label[task.overall]["value"]
    weighted = None
    if overall is not None and locations_mean is not None:
        weighted = task.overall_weight * overall + (1 - task.overall_weight) * locations_mean
    return {
        "weighted_auc": cell(weighted),
        "locations_mean": cell(locations_mean),
        "per_label": per_label,
        "left_out": left_out,
        "series": len(targets),
    }


def format_table(task: Task, table: Mapping[str, Any], unit: str = "series") -> str:
    """A score table as aligned plain text for the terminal, 80 columns wide.

    Args:
        task: gives the order of the labels, which a table read back from JSON has lost.
        table: what `score_table` returned, with intervals or without.
        unit: what a row of the data is: "series", or "spots" for stage 1.
    """
    width = max(len(label) for label in (*task.labels, "weighted AUC"))
    lines = [f"{'label':<{width}}    AUC  {'95 % interval':<14}  {'pos':>5}  {'neg':>5}"]
    for label in task.labels:
        score = table["per_label"][label]
        lines.append(
            f"{label:<{width}}  {figure(score['value'])}  {ends(score):<14}  "
            f"{score['positives']:>5}  {score['negatives']:>5}"
        )
    mean, weighted = table["locations_mean"], table["weighted_auc"]
    used = sum(name not in table["left_out"] for name in task.locations)
    lines += [
        f"{'mean of locations':<{width}}  {figure(mean['value'])}  {ends(mean):<14}  "
        f"{used:>2} of {len(task.locations)}",
        f"{'weighted AUC':<{width}}  {figure(weighted['value'])}  {ends(weighted):<14}  "
        f"{table['series']} {unit}",
    ]
    if table["left_out"]:
        lines.append(f"left out (one class only): {', '.join(table['left_out'])}")
    return "\n".join(lines)


def cell(value: float | None, ends: tuple[float, float] | None = None) -> dict[str, float | None]:
    """A figure as the tables hold it; `ends` are those of its interval."""
    low, high = ends or (None, None)
    return {"value": value, "low": low, "high": high}


def ends(score: Mapping[str, Any]) -> str:
    """The interval of a cell as text, or nothing where there is none."""
    return "" if score["low"] is None else f"{score['low']:.3f} to {score['high']:.3f}"


def figure(value: float | None) -> str:
    """A score with three decimals, or a dash of the same width where there is none."""
    return "    -" if value is None else f"{value:.3f}"


def _label_score(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Score of one label from two (N,) columns; without an AUC where only one class is present."""
    positives = int(np.count_nonzero(targets))
    negatives = len(targets) - positives
    value = None
    if positives and negatives:
        value = float(roc_auc_score(targets.astype(np.int64), probabilities))
    return {**cell(value), "positives": positives, "negatives": negatives}


def _check(task: Task, targets: np.ndarray, probabilities: np.ndarray) -> None:
    expected = (len(targets), len(task.labels))
    if targets.shape != expected or probabilities.shape != expected:
        raise ValueError(
            f"targets {targets.shape} and probabilities {probabilities.shape} must both be "
            f"(rows, {len(task.labels)})"
        )
    for bad, error, words in (
        (~np.isfinite(probabilities), NumericalError, "probability is not finite"),
        (~np.isin(targets, (0, 1)), InputError, "target is neither 0 nor 1"),
    ):
        for column, label in enumerate(task.labels):
            rows = np.flatnonzero(bad[:, column])
            if rows.size:
                named = ", ".join(map(str, rows[:MAX_ROWS_NAMED]))
                more = f" and {rows.size - MAX_ROWS_NAMED} more" * (rows.size > MAX_ROWS_NAMED)
                raise error(f"{label}: {words} in row {named}{more} (counted from 0)")
