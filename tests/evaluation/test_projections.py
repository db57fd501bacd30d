"""Maximum-intensity projections lie the radiological way and mark the right place."""

from dataclasses import replace

import numpy as np
import pytest

from src.evaluation.projections import SLAB_MM, array_directions, edge_letters, project
from src.imaging.geometry import CANONICAL_AXES, Geometry

SIDES = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": "APSI"}
IOP = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
}
STEP = {"axial": (0.0, 0.0, 2.0), "coronal": (0.0, 2.0, 0.0), "sagittal": (2.0, 0.0, 0.0)}


def geometry(plane, **changes):
    values = {
        "plane": plane,
        "shape": (8, 6),
        "spacing": (2.0, 1.0, 1.0),
        "iop": IOP[plane],
        "origin": (0.0, 0.0, 0.0),
        "slice_step": STEP[plane],
    }
    return Geometry(**{**values, **changes})


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_directions_of_canonical_series_are_the_canonical_axes(plane):
    assert array_directions(geometry(plane)) == CANONICAL_AXES[plane]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_letters_follow_the_canonical_orientation(plane):
    across, down, _ = CANONICAL_AXES[plane]
    assert edge_letters(across, down) == tuple(SIDES[plane])


def test_a_series_kept_in_stored_order_gets_its_letters_exchanged():
    stored = geometry("axial", iop=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    across, down, _ = array_directions(stored)
    assert edge_letters(across, down) == ("L", "R", "A", "P")


def test_directions_that_are_not_known_are_not_guessed():
    lying = geometry("axial")
    assert array_directions(replace(lying, geometry_known=False)) is None
    assert array_directions(replace(lying, plane="oblique")) is None


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_bright_voxel_appears_at_the_marked_point_of_every_projection(plane):
    volume = np.zeros((5, 8, 6), np.float16)
    volume[3, 6, 1] = 4.0  # slice, row, column
    spot = (1.0, 6.0, 3.0)
    found = project(volume, CANONICAL_AXES[plane], (2.0, 1.0, 1.0), True, spot, [spot])
    assert [picture.name for picture in found] == ["axial", "coronal", "sagittal"]
    for picture in found:
        y, x = np.unravel_index(picture.image.argmax(), picture.image.shape)
        assert picture.point == (x, y)
        assert picture.spots == ((x, y),)
        assert picture.marks == tuple(SIDES[picture.name])


def test_the_coronal_projection_of_an_axial_series_has_superior_at_the_top():
    volume = np.zeros((5, 8, 6), np.float16)
    volume[4] = 1.0  # the most superior slice
    _, coronal, _ = project(volume, CANONICAL_AXES["axial"], (2.0, 1.0, 1.0), True, None)
    assert coronal.image[0].min() == 1.0 and coronal.image[1:].max() == 0.0
    assert coronal.pixel_mm == (2.0, 1.0)


def test_only_the_slab_round_the_point_is_projected():
    volume = np.zeros((100, 4, 4), np.float16)
    volume[90] = 5.0
    far, near = (
        project(volume, CANONICAL_AXES["axial"], (1.0, 1.0, 1.0), True, (1.0, 1.0, at))[0]
        for at in (90 - SLAB_MM / 2 - 1, 90 - SLAB_MM / 2)
    )
    assert far.image.max() == 0.0 and far.slab_mm == SLAB_MM
    assert near.image.max() == 5.0


def test_without_known_spacing_the_whole_series_is_projected_and_no_side_named():
    volume = np.zeros((100, 4, 4), np.float16)
    volume[90] = 5.0
    found = project(volume, None, (1.0, 0.4, 0.4), False, (1.0, 1.0, 2.0))
    assert [picture.name for picture in found] == ["along slices", "along rows", "along columns"]
    assert all(picture.image.max() == 5.0 for picture in found)
    assert {(picture.marks, picture.slab_mm) for picture in found} == {(None, None)}
