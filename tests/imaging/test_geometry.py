"""Orientation, laterality and point maps."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from intracranial.imaging.geometry import (
    GEOMETRY_COLUMNS,
    Geometry,
    cache_to_patient,
    cache_to_stored,
    mirror_axis,
    patient_to_cache,
    patient_to_stored,
    reorientation,
    stored_to_cache,
    stored_to_canonical,
    stored_to_patient,
)
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import read_series
from tests.imaging.make_series import AXES, head, store, write_single_frames

STORAGES = list(itertools.product([False, True], repeat=4))


@pytest.mark.parametrize("plane", list(AXES))
def test_however_a_head_is_stored_its_canonical_array_is_the_same(tmp_path, plane):
    volume = head()
    for number, (transpose, flip_rows, flip_cols, reverse) in enumerate(STORAGES):
        stored = store(volume, plane, transpose, flip_rows, flip_cols, reverse)
        write_single_frames(tmp_path / str(number), stored, uid=f"1.2.{number}")
        series = read_series(tmp_path / str(number))
        np.testing.assert_array_equal(series.pixels, volume - 1024.0)
        assert series.geometry.plane == plane
        assert series.geometry.transpose == transpose
        np.testing.assert_allclose(series.geometry.spacing, (2.0, 0.5, 0.8))
        np.testing.assert_allclose(series.geometry.affine[:3, 3], (-20, -30, 10), atol=1e-9)


@pytest.mark.parametrize("plane", list(AXES))
def test_the_affine_takes_canonical_voxels_to_patient_mm(tmp_path, plane):
    stored = store(head(), plane, transpose=True, flip_rows=True, reverse=True)
    write_single_frames(tmp_path / "s", stored)
    affine = read_series(tmp_path / "s").geometry.affine
    column, row, along = (np.array(axis, dtype=float) for axis in AXES[plane])
    expected = np.array([-20.0, -30.0, 10.0]) + 7 * 0.8 * column + 5 * 0.5 * row + 3 * 2.0 * along
    np.testing.assert_allclose((affine @ [7, 5, 3, 1])[:3], expected, atol=1e-9)


@pytest.mark.parametrize("plane", list(AXES))
@pytest.mark.parametrize("storage", STORAGES)
def test_points_go_to_the_patient_and_back(tmp_path, plane, storage):
    stored = store(head(), plane, *storage)
    write_single_frames(tmp_path / "s", stored)
    series = read_series(tmp_path / "s")
    geometry, positions = series.geometry, series.positions
    points = np.array([[0, 0, 0], [3.5, 7.25, 2.5], [11, 30, 7], [-1, 2, 9.5]], dtype=float)
    mm = stored_to_patient(geometry, points, positions)
    np.testing.assert_allclose(patient_to_stored(geometry, mm, positions), points, atol=1e-9)
    cached = patient_to_cache(geometry, mm, positions, 64)
    np.testing.assert_allclose(cache_to_patient(geometry, cached, positions, 64), mm, atol=1e-9)
    xy = stored_to_cache(geometry, points[:, :2], 64)
    np.testing.assert_allclose(cached[:, :2], xy, atol=1e-9)
    np.testing.assert_allclose(cache_to_stored(geometry, xy, 64), points[:, :2], atol=1e-9)
    canonical = stored_to_canonical(geometry, points[:, :2])
    voxels = np.column_stack([canonical, points[:, 2], np.ones(len(points))])
    np.testing.assert_allclose((voxels @ geometry.affine.T)[:, :3], mm, atol=1e-9)


def test_the_bright_voxel_is_where_the_map_says(tmp_path):
    volume = head()
    stored = store(volume, "coronal", transpose=True, flip_cols=True, reverse=True)
    write_single_frames(tmp_path / "s", stored)
    series = read_series(tmp_path / "s")
    k, y, x = np.unravel_index(np.argmax(stored.images), stored.images.shape)
    index = series.sop_uids.index(f"1.2.3.9.{k + 1}")
    cx, cy = stored_to_canonical(series.geometry, np.array([[x, y]]))[0]
    assert series.pixels[index, int(cy), int(cx)] == series.pixels.max()


def test_cache_pixel_centres_follow_the_resize_convention():
    geometry = Geometry("axial", (4, 8), (1, 1, 1), (1, 0, 0, 0, 1, 0), (0, 0, 0), (0, 0, 1))
    np.testing.assert_allclose(stored_to_cache(geometry, np.array([[0, 0]]), 16), [[0.5, 1.5]])


@pytest.mark.parametrize("plane", list(AXES))
def test_a_left_right_flip_reverses_the_axis_that_runs_to_the_patients_left(tmp_path, plane):
    write_single_frames(tmp_path / "s", store(head(), plane, flip_cols=True))
    series = read_series(tmp_path / "s")
    axis = {"columns": 0, "slices": 2}[mirror_axis(series.geometry.plane)]
    step = series.geometry.affine[:3, axis]
    assert step[0] > 0
    np.testing.assert_allclose(step[1:], 0, atol=1e-9)


def test_flipping_left_and_right_agrees_between_planes_in_patient_space(tmp_path):
    """A voxel and its mirror image have opposite x and equal y, z around the volume's middle."""
    for plane in AXES:
        write_single_frames(tmp_path / plane, store(head(), plane))
        series = read_series(tmp_path / plane)
        n, rows, cols = series.pixels.shape
        voxel = np.array([5, 6, 2, 1], dtype=float)
        mirrored = voxel.copy()
        if mirror_axis(plane) == "columns":
            mirrored[0] = cols - 1 - voxel[0]
        else:
            mirrored[2] = n - 1 - voxel[2]
        middle = series.geometry.affine @ [(cols - 1) / 2, (rows - 1) / 2, (n - 1) / 2, 1]
        there = (series.geometry.affine @ voxel - middle)[:3]
        here = (series.geometry.affine @ mirrored - middle)[:3]
        np.testing.assert_allclose(here, there * [-1, 1, 1], atol=1e-9)


def test_nothing_is_flipped_where_left_and_right_are_unknown():
    assert mirror_axis("unknown") is None
    assert mirror_axis("oblique") is None


def _turned(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rotation matrix about a unit axis."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@pytest.mark.parametrize(("degrees", "plane"), [(0, "axial"), (35, "axial"), (44, "oblique")])
def test_tilted_planes_count_as_the_nearest_within_the_stated_angle(degrees, plane):
    turn = _turned(np.array([1.0, 0, 0]), degrees)
    iop = (*(turn @ [1, 0, 0]), *(turn @ [0, 1, 0]))
    assert reorientation(iop).plane == plane


def test_stored_orientation_changes_no_pixel_and_sorts_along_the_normal(tmp_path):
    volume = head()
    stored = store(volume, "sagittal", transpose=True, flip_rows=True)
    write_single_frames(tmp_path / "s", stored)
    series = read_series(tmp_path / "s", replace(STANDARD, orient="stored"))
    normal = np.cross(stored.iop[:3], stored.iop[3:])
    order = np.argsort(stored.positions @ normal)
    np.testing.assert_array_equal(series.pixels, stored.images[order] - 1024.0)
    assert np.all(np.diff(series.positions @ normal) > 0)


def test_a_geometry_survives_the_table():
    geometry = Geometry(
        "coronal",
        (32, 40),
        (1.1, 0.3, 0.30000000000000004),
        (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
        (0.1, -2.5, 1e-17),
        (0.0, 1.1, 0.0),
        transpose=True,
        flip_slices=True,
    )
    assert set(geometry.to_row()) == set(GEOMETRY_COLUMNS)
    assert Geometry.from_row({k: str(v) for k, v in geometry.to_row().items()}) == geometry
