"""train_meta.csv, slices.csv and rejected.csv: their columns, how they are written and read.

They are put together from the sidecars of the series. Tables that later stages derive from them
are read with the same types.
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intracranial.artifacts import DataPaths, write_csv
from intracranial.caching.job import FILE_COLUMNS, PARTIAL, REJECTED
from intracranial.caching.train_table import PATIENT_COLUMN
from intracranial.errors import InputError, MissingArtifact
from intracranial.imaging.geometry import THICKNESS_COLUMN, Geometry
from intracranial.imaging.linkage import Linkage, group_names, large_groups
from intracranial.provenance import MADE_BY
from intracranial.tasks import SERIES_COLUMN, SOP_COLUMN, Task

if TYPE_CHECKING:
    import pandas as pd

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
"""Columns of slices.csv that the split needs; `notes` follows them."""

REJECTED_COLUMNS = (SERIES_COLUMN, "file", "reason", "words")

MADE_COLUMNS = ("group", *FILE_COLUMNS)
"""Columns that train_meta.csv adds to those of train.csv."""

DROPPED_COLUMNS = (PATIENT_COLUMN, "PatientName", "PatientBirthDate")
"""Columns of train.csv that no other table gets: they name a patient."""

SCRIPT = MADE_BY["preprocess"]


def rejected_row(uid: str, reason: str, words: str) -> dict[str, str]:
    """The row of rejected.csv for a whole series."""
    return {SERIES_COLUMN: uid, "file": "", "reason": reason, "words": words}


def write_tables(
    data: DataPaths,
    columns: Sequence[str],
    rows: Sequence[dict[str, str]],
    rejected: Sequence[dict[str, str]],
    key: bytes,
) -> dict[str, Any]:
    """Write the three tables in the order of train.csv.

    Args:
        data: the data folder.
        columns: columns of train.csv.
        rows: rows of train.csv that the run covers.
        rejected: rows of the rejected series; all other series have a finished sidecar.
        key: of the data folder.

    Returns:
        Counts: series read, of these with notes and in part, rejected, slices, groups; and the
        suspiciously large groups. Files left out count by reason in "lost files".
    """
    out = {row[SERIES_COLUMN]: row for row in rejected}
    kept = [row for row in rows if row[SERIES_COLUMN] not in out]
    metas: list[dict[str, Any]] = []
    linkages: list[Linkage] = []
    lost: dict[str, list[dict[str, str]]] = {}
    for row in kept:
        uid = row[SERIES_COLUMN]
        sidecar = _sidecar(data, uid)
        metas.append(sidecar["meta"])
        linkages.append(Linkage(**sidecar["linkage"]).unkeyed(key))
        lost[uid] = [{SERIES_COLUMN: uid, **line} for line in sidecar["lost"]]
    groups = group_names(
        linkages,
        [row[SERIES_COLUMN] for row in kept],
        key,
        [row.get(PATIENT_COLUMN, "") for row in kept],
    )
    given = [name for name in columns if name not in (*MADE_COLUMNS, *DROPPED_COLUMNS)]
    # later stages balance and report by it, whoever wrote the table
    modality = [] if "Modality" in given else ["Modality"]
    write_csv(
        data.train_meta_csv,
        [*given, *modality, *MADE_COLUMNS],
        (
            {"Modality": meta["dicom_modality"], **row, "group": group, **meta}
            for row, group, meta in zip(kept, groups, metas, strict=True)
        ),
    )
    write_csv(data.slices_csv, (*SLICE_COLUMNS, "notes"), _slices(data, kept))
    lost_files = Counter(line["reason"] for found in lost.values() for line in found)
    for uid, line in out.items():
        lost[uid] = [line]
    ordered = (line for row in rows for line in lost[row[SERIES_COLUMN]])
    write_csv(data.rejected_csv, REJECTED_COLUMNS, ordered)
    return {
        "read": len(kept),
        "read with notes": sum(bool(meta["notes"]) for meta in metas),
        "read in part": sum(meta["status"] == PARTIAL for meta in metas),
        "rejected": len(rejected),
        "lost files": lost_files,
        "slices": sum(meta["n"] for meta in metas),
        "groups": len(set(groups)),
        "large groups": large_groups(groups),
    }


def _slices(data: DataPaths, rows: Sequence[dict[str, str]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        uid = row[SERIES_COLUMN]
        for line in _sidecar(data, uid)["slices"]:
            yield {SERIES_COLUMN: uid, **line}


def _sidecar(data: DataPaths, uid: str) -> dict[str, Any]:
    path = data.sequence_sidecar(uid)
    sidecar: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if sidecar["status"] == REJECTED:
        raise RuntimeError(f"{path} changed while the tables were written")
    return sidecar


def read_meta(data: DataPaths, task: Task, columns: Sequence[str] = ()) -> "pd.DataFrame":
    """train_meta.csv as text: columns that later stages need, those of the labels, and further."""
    return read_text_table(data.train_meta_csv, (*META_COLUMNS, *task.labels, *columns), SCRIPT)


def typed_meta(table: "pd.DataFrame", data: DataPaths, task: Task) -> "pd.DataFrame":
    """Typed rows of `read_meta`, indexed by SeriesInstanceUID."""
    return with_types(table, data.train_meta_csv, task).set_index(SERIES_COLUMN)


def read_slices(data: DataPaths) -> "pd.DataFrame":
    """Typed rows of slices.csv."""
    return with_types(read_text_table(data.slices_csv, SLICE_COLUMNS, SCRIPT), data.slices_csv)


def read_rejected(data: DataPaths) -> "pd.DataFrame":
    """Rows of rejected.csv, all text."""
    return read_text_table(data.rejected_csv, REJECTED_COLUMNS, SCRIPT)


def rejected_series(rejected: "pd.DataFrame") -> frozenset[str]:
    """Those that are rejected; other rows are files of series that were read in part."""
    return frozenset(rejected.loc[rejected["file"].eq(""), SERIES_COLUMN])


def read_text_table(path: Path, columns: Sequence[str], made_by: str) -> "pd.DataFrame":
    """Read a table with every cell as the text in the file, so that it can be copied unchanged.

    Args:
        path: the csv file.
        columns: columns that must be there; others are kept.
        made_by: script that makes the file, for the messages.

    Raises:
        MissingArtifact: the file is not there.
        InputError: it is no csv file or a column is missing.
    """
    import pandas as pd  # here, since preprocess_data.py itself does without

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


def with_types(table: "pd.DataFrame", path: Path, task: Task | None = None) -> "pd.DataFrame":
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


def rows_by_series(series: "pd.DataFrame") -> dict[str, dict[str, Any]]:
    """The rows of a typed table that is indexed by SeriesInstanceUID, as mappings."""
    columns = list(series.columns)
    rows = zip(*(series[column] for column in columns), strict=True)
    return {
        str(uid): dict(zip(columns, row, strict=True))
        for uid, row in zip(series.index, rows, strict=True)
    }


def _numbers(table: "pd.DataFrame", column: str, path: Path, allow_empty: bool) -> "pd.Series":
    text = table[column]
    try:
        # Python's own parser is exact, so that a float survives writing and reading.
        values = text.replace("", "nan").astype("float64")
    except ValueError:
        import pandas as pd

        bad = pd.to_numeric(text, errors="coerce").isna() & text.ne("")
        raise _bad_cell(table, column, path, bad.idxmax(), "a number") from None
    if not allow_empty and values.isna().any():
        raise _bad_cell(table, column, path, values.isna().idxmax(), "a number")
    return values


def _bad_cell(
    table: "pd.DataFrame", column: str, path: Path, row: Hashable, wanted: str
) -> InputError:
    position = table.index.get_loc(row)
    assert isinstance(position, int)
    # Line 1 is the header, and our tables have one line per row.
    return InputError(
        f"{path}, line {position + 2}, column {column}: {table[column].iloc[position]!r} is not "
        f"{wanted}: run the script that makes it again"
    )
