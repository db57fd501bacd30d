"""Predictions tables: written, read back as a sample, and as what others are calibrated on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from intracranial.artifacts import FoldPaths
from intracranial.errors import InputError
from intracranial.provenance import MADE_BY, read_manifest
from intracranial.runlog import log
from intracranial.statistics.sample import Sample
from intracranial.tasks import SERIES_COLUMN, Task
from intracranial.user_tables import read_user_table

GROUP_COLUMN = "group"
"""Column of the predictions tables with labels: the patient of each row."""

TRUE = "true "
"""Before a label in the name of the column of its targets."""


def read_rows(path: Path, made_by: str) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a predictions table, every cell as text.

    Raises:
        MissingArtifact: it is not there.
        InputError: it is no csv table.
    """
    table = read_user_table(path, (), f"run {made_by} first")
    return table.columns, [{name: cell or "" for name, cell in row.items()} for row in table.rows]


def numbers(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    allow_empty: bool = False,
) -> np.ndarray:
    """Cells of some columns as float64 (rows, columns); NaN for empty ones, where they are allowed.

    Raises:
        InputError: a cell is not a finite number; the message names line, column and value.
    """
    found = np.empty((len(rows), len(columns)))
    for number, row in enumerate(rows):
        for position, column in enumerate(columns):
            try:
                value = float(row[column])
            except (TypeError, ValueError):
                value = np.nan
            if not np.isfinite(value) and not (allow_empty and row[column] == ""):
                raise InputError(
                    f"{path}, line {number + 2}, column {column}: {row[column]!r} is not a number"
                )
            found[number, position] = value
    return found


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
        columns += [TRUE + label for label in task.labels]
    rows = []
    for number, row in enumerate(keys):
        cells = dict(row)
        cells.update(zip(task.labels, map(float, probabilities[number]), strict=True))
        if targets is not None:
            for label, value in zip(task.labels, targets[number], strict=True):
                cells[TRUE + label] = "" if np.isnan(value) else int(value)
        rows.append(cells)
    return columns, rows


def read_predictions(path: Path, task: Task, made_by: str) -> Sample:
    """A predictions table with labels as a sample without traits.

    Raises:
        MissingArtifact: it is not there.
        InputError: a column is missing, or a cell is not a number.
    """
    columns, rows = read_rows(path, made_by)
    truth = [f"{TRUE}{label}" for label in task.labels]
    wanted = (SERIES_COLUMN, GROUP_COLUMN, *task.labels, *truth)
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise InputError(
            f"{path} has no column {missing[0]!r} ({len(missing)} are missing): run {made_by} "
            "--overwrite"
        )
    return Sample(
        numbers(path, rows, truth, allow_empty=True),
        numbers(path, rows, task.labels),
        np.array([row[SERIES_COLUMN] for row in rows], dtype=str),
        np.array([row[GROUP_COLUMN] for row in rows], dtype=str),
    )


PLAIN: Mapping[str, Sequence[str | int]] = MappingProxyType({"views": (), "steps": ()})
"""How series are seen without test-time augmentation, at all steps."""


def reference_predictions(
    paths: FoldPaths,
    stage2: str,
    task: Task,
    how: Mapping[str, Sequence[str | int]] = PLAIN,
) -> tuple[Path, Sample] | None:
    """Held-out predictions of the same weights, on which thresholds for other series are fixed.

    Those of eval_end_to_end.py, else those of eval_stage2.py, which knows the plain view at all
    steps only; None where neither was run in this way with the weights as they are now. The final
    model has no held-out series.

    Args:
        paths: of the fold whose weights are used.
        stage2: identity of its stage 2.
        task: the labels.
        how: `views` of test-time augmentation and `steps` of stage 1, sorted.

    Raises:
        InputError: the predictions do not fit.
    """
    for stage in ("end_to_end", "stage2"):
        metrics, predictions = paths.metrics(stage), paths.predictions(stage)
        if not (metrics.exists() and predictions.exists()):
            continue
        kind = f"{stage}_metrics"
        manifest = read_manifest(metrics, kind)
        if manifest["inputs"].get("stage2") != stage2:
            continue
        alike = all(manifest["config"].get(k, []) == list(chosen) for k, chosen in how.items())
        if alike:
            return predictions, read_predictions(predictions, task, MADE_BY[kind])
        log.warning(
            "%s was made with other --views or --steps: calibration and thresholds are not fitted "
            "on it; score the fold in the same way first",
            predictions,
        )
    return None
