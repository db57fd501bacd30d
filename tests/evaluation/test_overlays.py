"""Figures of images: sides, points and what is zoomed."""

import numpy as np
import pytest

from src.evaluation.cases import TrueSpot
from src.evaluation.overlays import grey_window, side_marks, slice_panels
from src.imaging.geometry import CANONICAL_AXES
from tests.evaluation.samples import a_case

LETTERS = {(0, 1): "L", (0, -1): "R", (1, 1): "P", (1, -1): "A", (2, 1): "S", (2, -1): "I"}


def words(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_side_marks_follow_the_canonical_orientation(plane):
    columns, rows, _ = CANONICAL_AXES[plane]
    opposite = [(axis, -sign) for axis, sign in (columns, rows)]
    assert side_marks(plane, True) == (
        LETTERS[opposite[0]],
        LETTERS[columns],
        LETTERS[opposite[1]],
        LETTERS[rows],
    )


def test_the_right_of_the_patient_is_on_the_left_of_the_picture():
    axes = slice_panels(a_case()).axes[0]
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places["R"][0] < 0.5 < places["L"][0]
    assert places["P"][1] < 0.5 < places["A"][1]


@pytest.mark.parametrize(("plane", "known"), [("axial", False), ("oblique", True)])
def test_sides_that_are_not_known_are_not_marked_and_the_picture_says_so(plane, known):
    axes = slice_panels(a_case(plane=plane, geometry_known=known)).axes[0]
    assert "sides not known" in words(axes)
    assert not {"R", "L", "A", "P"} & set(words(axes))


def test_the_zoom_is_round_the_predicted_point_and_inside_the_image():
    case = a_case(image=np.zeros((512, 512), np.float32), point=(510.0, 100.0), spots=())
    zoom = slice_panels(case).axes[1]
    assert zoom.get_title() == "zoom"
    # 50 mm at 4 mm a pixel are 12.5 pixels; moved inside, the right edge is the image's.
    assert zoom.get_xlim() == (499.0, 511.5)
    assert zoom.get_ylim() == (106.25, 93.75)


def test_without_a_prediction_the_zoom_is_round_the_labelled_centre_of_the_slice():
    case = a_case(image=np.zeros((512, 512), np.float32), point=None)
    low, high = slice_panels(case).axes[1].get_xlim()
    assert (low + high) / 2 == 20.0


def test_without_any_point_on_the_slice_there_is_no_zoom():
    case = a_case(point=None, spots=(TrueSpot(7, 20.0, 24.0, "Basilar Tip"),))
    assert [axes.get_title() for axes in slice_panels(case).axes] == ["slice 4"]


def test_a_labelled_centre_on_another_slice_is_drawn_dotted():
    spots = (TrueSpot(4, 20.0, 24.0, "Basilar Tip"), TrueSpot(7, 30.0, 30.0, "Basilar Tip"))
    rings = [p for p in slice_panels(a_case(spots=spots)).axes[0].patches if hasattr(p, "angle")]
    here, elsewhere = [ring for ring in rings if ring.get_edgecolor()[:3] != (1.0, 1.0, 1.0)][:2]
    assert here.get_linestyle() == "-"
    assert elsewhere.get_linestyle() != "-"
    assert here.center == (20.0, 24.0)


def test_a_heat_map_of_any_resolution_covers_the_whole_image():
    heat = np.zeros((6, 6), np.float32)
    heat[3, 2] = 0.4
    axes = slice_panels(a_case(heat=heat)).axes[2]
    assert tuple(axes.images[1].get_extent()) == (-0.5, 47.5, 47.5, -0.5)
    assert tuple(axes.images[0].get_extent()) == (-0.5, 47.5, 47.5, -0.5)


def test_an_empty_heat_map_and_a_blank_slice_are_drawn():
    case = a_case(heat=np.zeros((6, 6), np.float32), image=np.zeros((48, 48), np.float32))
    assert len(slice_panels(case).axes) == 3


def test_uneven_pixels_are_shown_in_true_proportion():
    axes = slice_panels(a_case(pixel_spacing=(2.0, 1.0))).axes[0]
    assert axes.get_aspect() == 2.0


def test_a_scale_bar_is_drawn_only_where_the_spacing_is_known():
    assert "50 mm" in words(slice_panels(a_case()).axes[0])
    assert "50 mm" not in words(slice_panels(a_case(pixel_spacing=None)).axes[0])


def test_a_small_bright_vessel_does_not_darken_the_rest_of_the_slice():
    image = np.full((100, 100), 1.0, np.float32)
    image[:2, :2] = 5.0
    assert grey_window(image) == (0.0, 1.0)
    assert grey_window(np.zeros((10, 10), np.float32)) == (0.0, 0.5)
