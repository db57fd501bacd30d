"""Findings, the labelled places of series: what one is, where it lies, and their table."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intracranial.artifacts import write_csv
from intracranial.caching.tables import read_text_table, with_types
from intracranial.imaging.geometry import Geometry, stored_to_cache, stored_to_patient
from intracranial.tasks import SERIES_COLUMN

LOCALIZERS = "localizers"
"""Source of the findings that are rows of train_localizers.csv."""

SIZE_COLUMNS = ("width_mm", "height_mm", "depth_mm")
"""Optional columns of localizers: extent of the finding along columns, rows and slices."""

FINDING_COLUMNS = (
    SERIES_COLUMN,
    "index",
    "location",
    *("x", "y", "x_mm", "y_mm", "z_mm"),
    *SIZE_COLUMNS,
)
"""Columns of findings.csv: every labelled finding that could be placed, with its size."""


@dataclass(frozen=True)
class Finding:
    """One labelled place of a series.

    Attributes:
        series: SeriesInstanceUID.
        index: slice of the centre, 0..n-1 in canonical order.
        x: column of the centre in cache pixels; whole numbers are pixel centres.
        y: row, likewise.
        location: one of the task's; '' where it is not known which.
        mm: the centre in the patient, LPS; None where the geometry is not known.
        size_mm: width, height and depth, along columns, rows and slices of the stored images; each
            None where it is not given.
        component: number of the part of the series' mask; None for what is no part of a mask.
        source: what it was read from.
    """

    series: str
    index: int
    x: float
    y: float
    location: str
    mm: tuple[float, float, float] | None = None
    size_mm: tuple[float | None, float | None, float | None] = (None, None, None)
    component: int | None = None
    source: str = LOCALIZERS

    @property
    def point(self) -> tuple[float, float, float]:
        """Column, row and slice of the centre: what flips and crops of the cached volume move."""
        return self.x, self.y, float(self.index)


def place(
    row: Mapping[str, Any], x: float, y: float, position: tuple[float, float, float] | None
) -> tuple[float, float, tuple[float, float, float] | None]:
    """Where a pixel of a stored image lies, in cache pixels and in the patient.

    Args:
        row: of train_meta.csv, typed: the series' geometry and the `size` of its cache.
        x: column in pixels of the stored image.
        y: row, likewise.
        position: the slice's stored ImagePositionPatient in mm; None where it is unknown.

    Returns:
        x and y in cache pixels, and LPS mm (PS3.3 C.7.6.2.1.1), None without known geometry.
    """
    geometry = Geometry.from_row(row)
    cached_x, cached_y = stored_to_cache(geometry, np.array([[x, y]]), row["size"])[0].tolist()
    if not geometry.geometry_known or position is None:
        return cached_x, cached_y, None
    # Slice 0 of a list that holds only this slice's position.
    x_mm, y_mm, z_mm = stored_to_patient(
        geometry, np.array([[x, y, 0.0]]), np.array([position])
    ).tolist()[0]
    known = all(map(math.isfinite, (x_mm, y_mm, z_mm)))
    return cached_x, cached_y, (x_mm, y_mm, z_mm) if known else None


def by_series(findings: Iterable[Finding]) -> dict[str, tuple[Finding, ...]]:
    """The findings of each series that has any, in their order."""
    found: dict[str, tuple[Finding, ...]] = {}
    for finding in findings:
        found[finding.series] = (*found.get(finding.series, ()), finding)
    return found


def finding_row(finding: Finding) -> dict[str, Any]:
    """The cells of `FINDING_COLUMNS`."""
    mm = finding.mm or (None, None, None)
    centre = (finding.index, finding.location, finding.x, finding.y, *mm)
    cells = (finding.series, *centre, *finding.size_mm)
    return dict(zip(FINDING_COLUMNS, cells, strict=True))


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write findings.csv, a row per finding in the order given."""
    write_csv(path, FINDING_COLUMNS, map(finding_row, findings))


def read_findings(path: Path, made_by: str) -> list[Finding]:
    """Read findings.csv, in the order of its rows.

    Args:
        path: of the table.
        made_by: the script that makes it, for the messages.

    Raises:
        MissingArtifact: the table is not there.
        InputError: it is no csv file, a column is missing, or a cell is not a number.
    """
    table = with_types(read_text_table(path, FINDING_COLUMNS, made_by), path)
    found = []
    for row in table[list(FINDING_COLUMNS)].itertuples(index=False):
        uid, index, location, x, y, x_mm, y_mm, z_mm, *sizes = row
        mm = None if math.isnan(x_mm) else (x_mm, y_mm, z_mm)
        width, height, depth = (None if math.isnan(size) else size for size in sizes)
        found.append(Finding(uid, index, x, y, location, mm, (width, height, depth)))
    return found
