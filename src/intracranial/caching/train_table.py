"""train.csv, checked before hours of work depend on it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from intracranial.config import nearest
from intracranial.errors import InputError
from intracranial.runlog import log
from intracranial.task import (
    ANEURYSM_PRESENT,
    LABELS,
    LOCATIONS,
    MODALITIES,
    SERIES_COLUMN,
    TRAIN_COLUMNS,
)
from intracranial.user_tables import UserTable, read_user_table

UID_PATTERN = re.compile(r"[0-9.]{1,64}")
"""PS3.5 9.1; anything else could not safely name a file."""

SHOWN = 5
"""Bad rows that a message names."""


def read_train_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read the challenge's table of series and labels, every cell as text.

    Returns:
        The columns and the rows, in file order; columns beyond the challenge's are kept.

    Raises:
        MissingArtifact: there is no such file.
        InputError: a column is missing, a SeriesInstanceUID is not one or is there twice, or a
            label is neither 0 nor 1.
    """
    table = read_user_table(
        path, TRAIN_COLUMNS, "put the challenge's train.csv there, with one row per series"
    )
    _check_rows(path, table)
    rows = [{name: cell or "" for name, cell in row.items()} for row in table.rows]
    for line in doubts(path, table.lines, rows):
        log.warning("%s", line)
    return table.columns, rows


def doubts(path: Path, lines: Sequence[int], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """What a table says that can hardly be meant; it is used as it stands.

    Args:
        path: of the table, for the words.
        lines: of its rows.
        rows: checked rows.

    Returns:
        Each kind in words, with the first series of it.
    """
    against = [
        f"line {line}: {row[SERIES_COLUMN]} ({', '.join(located)})"
        for line, row in zip(lines, rows, strict=True)
        if (located := contradictions(row))
    ]
    odd = [
        f"line {line}: {row['Modality']!r}{nearest(row['Modality'], MODALITIES)}"
        for line, row in zip(lines, rows, strict=True)
        if row["Modality"] not in MODALITIES
    ]
    found = []
    if against:
        found.append(
            f"{path}: {len(against)} series have an aneurysm at a location, while "
            f"{ANEURYSM_PRESENT!r} is 0; both labels are used as they are: {_some(against)}"
        )
    if odd:
        found.append(
            f"{path}: {len(odd)} rows have a Modality that is none of {', '.join(MODALITIES)}; "
            f"folds are not balanced over these: {_some(odd)}"
        )
    return found


def contradictions(row: Mapping[Any, Any]) -> list[str]:
    """Locations with an aneurysm in a row that says that there is none."""
    if int(row[ANEURYSM_PRESENT]):
        return []
    return [name for name in LOCATIONS if int(row[name])]


def _check_rows(path: Path, table: UserTable) -> None:
    if not table.rows:
        raise InputError(f"{path} has no rows: list at least one series")
    if table.excess:
        raise InputError(
            f"{path}, line {min(table.excess)}: the row has more cells than the header has "
            "columns; is there a comma in a cell without quotes?"
        )
    numbered = list(zip(table.lines, table.rows, strict=True))
    uids = [row[SERIES_COLUMN] or "" for row in table.rows]
    bad = [
        f"line {line}: {uid!r}"
        for line, uid in zip(table.lines, uids, strict=True)
        if not UID_PATTERN.fullmatch(uid) or not uid.strip(".")
    ]
    _complain(path, SERIES_COLUMN, bad, "is not a UID of digits and dots, at most 64 characters")
    at: dict[str, list[str]] = {}
    for line, uid in zip(table.lines, uids, strict=True):
        at.setdefault(uid, []).append(str(line))
    twice = [
        f"{uid} ({len(found)} times) in lines {', '.join(found)}"
        for uid, found in at.items()
        if len(found) > 1
    ]
    _complain(path, SERIES_COLUMN, twice, "occurs more than once; keep one row per series")
    for label in LABELS:
        odd = [
            f"line {line}: {row[label] or ''!r}"
            for line, row in numbered
            if row[label] not in ("0", "1")
        ]
        _complain(path, label, odd, "is neither 0 nor 1")


def _complain(path: Path, column: str, found: Sequence[str], what: str) -> None:
    if found:
        raise InputError(f"{path}, column {column}: {_some(found)} {what}")


def _some(found: Sequence[str]) -> str:
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"{', '.join(found[:SHOWN])}{more}"
