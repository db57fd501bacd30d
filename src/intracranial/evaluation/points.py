"""The table of points, written and read back; read back, points stand beside the true centres."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intracranial.errors import InputError
from intracranial.evaluation.predictions import numbers, read_rows
from intracranial.inference.points import Point
from intracranial.provenance import MADE_BY
from intracranial.splits.folds import Split
from intracranial.statistics.localisation import Located
from intracranial.tasks import SERIES_COLUMN, SOP_COLUMN

MM_COLUMNS = ("x_mm", "y_mm", "z_mm")


POINT_COLUMNS = (
    SERIES_COLUMN,
    "location",
    "probability",
    "score",
    "rank",
    SOP_COLUMN,
    "frame",
    "x",
    "y",
    "x_mm",
    "y_mm",
    "z_mm",
)
"""Columns of a table of points, see `point_row`."""


@dataclass(frozen=True)
class TablePoint:
    """What a table of points says of one; fields as in `inference.points.Point`."""

    label: str
    score: float
    rank: int | None
    mm: tuple[float, float, float] | None


def point_row(uid: str, point: Point) -> dict[str, Any]:
    """Cells of one point in a table of `POINT_COLUMNS`; millimetres are empty where unknown."""
    values = (
        uid,
        point.label,
        point.probability,
        point.score,
        point.rank,
        point.sop_uid,
        point.frame,
        round(point.x, 2),
        round(point.y, 2),
        *((None,) * 3 if point.mm is None else (round(value, 2) for value in point.mm)),
    )
    return dict(zip(POINT_COLUMNS, values, strict=True))


def read_points(path: Path) -> dict[str, list[TablePoint]]:
    """Points of each series in the order of the table.

    Raises:
        MissingArtifact: there is no such table.
        InputError: a column is missing, or a cell is not a number.
    """
    script = MADE_BY["end_to_end_metrics"]
    columns, rows = read_rows(path, script)
    missing = [column for column in POINT_COLUMNS if column not in columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}: run {script} --overwrite")
    found: dict[str, list[TablePoint]] = {}
    known = [row for row in rows if row["x_mm"]]
    places = iter(numbers(path, known, MM_COLUMNS).tolist())
    for row, score in zip(rows, numbers(path, rows, ["score"])[:, 0].tolist(), strict=True):
        rank = int(row["rank"]) if row["rank"] else None
        mm = tuple(next(places)) if row["x_mm"] else None
        found.setdefault(row[SERIES_COLUMN], []).append(
            TablePoint(row["location"], score, rank, mm)
        )
    return found


def located_of_split(split: Split, uids: Sequence[str], tables: Sequence[Path]) -> list[Located]:
    """Points of the tables beside the findings of the split, for each series of `uids`.

    Raises:
        MissingArtifact, InputError: as `read_points`, or no table has a series.
    """
    points: dict[str, list[TablePoint]] = {}
    for path in tables:
        points |= read_points(path)
    missing = [uid for uid in uids if uid not in points]
    if missing:
        raise InputError(
            f"{', '.join(map(str, tables))} have no points of {missing[0]} ({len(missing)} series "
            f"are missing): run {MADE_BY['end_to_end_metrics']} --overwrite"
        )
    found = []
    for uid in uids:
        mine = split.findings.get(uid, ())
        centres = [one.mm or (np.nan,) * 3 for one in mine]
        known = bool(split.series.loc[uid, "geometry_known"])
        places = np.array(centres, dtype=np.float64).reshape(-1, 3)
        found.append(Located(points[uid], places, [one.location for one in mine], known))
    return found
