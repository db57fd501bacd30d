"""Score tables of both stages: held-out beside training, with the gap between them."""

from typing import Any

import numpy as np

from src.errors import InputError
from src.metrics import format_table, score_table
from src.runlog import log
from src.task import SERIES_COLUMN, Task

Scored = tuple[np.ndarray, np.ndarray]
"""Targets (N, L) and probabilities (N, L)."""


def stage_metrics(
    task: Task,
    stage: str,
    held_out: Scored,
    training: Scored,
    manifest: dict[str, Any],
    unit: str = "series",
) -> dict[str, Any]:
    """Metrics of one stage, printed and JSON-ready.

    Args:
        task: the labels.
        stage: name for the headline.
        held_out: of the held-out fold; its table is the top level of the result.
        training: of the training folds, for the gap.
        manifest: of the weights; says on what they were selected.
        unit: what a row is: series or spots.

    Raises:
        InputError: nothing to score in the held-out fold.
    """
    if not len(held_out[0]):
        raise InputError(f"{stage}: the held-out fold has nothing to score")
    table = score_table(task, *held_out)
    seen = score_table(task, *training) if len(training[0]) else None
    log.info("%s, held out:\n%s", stage, format_table(task, table, unit))
    value, trained = table["weighted_auc"]["value"], (seen or {}).get("weighted_auc", {})
    gap = None
    if seen and value is not None and trained["value"] is not None:
        gap = trained["value"] - value
        log.info(
            "%s, weighted AUC: training %.3f, held out %.3f, gap %.3f",
            stage,
            trained["value"],
            value,
            gap,
        )
    selected = "this fold" if manifest["select"] == "heldout" else manifest["select"]
    if manifest["select"] == "heldout":
        log.warning("selected on this fold: the held-out figures are not independent")
    return {**table, "training": seen, "gap": gap, "selected_on": selected}


def prediction_rows(
    task: Task, keys: list[dict[str, Any]], targets: np.ndarray | None, probabilities: np.ndarray
) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of a predictions table: keys, probabilities, and targets as `true <label>`.

    Args:
        task: the labels.
        keys: leading cells of each row, SeriesInstanceUID among them.
        targets: (N, L), or None where there are no labels.
        probabilities: (N, L).
    """
    columns = [*(keys[0] if keys else {SERIES_COLUMN: ""}), *task.labels]
    if targets is not None:
        columns += [f"true {label}" for label in task.labels]
    rows = []
    for number, row in enumerate(keys):
        cells = dict(row)
        cells.update(zip(task.labels, map(float, probabilities[number]), strict=True))
        if targets is not None:
            for label, value in zip(task.labels, targets[number], strict=True):
                cells[f"true {label}"] = int(value)
        rows.append(cells)
    return columns, rows
