"""train.csv, checked before hours of work depend on it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from intracranial.config import nearest
from intracranial.errors import InputError
from intracranial.runlog import log
from intracranial.tasks import RSNA_2025, SERIES_COLUMN, Task
from intracranial.user_tables import UserTable, column_faults, read_user_table

ID_PATTERN = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}")
"""A SeriesInstanceUID (PS3.5 9.1) or another name that is safe as the name of a file."""

USE_COLUMN, ALWAYS_TRAIN = "Use", "train"
"""Optional column, and its value for series that train in every fold and are never held out."""

PATIENT_COLUMN = "PatientID"
"""Optional column: series with one value are of one patient. It is copied nowhere."""

REPORT_COLUMNS = ("PatientAge", "PatientSex", "Modality")
"""Optional columns that serve reports and the balance of folds."""

CELLS = {"0": "0", "1": "1", "0.0": "0", "1.0": "1", "": ""}
"""Cells of a label, as they are given and as they are meant: a column of numbers with gaps gets
decimals from many programs."""

SHOWN = 5
"""Bad rows of a kind that a message names."""


def form(task: Task) -> str:
    """What train.csv looks like, in words."""
    labels = ", ".join(task.labels[:4]) + (", ..." if len(task.labels) > 4 else "")
    optional = ", ".join((*REPORT_COLUMNS, PATIENT_COLUMN, USE_COLUMN))
    others = ". A file task.yaml beside it names other labels" if task == RSNA_2025 else ""
    return (
        f"train.csv has one row per series: {SERIES_COLUMN} (the name of its folder in series/) "
        f"and a column for each label of the task {task.name!r} ({labels}) with 1, 0, or nothing "
        f"where it is not known; {optional} are optional{others}"
    )


def read_train_csv(path: Path, task: Task) -> tuple[list[str], list[dict[str, str]]]:
    """Read a table of series and labels, every cell as text.

    Returns:
        The columns and the rows, in file order; columns beyond the task's are kept.

    Raises:
        MissingArtifact: there is no such file.
        InputError: columns are missing, names of series cannot be used or are there twice, or
            cells are not labels: all of it in one message.
    """
    needed = (SERIES_COLUMN, *task.labels)
    table = read_user_table(path, (), f"put a table of your series there. {form(task)}")
    faults = column_faults(table.columns, needed)
    faults += _faults(table, task)
    if len(faults) == 1:
        comma = "," if faults[0].startswith(("column", "line")) else ""
        raise InputError(f"{path}{comma} {faults[0]}. {form(task)}")
    if faults:
        listed = "".join(f"\n  {fault}" for fault in faults)
        raise InputError(f"{path}: {len(faults)} things are wrong{listed}\n{form(task)}")
    rows = [{name: cell or "" for name, cell in row.items()} for row in table.rows]
    for row in rows:
        row.update({label: CELLS[row[label]] for label in task.labels})
    for line in doubts(path, table.lines, rows, task):
        log.warning("%s", line)
    return table.columns, rows


def label_values(row: Mapping[str, str], task: Task) -> np.ndarray:
    """Labels of a checked row: float32 (L,) of 0, 1, and NaN for those that are not known."""
    cells = [row[label] for label in task.labels]
    return np.array([float(cell) if cell else np.nan for cell in cells], dtype=np.float32)


def doubts(
    path: Path, lines: Sequence[int], rows: Sequence[Mapping[str, str]], task: Task
) -> list[str]:
    """What a table says that can hardly be meant; it is used as it stands.

    Args:
        path: of the table, for the words.
        lines: of its rows.
        rows: checked rows.
        task: the labels.

    Returns:
        Each kind in words, with the first series of it.
    """
    against = [
        f"line {line}: {row[SERIES_COLUMN]} ({', '.join(located)})"
        for line, row in zip(lines, rows, strict=True)
        if (located := contradictions(label_values(row, task), task))
    ]
    odd = [
        f"line {line}: {row['Modality']!r}{nearest(row['Modality'], task.modalities)}"
        for line, row in zip(lines, rows, strict=True)
        if task.modalities and row.get("Modality", task.modalities[0]) not in task.modalities
    ]
    bare = [label for label in task.labels if not any(row[label] for row in rows)]
    found = [
        f"{path}, column {label}: it is empty, so nothing can be learnt of it" for label in bare
    ]
    if against:
        found.append(
            f"{path}: {len(against)} series have a label, while {task.overall!r} is 0; both labels "
            f"are used as they are: {_some(against)}"
        )
    if odd:
        found.append(
            f"{path}: {len(odd)} rows have a Modality that is none of "
            f"{', '.join(task.modalities)}; folds are not balanced over these: {_some(odd)}"
        )
    return found


def contradictions(labels: np.ndarray, task: Task) -> list[str]:
    """Labels that are 1 while the overall label of the series is 0; `labels` is (L,)."""
    if task.overall is None or labels[task.labels.index(task.overall)] != 0:
        return []
    return [name for name, value in zip(task.labels, labels, strict=True) if value == 1]


def _faults(table: UserTable, task: Task) -> list[str]:
    """Everything that is wrong with the rows, a phrase for each column and kind."""
    if not table.rows:
        return ["has no rows: list at least one series"]
    faults = [
        f"line {line}: the row has more cells than the header has columns; is there a comma in a "
        "cell without quotes?"
        for line in sorted(table.excess)[:SHOWN]
    ]
    numbered = list(zip(table.lines, table.rows, strict=True))
    if SERIES_COLUMN in table.columns:
        faults += _name_faults(numbered)
    for label in (name for name in task.labels if name in table.columns):
        odd = [
            f"line {line}: {row[label]!r}"
            for line, row in numbered
            if (row[label] or "") not in CELLS
        ]
        faults += _fault(label, odd, "is neither 0 nor 1, nor empty for not known")
    if USE_COLUMN in table.columns:
        odd = [
            f"line {line}: {row[USE_COLUMN]!r}"
            for line, row in numbered
            if (row[USE_COLUMN] or "") not in (ALWAYS_TRAIN, "")
        ]
        words = f"is neither {ALWAYS_TRAIN!r} nor empty"
        faults += _fault(USE_COLUMN, odd, words)
        if numbered and all(row[USE_COLUMN] == ALWAYS_TRAIN for _, row in numbered):
            faults.append(
                f"column {USE_COLUMN}: every series is {ALWAYS_TRAIN!r}, none can be held out"
            )
    return faults


def _name_faults(numbered: Sequence[tuple[int, Mapping[str, Any]]]) -> list[str]:
    uids = [row[SERIES_COLUMN] or "" for _, row in numbered]
    bad = [
        f"line {line}: {uid!r}"
        for (line, _), uid in zip(numbered, uids, strict=True)
        if not ID_PATTERN.fullmatch(uid)
    ]
    faults = _fault(
        SERIES_COLUMN,
        bad,
        "cannot name a series: use letters, digits, '.', '_' and '-', at most 64, no dot in front",
    )
    at: dict[str, list[str]] = {}
    for (line, _), uid in zip(numbered, uids, strict=True):
        at.setdefault(uid, []).append(str(line))
    twice = [
        f"{uid} ({len(found)} times) in lines {', '.join(found)}"
        for uid, found in at.items()
        if len(found) > 1 and uid
    ]
    faults += _fault(SERIES_COLUMN, twice, "occurs more than once; keep one row per series")
    cases = Counter(uid.casefold() for uid in at)
    alike = [uid for uid in at if cases[uid.casefold()] > 1]
    words = "differ in case alone, and would be one file on some disks; rename one"
    return faults + _fault(SERIES_COLUMN, alike, words)


def _fault(column: str, found: Sequence[str], what: str) -> list[str]:
    return [f"column {column}: {_some(found)} {what}"] if found else []


def _some(found: Sequence[str]) -> str:
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{', '.join(found[:SHOWN])}{more}"
