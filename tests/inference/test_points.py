"""Points lie where heat maps and slice probabilities agree, in pixels and in millimetres."""

from pathlib import Path

import numpy as np
import pytest

from intracranial.caching.read_ahead import PreparedSeries
from intracranial.evaluation.points import POINT_COLUMNS, point_row
from intracranial.imaging.geometry import Geometry, reorientation
from intracranial.imaging.linkage import Linkage
from intracranial.inference.points import (
    APART_MM,
    OVERALL_POINTS,
    Point,
    find_points,
)
from intracranial.tasks import RSNA_2025
from tests.challenge import LOCATIONS, OVERALL

TASK = RSNA_2025
TIP = TASK.labels.index("Basilar Tip")
SIZE = 64
SPACING = (2.0, 1.0, 0.5)
"""Slices, rows, columns in mm; a stored image has 64 rows and 128 columns."""

SAGITTAL = (0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
"""Columns to anterior, rows to superior: both are flipped in canonical order."""


def a_series(n: int = 20, iop: tuple[float, ...] | None = None, known: bool = True):
    iop = iop or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    how = reorientation(iop)
    step = SPACING[0] * np.cross(iop[:3], iop[3:]) * (-1 if how.flip_slices else 1)
    origin = np.array([-30.0, -40.0, 10.0])
    geometry = Geometry(
        plane=how.plane,
        shape=(64, 128),
        spacing=SPACING,
        iop=iop,
        origin=tuple(origin),
        slice_step=tuple(step),
        transpose=how.transpose,
        flip_rows=how.flip_rows,
        flip_cols=how.flip_cols,
        flip_slices=how.flip_slices,
        geometry_known=known,
    )
    return PreparedSeries(
        folder=Path("series"),
        uid="1.2.3",
        modality="CT",
        volume=np.zeros((n, SIZE, SIZE), dtype=np.float16),
        geometry=geometry,
        thickness=None,
        sop_uids=tuple(f"1.2.3.{i}" for i in range(n)),
        frames=np.zeros(n, dtype=np.int64),
        positions=origin + np.arange(n)[:, None] * step,
        status="read",
        notes=(),
        linkage=Linkage(None, None, None),
        seconds=0.0,
    )


def an_output(n: int = 20, steps: int = 1):
    """Heat-map maxima of 0.02 in the middle, and slice probabilities of 0.01."""
    peaks = np.full((steps, n, 14, 3), SIZE / 2)
    peaks[..., 2] = 0.02
    return peaks, np.full((n, 14), 0.01)


def put(peaks, at_slices, label: int, index: int, x: float, y: float, value: float = 0.9) -> None:
    """A lesion at one slice, fainter at its neighbours."""
    for offset, share in ((-1, 0.5), (0, 1.0), (1, 0.5)):
        peaks[:, index + offset, label] = (x, y, value * share)
        at_slices[index + offset, label] = value * share


def points_of(series, peaks, at_slices):
    return find_points(TASK, series, peaks, at_slices, np.linspace(0.1, 0.9, 14))


def of_label(points: tuple[Point, ...], label: int) -> list[Point]:
    return [point for point in points if point.label == TASK.labels[label]]


def test_every_location_has_one_point_and_the_overall_label_a_few():
    points = points_of(a_series(), *an_output())
    names = [point.label for point in points]
    assert all(names.count(name) == 1 for name in LOCATIONS)
    assert 1 <= names.count(TASK.overall) <= OVERALL_POINTS


def test_a_point_is_at_the_lesion_in_pixels_of_the_image_and_in_millimetres():
    peaks, at_slices = an_output()
    put(peaks, at_slices, TIP, 12, 20.0, 40.0)
    (point,) = of_label(points_of(a_series(), peaks, at_slices), TIP)
    assert (point.index, point.sop_uid, point.frame) == (12, "1.2.3.12", 0)
    assert point.cache_xy == pytest.approx((20, 40), abs=0.3)
    # 128 stored columns became 64: x is twice as large, between the two columns of a cache pixel
    assert (point.x, point.y) == pytest.approx((40.5, 40), abs=0.6)
    expected = (-30 + 0.5 * point.x, -40 + point.y, 10 + 2 * 12)
    assert point.mm == pytest.approx(expected, abs=1e-6)
    assert point.score == pytest.approx(0.9) and point.rank == 1


def test_points_of_flipped_series_are_in_the_image_as_it_is_stored():
    series = a_series(iop=SAGITTAL)
    assert series.geometry.flip_rows and series.geometry.flip_cols
    peaks, at_slices = an_output()
    put(peaks, at_slices, TIP, 5, 10.0, 8.0)
    (point,) = of_label(points_of(series, peaks, at_slices), TIP)
    assert (point.x, point.y) == pytest.approx((127 - 20.5, 63 - 8), abs=0.6)
    sideways = series.positions[5, 0]  # columns run to anterior, rows to superior
    assert point.mm == pytest.approx((sideways, -40 - 0.5 * point.x, 10 + point.y), abs=1e-6)


def test_one_noisy_slice_does_not_beat_a_lesion_seen_on_several():
    peaks, at_slices = an_output()
    for index in (10, 11, 12):
        peaks[:, index, TIP] = (20, 40, 0.8)
        at_slices[index, TIP] = 0.8
    peaks[:, 3, TIP], at_slices[3, TIP] = (50, 10, 0.9), 0.9
    (point,) = of_label(points_of(a_series(), peaks, at_slices), TIP)
    assert point.index == 11


def test_steps_are_combined_where_they_agree_and_not_averaged_where_they_do_not():
    peaks, at_slices = an_output(steps=2)
    put(peaks, at_slices, TIP, 12, 20.0, 40.0)
    peaks[1, :, TIP] = (60, 60, 0.02)  # the second step sees nothing
    (point,) = of_label(points_of(a_series(), peaks, at_slices), TIP)
    assert point.cache_xy == pytest.approx((20, 40), abs=0.5)
    peaks[1, 11:14, TIP] = (21, 40, 0.9)  # now it sees it a millimetre beside
    (point,) = of_label(points_of(a_series(), peaks, at_slices), TIP)
    assert 20.3 < point.cache_xy[0] < 20.8


def test_ranked_points_are_apart_and_fall_in_score():
    peaks, at_slices = an_output()
    put(peaks, at_slices, OVERALL, 12, 20.0, 40.0, 0.9)
    put(peaks, at_slices, OVERALL, 4, 50.0, 10.0, 0.7)
    put(peaks, at_slices, TIP, 12, 21.0, 40.0, 0.8)  # the same aneurysm under its location
    points = points_of(a_series(), peaks, at_slices)
    ranked = [point for point in points if point.rank is not None]
    assert [point.rank for point in ranked] == list(range(1, len(ranked) + 1))
    assert list(points[: len(ranked)]) == ranked
    scores = [point.score for point in ranked]
    assert scores == sorted(scores, reverse=True)
    assert [point.index for point in ranked[:2]] == [12, 4]
    assert of_label(points, TIP)[0].rank is None
    for i, one in enumerate(ranked):
        for other in ranked[i + 1 :]:
            assert np.linalg.norm(np.subtract(one.mm, other.mm)) > APART_MM


def test_a_point_says_the_series_probability_of_its_label():
    points = points_of(a_series(), *an_output())
    assert of_label(points, TIP)[0].probability == pytest.approx(np.linspace(0.1, 0.9, 14)[TIP])


def test_without_geometry_there_are_pixels_but_no_millimetres():
    peaks, at_slices = an_output()
    put(peaks, at_slices, TIP, 12, 20.0, 40.0)
    (point,) = of_label(points_of(a_series(known=False), peaks, at_slices), TIP)
    assert point.mm is None and point.index == 12
    row = point_row("1.2.3", point)
    assert tuple(row) == POINT_COLUMNS and row["x_mm"] is None and row["location"] == "Basilar Tip"


@pytest.mark.parametrize("n", [1, 2, 900])
def test_series_of_any_length_have_points(n: int):
    points = points_of(a_series(n), *an_output(n))
    assert all(0 <= point.index < n for point in points)


def test_probabilities_of_zero_everywhere_still_give_points_within_the_image():
    peaks, at_slices = an_output()
    peaks[..., 2], at_slices[:] = 0, 0
    for point in points_of(a_series(), peaks, at_slices):
        assert np.isfinite([point.x, point.y, *point.mm]).all() and point.score == 0
