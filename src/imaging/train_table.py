"""train.csv, checked before hours of work depend on it."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from src.errors import InputError, MissingArtifact
from src.task import LABELS, SERIES_COLUMN, TRAIN_COLUMNS

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
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            rows = [dict(row) for row in reader]
    except FileNotFoundError:
        raise MissingArtifact(
            f"{path} is missing: put the challenge's train.csv there, with one row per series"
        ) from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable csv table: {error}") from None
    missing = [column for column in TRAIN_COLUMNS if column not in columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(repr(column) for column in missing)}; it has "
            f"{', '.join(columns) or 'none'}. Use the challenge's train.csv, or add the columns"
        )
    _check_rows(path, rows)
    return columns, rows


def _check_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    if not rows:
        raise InputError(f"{path} has no rows: list at least one series")
    uids = [row[SERIES_COLUMN] or "" for row in rows]
    bad = [
        f"line {line}: {uid!r}"
        for line, uid in enumerate(uids, start=2)
        if not UID_PATTERN.fullmatch(uid) or not uid.strip(".")
    ]
    _complain(path, SERIES_COLUMN, bad, "is not a UID of digits and dots, at most 64 characters")
    twice = [f"{uid} ({count} times)" for uid, count in Counter(uids).items() if count > 1]
    _complain(path, SERIES_COLUMN, twice, "is there more than once; keep one row per series")
    for label in LABELS:
        odd = [
            f"line {line}: {row[label]!r}"
            for line, row in enumerate(rows, start=2)
            if row[label] not in ("0", "1")
        ]
        _complain(path, label, odd, "is neither 0 nor 1")


def _complain(path: Path, column: str, found: Sequence[str], what: str) -> None:
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise InputError(f"{path}, column {column}: {', '.join(found[:SHOWN])}{more} {what}")
