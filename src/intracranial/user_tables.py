"""Tables that people write: train.csv, train_localizers.csv and others like them.

Spreadsheets leave blanks round cells, a byte order mark, empty rows at the end and line breaks in
cells; none of these changes what a table says. A name in other case or misspelt might: it is not
taken for the one it resembles, but named with its line and the nearest name.
"""

import csv
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intracranial.config import nearest
from intracranial.errors import InputError, MissingArtifact

INVISIBLE = string.whitespace + "\x00\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""Characters round a cell that nobody sees, beside the blanks that Unicode calls so."""

SEPARATORS = (";", "\t", "|")
"""What spreadsheets write in place of the comma in some countries and formats."""


@dataclass(frozen=True)
class UserTable:
    """A table as text.

    `rows` map columns to cells, without the blanks round them; a cell that a short row lacks is
    None. `lines` are the lines on which the rows begin, as an editor counts them: 1 is the header.
    `excess` are rows with more cells than columns, by their lines.
    """

    columns: list[str]
    rows: list[dict[str, str | None]]
    lines: list[int]
    excess: frozenset[int]


def bare(cell: str) -> str:
    """A cell without what is invisible round it; a no-break blank within is a plain one."""
    before = None
    while before != cell:
        before, cell = cell, cell.strip().strip(INVISIBLE)
    return cell.replace("\xa0", " ")


def read_user_table(path: Path, needed: Sequence[str], absent: str) -> UserTable:
    """Read a table that has these columns, and perhaps others.

    Args:
        path: the csv file, UTF-8 with or without a byte order mark.
        needed: columns that must be there.
        absent: what the message says after "is missing: ".

    Raises:
        MissingArtifact: there is no such file.
        InputError: it is no csv file, or a column is missing or there twice.
    """
    columns: list[str] | None = None
    rows: list[dict[str, str | None]] = []
    lines: list[int] = []
    excess: set[int] = set()
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            begins = 1
            for found in reader:
                line, begins = begins, reader.line_num + 1
                cells = [bare(cell) for cell in found]
                if not any(cells):
                    continue
                if columns is None:
                    columns = cells
                    _check_columns(path, columns, needed)
                    continue
                while len(cells) > len(columns) and not cells[-1]:
                    cells.pop()
                if len(cells) > len(columns):
                    excess.add(line)
                short = [None] * (len(columns) - len(cells))
                rows.append(dict(zip(columns, [*cells, *short], strict=False)))
                lines.append(line)
    except FileNotFoundError:
        raise MissingArtifact(f"{path} is missing: {absent}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not a readable csv table, since it is not UTF-8: {error}. Save it as "
            "`CSV UTF-8`"
        ) from None
    except csv.Error as error:
        raise InputError(f"{path} is not a readable csv table: {error}") from None
    if columns is None:
        _check_columns(path, [], needed)
    return UserTable(columns or [], rows, lines, frozenset(excess))


def column_faults(columns: Sequence[str], needed: Sequence[str]) -> list[str]:
    """What is wrong with a table's columns, a phrase each: missing ones, those there twice."""
    missing = [column for column in needed if column not in columns]
    faults = []
    if missing:
        others = [column for column in columns if column not in needed]
        show = repr if any(" " in column for column in needed) else str
        named = [f"{show(column)}{nearest(column, others)}" for column in missing]
        faults.append(
            f"has no column {', '.join(named)}; it has {', '.join(columns) or 'none'}"
            f"{_other_separator(columns)}. Add what is missing, or rename what is misspelt"
        )
    twice = [name for name, count in Counter(columns).items() if count > 1 and name in needed]
    return faults + [f"has the column {name!r} more than once: keep one of them" for name in twice]


def _check_columns(path: Path, columns: list[str], needed: Sequence[str]) -> None:
    faults = column_faults(columns, needed)
    if faults:
        raise InputError(f"{path} {faults[0]}")


def _other_separator(columns: Sequence[str]) -> str:
    for separator in SEPARATORS:
        if len(columns) == 1 and separator in columns[0]:
            return f" (separated by {separator!r}: save it with commas)"
    return ""
