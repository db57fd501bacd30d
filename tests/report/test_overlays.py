"""Figures of images: sides, points and what is zoomed."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

from intracranial.report.overlays import grey_window, projection_panels, show_slice, slice_panels
from intracranial.report.projections import project
from intracranial.splits.findings import Finding
from tests.evaluation.samples import a_case, canonical_directions


def words(axes):
    return [text.get_text() for text in axes.texts]


def panels(case):
    """Axes of the case's first slice."""
    return slice_panels(case, case.slices[0]).axes


def test_the_right_of_the_patient_is_on_the_left_of_the_picture():
    axes = panels(a_case())[0]
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places["R"][0] < 0.5 < places["L"][0]
    assert places["P"][1] < 0.5 < places["A"][1]


def test_every_picture_of_a_slice_says_where_left_and_right_are():
    shown = panels(a_case(heat=np.ones((6, 6))))
    assert len(shown) == 3
    assert all({"R", "L"} <= set(words(axes)) for axes in shown)


def test_sides_that_are_not_known_are_not_marked_and_every_picture_says_so():
    for axes in panels(a_case(directions=None, heat=np.ones((6, 6)))):
        assert "sides not known" in words(axes)
        assert not {"R", "L", "A", "P"} & set(words(axes))


def test_the_zoom_is_round_the_predicted_point_and_inside_the_image():
    case = a_case(image=np.zeros((512, 512), np.float32), point=(510.0, 100.0), findings=())
    zoom = panels(case)[1]
    assert zoom.get_title() == "zoom"
    # 50 mm at 4 mm a pixel are 12.5 pixels; moved inside, the right edge is the image's.
    assert zoom.get_xlim() == (499.0, 511.5)
    assert zoom.get_ylim() == (106.25, 93.75)


def test_without_a_prediction_the_zoom_is_round_the_labelled_centre_of_the_slice():
    case = a_case(image=np.zeros((512, 512), np.float32), point=None)
    low, high = panels(case)[1].get_xlim()
    assert (low + high) / 2 == 20.0


def test_without_any_point_on_the_slice_there_is_no_zoom():
    case = a_case(point=None, findings=(Finding("1.2.3.4", 7, 20.0, 24.0, "Basilar Tip"),))
    assert [axes.get_title() for axes in panels(case)] == ["slice 4"]


def test_a_labelled_centre_on_another_slice_is_drawn_dotted():
    places = ((4, 20.0, 24.0), (7, 30.0, 30.0))
    findings = tuple(Finding("1.2.3.4", *place, "Basilar Tip") for place in places)
    rings = [p for p in panels(a_case(findings=findings))[0].patches if hasattr(p, "angle")]
    here, elsewhere = [ring for ring in rings if ring.get_edgecolor()[:3] != (1.0, 1.0, 1.0)][:2]
    assert here.get_linestyle() == "-"
    assert elsewhere.get_linestyle() != "-"
    assert here.center == (20.0, 24.0)


def test_a_heat_map_of_any_resolution_covers_the_whole_image():
    heat = np.zeros((6, 6), np.float32)
    heat[3, 2] = 0.4
    axes = panels(a_case(heat=heat))[1]
    assert tuple(axes.images[1].get_extent()) == (-0.5, 47.5, 47.5, -0.5)
    assert tuple(axes.images[0].get_extent()) == (-0.5, 47.5, 47.5, -0.5)


def test_an_empty_heat_map_and_a_blank_slice_are_drawn():
    case = a_case(heat=np.zeros((6, 6), np.float32), image=np.zeros((48, 48), np.float32))
    assert len(panels(case)) == 3


def test_uneven_pixels_are_shown_in_true_proportion():
    axes = panels(a_case(pixel_spacing=(2.0, 1.0)))[0]
    assert axes.get_aspect() == 2.0


def test_a_scale_bar_is_drawn_only_where_the_spacing_is_known():
    assert "50 mm" in words(panels(a_case())[0])
    assert "50 mm" not in words(panels(a_case(pixel_spacing=None))[0])


def test_a_small_bright_vessel_does_not_darken_the_rest_of_the_slice():
    image = np.full((100, 100), 1.0, np.float32)
    image[:2, :2] = 5.0
    assert grey_window(image) == (0.0, 1.0)
    assert grey_window(np.zeros((10, 10), np.float32)) == (0.0, 0.5)


def test_without_a_point_the_zoom_is_round_the_maximum_of_the_heat_map():
    heat = np.zeros((6, 6), np.float32)
    heat[3, 2] = 0.4
    _, heated, zoom = panels(a_case(point=None, findings=(), heat=heat))
    low, high = zoom.get_xlim()
    assert (low + high) / 2 == (2 + 0.5) * 8 - 0.5
    assert heated.get_title() == "heat map, maximum 0.40"


def test_projections_mark_the_prediction_the_labels_and_the_sides():
    volume = np.zeros((9, 48, 48), np.float16)
    spots = [(20.0, 24.0, 4.0)]
    projected = project(volume, canonical_directions(), (5.0, 4.0, 4.0), (22.0, 25.0, 4.0), spots)
    shown = projection_panels(a_case(projections=projected)).axes
    assert [axes.get_title() for axes in shown] == [
        f"MIP, {name}, 30 mm" for name in ("axial", "coronal", "sagittal")
    ]
    for axes, (across, where) in zip(
        shown, (("RL", (20, 24)), ("RL", (20, 4)), ("AP", (24, 4))), strict=True
    ):
        assert set(across) <= set(words(axes))
        (ring,) = axes.patches
        x, y = where
        assert ring.center == (x, y if axes is shown[0] else 8 - y)
        assert len(axes.lines) == 4 + 1  # the cross and the scale bar


def test_the_scale_bar_is_the_longest_that_leaves_the_letter_in_the_middle_free():
    def length(pixels, mm):
        image = np.zeros((pixels, pixels), np.float32)
        axes = panels(a_case(image=image, pixel_spacing=(mm, mm), point=None, findings=()))[0]
        (bar,) = (line for line in axes.lines if line.get_linewidth() == 2.5)
        (said,) = (word for word in words(axes) if word.endswith(" mm"))
        left, right = bar.get_xdata()
        assert said == f"{(right - left) * pixels * mm:.0f} mm" and right < 0.45
        return said

    assert [length(100, 2.0), length(100, 1.0), length(64, 0.5)] == ["50 mm", "20 mm", "10 mm"]


def inches(axes, artist):
    """Left, bottom, right and top of what is drawn."""
    box = artist.get_window_extent()
    return np.array([box.x0, box.y0, box.x1, box.y1]) / axes.figure.dpi


def overlap(one, other):
    return bool(np.all(one[:2] < other[2:]) and np.all(other[:2] < one[2:]))


@pytest.mark.parametrize("slices", [1, 3, 40])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_no_letter_of_a_projection_lies_over_another_or_over_a_title(plane, slices):
    """The widest letters there are, in the thinnest pictures."""
    volume = np.zeros((slices, 48, 48), np.float16)
    spacing, point = (2.0, 4.0, 4.0), (22.0, 25.0, 0.0)
    projected = project(volume, canonical_directions(plane), spacing, point)
    projected = tuple(
        replace(one, name=f"oblique {one.name}", marks=("RAI", "LPS", "AIR", "PSL"))
        for one in projected
    )
    figure = projection_panels(a_case(plane=plane, projections=projected))
    figure.draw_without_rendering()
    words = [
        inches(axes, text)
        for axes in figure.axes
        for text in (*axes.texts, axes.title)
        if text.get_text()
    ]
    assert len(words) == 3 * (4 + 1 + 1)  # letters, scale, title
    assert not [pair for pair in combinations(words, 2) if overlap(*pair)]


def test_points_are_drawn_over_the_letters():
    axes = panels(a_case())[0]
    letters = [text.zorder for text in axes.texts if text.get_text() in "RLAP"]
    assert len(letters) == 4
    assert max(letters) < min(mark.zorder for mark in (*axes.lines, *axes.patches))


def test_a_thin_picture_stands_in_the_middle_of_a_black_frame():
    figure = Figure()
    axes = figure.subplots()
    show_slice(axes, np.zeros((2, 100), np.float32), (1.0, 1.0))
    assert axes.get_xlim() == (-0.5, 99.5)
    assert axes.get_ylim() == (1.5 + 21.5, -0.5 - 21.5)
    assert axes.get_facecolor() == (0.0, 0.0, 0.0, 1.0)
