"""Findings: where a marked pixel lies, and the table that every later script reads them from."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from intracranial.caching.tables import rows_by_series, with_types
from intracranial.errors import InputError, MissingArtifact
from intracranial.imaging.geometry import to_canonical
from intracranial.splits.findings import (
    FINDING_COLUMNS,
    Finding,
    by_series,
    place,
    read_findings,
    write_findings,
)
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.sampling.fold_data import AXIAL, SHAPE, SIZE, TinyData, geometry_of

BASILAR = "Basilar Tip"

ORIENTATIONS = {
    "axial": AXIAL,
    "axial, columns to the right": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "axial, rows to anterior": (1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "axial, transposed": (0.0, 1.0, 0.0, 1.0, 0.0, 0.0),
    "axial, tilted": (1.0, 0.0, 0.0, 0.0, 0.8, 0.6),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal, columns to anterior": (0.0, -1.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal, transposed and flipped": (0.0, 0.0, 1.0, 0.0, -1.0, 0.0),
}


def row_of(root: Path, iop: tuple[float, ...] | None):
    """The row of train_meta.csv of a series stored with this orientation."""
    data = TinyData(root)
    data.add_series("1.1", BASILAR, iop=iop)
    table = with_types(pd.DataFrame(data.meta).astype(str), root, RSNA_2025)
    return rows_by_series(table.set_index(SERIES_COLUMN))["1.1"]


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_coordinates_follow_the_transposes_and_flips_of_the_series(tmp_path: Path, name: str):
    iop = ORIENTATIONS[name]
    position = (5.0, 6.0, 7.0)
    x, y = 12, 71
    cached_x, cached_y, mm = place(row_of(tmp_path, iop), x, y, position)

    stored = np.zeros((1, *SHAPE))
    stored[0, y, x] = 1
    canonical = to_canonical(stored, geometry_of(iop))[0]
    row, column = np.argwhere(canonical)[0]
    rows, columns = canonical.shape
    assert cached_x == pytest.approx((column + 0.5) * SIZE / columns - 0.5)
    assert cached_y == pytest.approx((row + 0.5) * SIZE / rows - 0.5)
    # PS3.3 C.7.6.2.1.1, with PixelSpacing 0.5 mm between rows and 0.4 mm between columns.
    expected = np.add(position, 0.4 * x * np.array(iop[:3]) + 0.5 * y * np.array(iop[3:]))
    assert mm == pytest.approx(expected)


@pytest.mark.parametrize(
    ("iop", "position"),
    [(None, None), (None, (5.0, 6.0, 7.0)), (AXIAL, None), (AXIAL, (float("inf"), 0.0, 0.0))],
)
def test_millimetres_that_are_not_known_are_not_made_up(tmp_path: Path, iop, position):
    x, _, mm = place(row_of(tmp_path, iop), 12.0, 71.0, position)
    assert mm is None and x == pytest.approx(12.5 * SIZE / 80 - 0.5)


def test_the_point_of_a_finding_moves_with_its_voxel():
    volume = np.zeros((5, 8, 6))
    volume[3, 6, 1] = 1  # slice, row, column
    finding = Finding("1.1", 3, 1.0, 6.0, BASILAR)
    x, y, index = finding.point
    flipped, cropped = volume[::-1, :, ::-1], volume[2:, 4:, 1:]
    assert np.argwhere(flipped).tolist() == [[4 - index, y, 5 - x]]
    assert np.argwhere(cropped).tolist() == [[index - 2, y - 4, x - 1]]


FINDINGS = [
    Finding("1.1", 3, 0.1 + 0.2, 6.25, BASILAR, (-1.5, 1 / 3, 1e-17), (4.5, None, 2.0)),
    Finding("1.1", 4, 0.0, -0.5, ""),
    Finding("1.10", 0, 63.5, 63.5, BASILAR, (0.0, 0.0, 0.0)),
]


def test_the_table_gives_back_every_finding_to_the_last_digit(tmp_path: Path):
    path = tmp_path / "findings.csv"
    write_findings(path, FINDINGS)
    assert path.read_text(encoding="utf-8").splitlines()[0] == ",".join(FINDING_COLUMNS)
    assert path.read_text(encoding="utf-8").splitlines()[2] == "1.1,4,,0.0,-0.5,,,,,,"
    found = read_findings(path, "create_folds.py")
    assert found == FINDINGS
    assert by_series(found) == {"1.1": tuple(FINDINGS[:2]), "1.10": (FINDINGS[2],)}


def test_a_table_that_cannot_be_read_is_an_error_with_its_place(tmp_path: Path):
    path = tmp_path / "findings.csv"
    with pytest.raises(MissingArtifact, match=r"findings\.csv is missing: run create_folds\.py"):
        read_findings(path, "create_folds.py")
    write_findings(path, FINDINGS)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("4.5", "wide"), encoding="utf-8")
    with pytest.raises(InputError, match=r"line 2, column width_mm: 'wide' is not a number"):
        read_findings(path, "create_folds.py")
    path.write_text(text.replace("depth_mm", "depth"), encoding="utf-8")
    with pytest.raises(InputError, match="has no column depth_mm"):
        read_findings(path, "create_folds.py")
