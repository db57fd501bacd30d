"""Read the tables that the data stages wrote, with the types that later stages rely on."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from intracranial.errors import InputError, MissingArtifact
from intracranial.imaging.geometry import THICKNESS_COLUMN, Geometry
from intracranial.tasks import SERIES_COLUMN, SOP_COLUMN, Task

_GEOMETRY = Geometry("unknown", (1, 1), (1.0, 1.0, 1.0), None, (0.0,) * 3, (0.0,) * 3).to_row()

GEOMETRY_COLUMNS = tuple(_GEOMETRY)
"""Columns of train_meta.csv that `Geometry.from_row` reads."""

INTEGER_COLUMNS = frozenset(
    {
        *(name for name, value in _GEOMETRY.items() if isinstance(value, int)),
        *("n", "size", "fold", "localized", "index", "frame"),
    }
)
"""Columns without empty cells, read as int64."""

FLOAT_COLUMNS = frozenset(
    {
        *(name for name, value in _GEOMETRY.items() if isinstance(value, float)),
        *("x", "y", "z", "x_mm", "y_mm", "z_mm", THICKNESS_COLUMN),
        *("width_mm", "height_mm", "depth_mm"),
    }
)
"""Columns read as float64, empty cells as NaN."""

META_COLUMNS = (
    SERIES_COLUMN,
    "Modality",
    "group",
    "dicom_modality",
    "n",
    "size",
    *GEOMETRY_COLUMNS,
)
"""Columns of train_meta.csv that the split and later stages need, beside those of the labels."""

SLICE_COLUMNS = (SERIES_COLUMN, "index", SOP_COLUMN, "frame", "x", "y", "z")
"""Columns of slices.csv that the split needs."""


def read_text_table(path: Path, columns: Sequence[str], made_by: str) -> pd.DataFrame:
    """Read a table with every cell as the text in the file, so that it can be copied unchanged.

    Args:
        path: the csv file.
        columns: columns that must be there; others are kept.
        made_by: script that makes the file, for the messages.

    Raises:
        MissingArtifact: the file is not there.
        InputError: it is no csv file or a column is missing.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise MissingArtifact(f"{path} is missing: run {made_by} first") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable table ({error}): run {made_by}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; it has {', '.join(table.columns)}. "
            f"Run {made_by} --overwrite"
        )
    return table


def with_types(table: pd.DataFrame, path: Path, task: Task | None = None) -> pd.DataFrame:
    """A copy with int64 and float64 columns where the tables define them, else str.

    Args:
        table: of text.
        path: of its file, for the message.
        task: whose labels are columns: float64 of 0, 1, and NaN where a label is not known.

    Raises:
        InputError: a cell is not a number; the message gives its line, column and value.
    """
    typed = table.copy()
    labels = () if task is None else task.labels
    for column in table.columns:
        if column in labels:
            typed[column] = _numbers(table, column, path, allow_empty=True)
        elif column in INTEGER_COLUMNS:
            values = _numbers(table, column, path, allow_empty=False)
            fractions = values[values % 1 != 0]
            if len(fractions):
                raise _bad_cell(table, column, path, fractions.index[0], "a whole number")
            typed[column] = values.astype("int64")
        elif column in FLOAT_COLUMNS:
            typed[column] = _numbers(table, column, path, allow_empty=True)
    return typed


def rows_by_series(series: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The rows of a typed table that is indexed by SeriesInstanceUID, as mappings."""
    columns = list(series.columns)
    rows = zip(*(series[column] for column in columns), strict=True)
    return {
        str(uid): dict(zip(columns, row, strict=True))
        for uid, row in zip(series.index, rows, strict=True)
    }


def _numbers(table: pd.DataFrame, column: str, path: Path, allow_empty: bool) -> pd.Series:
    text = table[column]
    try:
        # Python's own parser is exact, so that a float survives writing and reading.
        values = text.replace("", "nan").astype("float64")
    except ValueError:
        bad = pd.to_numeric(text, errors="coerce").isna() & text.ne("")
        raise _bad_cell(table, column, path, bad.idxmax(), "a number") from None
    if not allow_empty and values.isna().any():
        raise _bad_cell(table, column, path, values.isna().idxmax(), "a number")
    return values


def _bad_cell(
    table: pd.DataFrame, column: str, path: Path, row: Hashable, wanted: str
) -> InputError:
    position = table.index.get_loc(row)
    assert isinstance(position, int)
    # Line 1 is the header, and our tables have one line per row.
    return InputError(
        f"{path}, line {position + 2}, column {column}: {table[column].iloc[position]!r} is not "
        f"{wanted}: run the script that makes it again"
    )
