"""Maximum-intensity projections lie the radiological way and mark the right place."""

from dataclasses import replace

import numpy as np
import pytest

from intracranial.imaging.geometry import MAX_PLANE_ANGLE, Geometry, reorientation
from intracranial.report.projections import (
    SLAB_MM,
    array_directions,
    edge_letters,
    place_in_words,
    project,
)
from tests.evaluation.samples import canonical_directions

SIDES = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "S", "I"), "sagittal": "APSI"}
IOP = {
    "axial": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0),
    "sagittal": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
}
STEP = {"axial": (0.0, 0.0, 2.0), "coronal": (0.0, 2.0, 0.0), "sagittal": (2.0, 0.0, 0.0)}


def geometry(lying, **changes):
    """Geometry of a series that lies in a plane."""
    values = {
        "plane": lying,
        "shape": (8, 6),
        "spacing": (2.0, 1.0, 1.0),
        "iop": IOP[lying],
        "origin": (0.0, 0.0, 0.0),
        "slice_step": STEP[lying],
    }
    return Geometry(**{**values, **changes})


def turned(degrees, axis="x"):
    """Rotation matrix about a patient axis; about x it brings posterior towards superior."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    if axis == "x":
        return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def rotated(turn):
    """Geometry of an axial series that was turned as a whole, in canonical orientation."""
    iop = tuple(np.concatenate([turn[:, 0], turn[:, 1]]).tolist())
    how = reorientation(iop)
    step = turn[:, 2] * (-2.0 if how.flip_slices else 2.0)
    changes = {name: getattr(how, name) for name in ("transpose", "flip_rows", "flip_cols")}
    return geometry(
        "axial",
        plane=how.plane,
        iop=iop,
        slice_step=tuple(step.tolist()),
        flip_slices=how.flip_slices,
        **changes,
    )


def letters(series):
    directions = array_directions(series)
    return edge_letters(directions[:, 0], directions[:, 1])


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_directions_of_canonical_series_are_the_canonical_axes(plane):
    np.testing.assert_array_equal(array_directions(geometry(plane)), canonical_directions(plane))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_letters_follow_the_canonical_orientation(plane):
    assert letters(geometry(plane)) == tuple(SIDES[plane])


def test_a_series_kept_in_stored_order_gets_its_letters_exchanged():
    stored = geometry("axial", iop=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    assert letters(stored) == ("L", "R", "A", "P")


def test_a_transposed_series_kept_in_stored_order_has_the_letters_of_its_axes():
    stored = geometry("axial", plane="oblique", iop=(0.0, 1.0, 0.0, 1.0, 0.0, 0.0))
    assert letters(stored) == ("A", "P", "R", "L")


def test_an_edge_between_two_directions_has_both_letters_the_stronger_first():
    assert letters(rotated(turned(42))) == ("R", "L", "AI", "PS")
    assert letters(rotated(turned(42, "z"))) == ("RA", "LP", "AL", "PR")


def test_an_edge_between_all_three_directions_has_three_letters():
    across = np.array([-0.7, -0.5, 0.51])
    left, right, _, _ = edge_letters(across, np.array([0.0, 1.0, 0.0]))
    assert (left, right) == ("LIP", "RSA")


@pytest.mark.parametrize("degrees", [-20, 4, 20])
def test_a_usual_tilt_keeps_single_letters(degrees):
    assert letters(rotated(turned(degrees))) == ("R", "L", "A", "P")


def test_opposite_edges_have_opposite_letters_and_oblique_axes_more_than_one():
    generator = np.random.default_rng(0)
    opposite = str.maketrans("RLAPIS", "LRPASI")
    several = 0
    for _ in range(300):
        turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        for column in range(3):
            left, right, *_ = edge_letters(turn[:, column], turn[:, column - 1])
            assert left.translate(opposite) == right != ""
            off = np.degrees(np.arccos(np.abs(turn[:, column]).max()))
            several += off > MAX_PLANE_ANGLE
            assert len(right) > 1 or off <= MAX_PLANE_ANGLE
    assert several > 100


def test_directions_that_are_not_known_are_not_guessed():
    assert array_directions(replace(geometry("axial"), geometry_known=False)) is None


def test_projections_of_an_oblique_series_are_along_its_axes_with_their_letters():
    volume = np.zeros((5, 8, 6), np.float16)
    volume[3, 6, 1] = 4.0  # slice, row, column
    spot = (1.0, 6.0, 3.0)
    series = rotated(turned(42))
    assert series.plane == "oblique"
    found = project(volume, array_directions(series), (2.0, 1.0, 1.0), spot, [spot])
    assert [(picture.name, picture.marks) for picture in found] == [
        ("oblique axial", ("R", "L", "AI", "PS")),
        ("oblique coronal", ("R", "L", "SA", "IP")),
        ("sagittal", ("AI", "PS", "SA", "IP")),
    ]
    assert [picture.pixel_mm for picture in found] == [(1.0, 1.0), (2.0, 1.0), (2.0, 1.0)]
    for picture in found:
        y, x = np.unravel_index(picture.image.argmax(), picture.image.shape)
        assert picture.point == (x, y) and picture.spots == ((x, y),)
        assert picture.slab_mm is not None


def test_a_turned_array_is_projected_like_the_canonical_one():
    """Letters are computed from the array, so flipping both leaves every picture as it was."""
    volume = np.random.default_rng(0).random((5, 8, 6)).astype(np.float16)
    directions = array_directions(rotated(turned(42)))
    spacing = (2.0, 1.0, 1.0)
    pictures = project(volume, directions, spacing, (1.0, 6.0, 3.0))
    flipped = project(volume[::-1, :, ::-1], directions * (-1, 1, -1), spacing, (4.0, 6.0, 1.0))
    for one, other in zip(pictures, flipped, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert (one.name, one.marks, one.point) == (other.name, other.marks, other.point)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_bright_voxel_appears_at_the_marked_point_of_every_projection(plane):
    volume = np.zeros((5, 8, 6), np.float16)
    volume[3, 6, 1] = 4.0  # slice, row, column
    spot = (1.0, 6.0, 3.0)
    found = project(volume, canonical_directions(plane), (2.0, 1.0, 1.0), spot, [spot])
    assert [picture.name for picture in found] == ["axial", "coronal", "sagittal"]
    for picture in found:
        y, x = np.unravel_index(picture.image.argmax(), picture.image.shape)
        assert picture.point == (x, y)
        assert picture.spots == ((x, y),)
        assert picture.marks == tuple(SIDES[picture.name])


def test_the_coronal_projection_of_an_axial_series_has_superior_at_the_top():
    volume = np.zeros((5, 8, 6), np.float16)
    volume[4] = 1.0  # the most superior slice
    _, coronal, _ = project(volume, canonical_directions(), (2.0, 1.0, 1.0), None)
    assert coronal.image[0].min() == 1.0 and coronal.image[1:].max() == 0.0
    assert coronal.pixel_mm == (2.0, 1.0)


def test_only_the_slab_round_the_point_is_projected():
    volume = np.zeros((100, 4, 4), np.float16)
    volume[90] = 5.0
    far, near = (
        project(volume, canonical_directions(), (1.0, 1.0, 1.0), (1.0, 1.0, at))[0]
        for at in (90 - SLAB_MM / 2 - 1, 90 - SLAB_MM / 2)
    )
    assert far.image.max() == 0.0 and far.slab_mm == SLAB_MM
    assert near.image.max() == 5.0


def test_the_slab_of_a_series_of_few_slices_is_as_thick_as_they_are():
    volume = np.zeros((4, 100, 100), np.float16)
    found = project(volume, canonical_directions(), (5.0, 1.0, 1.0), (50.0, 50.0, 1.0))
    assert [picture.slab_mm for picture in found] == [20.0, SLAB_MM, SLAB_MM]


def test_without_known_spacing_the_whole_series_is_projected_and_no_side_named():
    volume = np.zeros((100, 4, 4), np.float16)
    volume[90] = 5.0
    found = project(volume, None, (1.0, 0.4, 0.4), (1.0, 1.0, 2.0))
    assert [picture.name for picture in found] == ["along slices", "along rows", "along columns"]
    assert all(picture.image.max() == 5.0 for picture in found)
    assert {(picture.marks, picture.slab_mm) for picture in found} == {(None, None)}


@pytest.mark.parametrize(
    ("mm", "through", "words"),
    [
        ((16.7, 4.6, -2.6), (1, 0, 0), "L 17 mm"),
        ((-16.7, 4.6, -2.6), (-1, 0, 0), "R 17 mm"),  # the direction's sign plays no part
        ((16.7, 4.6, -2.6), (0, 0, 1), "I 3 mm"),
        ((16.7, 4.6, -2.6), (0.3, 0.8, 0.5), "P 5 mm"),
    ],
)
def test_a_picture_says_where_it_lies_along_the_direction_of_view(mm, through, words):
    assert place_in_words(np.array(mm), np.array(through, dtype=float)) == words


def test_slabs_say_where_they_lie_and_whole_series_do_not():
    volume, spacing = np.zeros((8, 6, 6), dtype=np.float32), (2.0, 1.0, 1.0)
    at, mm = (2.0, 3.0, 4.0), np.array([10.0, -20.0, 30.0])
    found = project(volume, np.eye(3), spacing, at, point_mm=mm)
    assert {one.name: one.place for one in found} == {
        "axial": "S 30 mm",
        "coronal": "A 20 mm",
        "sagittal": "L 10 mm",
    }
    assert {one.place for one in project(volume, None, spacing, at, point_mm=mm)} == {""}
