"""Rows of the predictions tables."""

from typing import Any

import numpy as np

from intracranial.tasks import SERIES_COLUMN, Task


def prediction_rows(
    task: Task, keys: list[dict[str, Any]], targets: np.ndarray | None, probabilities: np.ndarray
) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of a predictions table: keys, probabilities, and targets as `true <label>`.

    Args:
        task: the labels.
        keys: leading cells of each row, SeriesInstanceUID among them.
        targets: (N, L), NaN where a label is not known (an empty cell); None where there are no
            labels at all.
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
                cells[f"true {label}"] = "" if np.isnan(value) else int(value)
        rows.append(cells)
    return columns, rows
