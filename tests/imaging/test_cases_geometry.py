"""Order, geometry and choice of slices in the series that users really have.

Each test builds the files of one case and states the right outcome: which slices are in the volume,
which are not and why, and whether anything was lost.
"""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from intracranial.imaging.geometry import (
    Geometry,
    cache_to_patient,
    mirror_axis,
    patient_to_cache,
    stored_to_canonical,
    stored_to_patient,
)
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import ReadLimits, read_series
from tests.imaging.cases import HU, codes, edit, joined, left_out
from tests.imaging.make_series import (
    AXES,
    Stored,
    head,
    store,
    write_single_frames,
)

# Orientation and order: cases 2 to 7 and 9.


@pytest.mark.parametrize("plane", list(AXES))
def test_an_oblique_series_keeps_its_order_and_its_place(tmp_path, plane):
    turn = _turned((0.6, 0.0, 0.8), 20.0)
    stored = store(head(), plane, flip_rows=True, reverse=True)
    column, row = turn @ stored.iop[:3], turn @ stored.iop[3:]
    tilted = Stored(stored.images, (*column, *row), stored.positions @ turn.T, stored.spacing)
    write_single_frames(tmp_path / "s", tilted)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert (series.geometry.plane, series.status) == (plane, "read")
    k, y, x = 2, 3, 5
    stored_xyz = turn @ np.array(stored.positions[7 - k])
    stored_xyz = stored_xyz + x * 0.8 * column + (31 - y) * 0.5 * row
    np.testing.assert_allclose((series.geometry.affine @ [x, y, k, 1])[:3], stored_xyz, atol=1e-6)


def _turned(axis, degrees: float) -> np.ndarray:
    """Rotation matrix about a unit axis."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def test_rounded_orientations_are_one_stack(tmp_path):
    jitter = np.random.default_rng(0).normal(0, 1e-4, (8, 6))
    orientations = (np.array([1, 0, 0, 0, 1, 0]) + jitter).round(5).tolist()
    write_single_frames(
        tmp_path / "s", store(head()), per_slice={"ImageOrientationPatient": orientations}
    )
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert series.left_out == ()


def test_scouts_of_another_direction_and_size_are_named_and_no_loss(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    scouts = store(head(2, 32, 40, seed=5), "coronal")
    write_single_frames(tmp_path / "s" / "coronal", scouts, names=["a", "b"])
    write_single_frames(tmp_path / "s" / "large", store(head(1, 64, 64)), names=["c"])
    for number, name in enumerate(("coronal/a", "coronal/b", "large/c")):
        edit(tmp_path / "s" / name, SOPInstanceUID=f"1.2.3.77.{number}")
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert left_out(series) == {
        "mixed_orientation": ["coronal/a", "coronal/b"],
        "mixed_matrix": ["large/c"],
    }
    assert series.status == "read"


def test_of_two_sizes_in_equal_number_the_larger_one_is_kept(tmp_path):
    write_single_frames(tmp_path / "s", store(head(4, 16, 16)), names=list("abcd"))
    write_single_frames(tmp_path / "s", store(head(4)), names=list("efgh"))
    for number, name in enumerate("abcd"):
        edit(tmp_path / "s" / name, SOPInstanceUID=f"1.2.3.77.{number}")
    assert read_series(tmp_path / "s").pixels.shape == (4, 32, 40)


def test_the_size_of_an_icon_is_not_the_images(tmp_path):
    icon = Dataset()
    icon.Rows = icon.Columns = 8
    icon.BitsAllocated = icon.BitsStored = 8
    icon.HighBit, icon.PixelRepresentation, icon.SamplesPerPixel = 7, 0, 1
    icon.PhotometricInterpretation, icon.PixelData = "MONOCHROME2", bytes(64)
    icon["PixelData"].VR = "OB"
    write_single_frames(tmp_path / "s", store(head()), tags={"IconImageSequence": Sequence([icon])})
    for reader in ("scan", "pydicom"):
        series = read_series(tmp_path / "s", limits=ReadLimits(reader=reader))
        np.testing.assert_array_equal(series.pixels, head() + HU)


def test_slices_of_one_time_and_number_at_different_positions_are_all_kept(tmp_path):
    same = {"InstanceNumber": 1, "AcquisitionTime": "101500", "AcquisitionNumber": 1}
    write_single_frames(tmp_path / "s", store(head()), tags=same)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert series.left_out == ()


def test_missing_instance_numbers_do_no_harm_where_there_are_positions(tmp_path):
    names = [f"{9 - k}" for k in range(8)]
    write_single_frames(tmp_path / "s", store(head()), names=names, tags={"InstanceNumber": None})
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert series.notes == ("uid_differs_from_folder",)


# Several volumes at the same positions: case 8.


@pytest.mark.parametrize(
    ("keyword", "values", "named"),
    [
        ("TemporalPositionIdentifier", (1, 2), "temporal_position"),
        ("EchoNumbers", (1, 2), "echo"),
        ("EchoTime", (5.0, 20.0), "echo"),
        ("DiffusionBValue", (0.0, 1000.0), "b_value"),
        ("TriggerTime", (10.0, 60.0), "trigger_time"),
        ("ImageType", (["ORIGINAL", "A"], ["ORIGINAL", "B"]), "image_type"),
        ("AcquisitionNumber", (1, 2), "acquisition"),
        ("", None, "instance_number"),
    ],
)
def test_one_volume_of_several_is_kept_whole_and_never_mixed(tmp_path, keyword, values, named):
    both = joined(store(head(seed=1)), store(head(seed=2)))
    tags = {} if values is None else {keyword: [values[0]] * 8 + [values[1]] * 8}
    write_single_frames(tmp_path / "s", both, per_slice=tags)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head(seed=1) + HU)
    assert f"volumes_dropped:8 slices:by {named}" in series.notes
    assert len(left_out(series)["volumes_dropped"]) == 8
    assert series.status == "read"


def test_volumes_that_were_stored_slice_by_slice_are_told_apart_by_their_numbers(tmp_path):
    first, second = store(head(seed=1)), store(head(seed=2))
    mixed = joined(first, second)
    order = [k // 2 + 8 * (k % 2) for k in range(16)]  # slice 0 of both, slice 1 of both, ...
    write_single_frames(
        tmp_path / "s",
        Stored(mixed.images[order], mixed.iop, mixed.positions[order], mixed.spacing),
    )
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head(seed=1) + HU)


def test_a_slice_is_lost_where_the_kept_volume_has_none(tmp_path):
    """Two acquisitions that overlap by one slice: a mixture of them is not one volume."""
    whole = store(head(10))
    order = [*range(9), 8, 9]
    pieces = Stored(whole.images[order], whole.iop, whole.positions[order], whole.spacing)
    uids = write_single_frames(
        tmp_path / "s", pieces, per_slice={"AcquisitionNumber": [1] * 9 + [2] * 2}
    )
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head(10)[:9] + HU)
    assert left_out(series) == {
        "volumes_dropped": [f"{uids[9]}.dcm"],
        "volume_incomplete": [f"{uids[10]}.dcm"],
    }
    assert series.status == "partial"


# The same object or the same place twice: cases 10 and 11.


def test_an_exact_copy_is_no_loss_and_another_image_of_its_name_is(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head()))
    source = tmp_path / "s" / f"{uids[3]}.dcm"
    (tmp_path / "s" / "copy.dcm").write_bytes(source.read_bytes())
    series = read_series(tmp_path / "s")
    assert (left_out(series), series.status) == ({"duplicate_sop": ["copy.dcm"]}, "read")
    changed = pydicom.dcmread(source)
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(tmp_path / "s" / "other.dcm")
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert left_out(series) == {
        "duplicate_sop": ["copy.dcm"],
        "duplicate_sop_conflict": ["other.dcm"],
    }
    assert series.status == "partial"


def test_one_sop_instance_uid_for_all_slices_costs_none_of_them(tmp_path):
    """Some anonymisers write the same SOPInstanceUID into every file."""
    uids = write_single_frames(tmp_path / "s", store(head()))
    for uid in uids:
        edit(tmp_path / "s" / f"{uid}.dcm", SOPInstanceUID="1.2.3.4")
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert "sop_uid_repeated:7" in series.notes
    assert series.status == "read"


@pytest.mark.parametrize(("change", "code"), [(0, "duplicate_slice"), (1, "duplicate_position")])
def test_a_second_slice_at_a_position_is_lost_unless_it_is_a_copy(tmp_path, change, code):
    stored = store(head())
    again = Stored(stored.images[2:3] + change, stored.iop, stored.positions[2:3], stored.spacing)
    uids = write_single_frames(tmp_path / "s", joined(stored, again))
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert left_out(series) == {code: [f"{uids[8]}.dcm"]}
    assert series.status == ("partial" if change else "read")


def test_positions_that_are_nearly_all_the_same_do_not_thin_the_series(tmp_path):
    places = [[0, 0, 5]] * 7 + [[0, 0, 6]]
    write_single_frames(tmp_path / "s", store(head()), per_slice={"ImagePositionPatient": places})
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert {"single_position", "geometry_unknown"} <= codes(series)
    assert series.status == "read"


# Slices without a position: case 12.


@pytest.mark.parametrize("reverse", [False, True])
def test_slices_without_position_are_placed_on_the_line_of_the_others(tmp_path, reverse):
    stored = store(head(), reverse=reverse)
    places = [list(map(float, place)) for place in stored.positions]
    for k in (0, 4):
        places[k] = None
    write_single_frames(tmp_path / "s", stored, per_slice={"ImagePositionPatient": places})
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    np.testing.assert_allclose(series.positions, store(head()).positions, atol=1e-9)
    assert "position_fitted:2" in series.notes
    assert sum("position_fitted" in notes for notes in series.slice_notes) == 2
    assert (series.status, series.geometry.geometry_known) == ("read", True)


@pytest.mark.parametrize(
    "numbers",
    [[1, 2, 3, 4, 5, 6, 7, 7], [1, 3, 2, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, None]],
    ids=["repeated", "out of order", "missing"],
)
def test_a_slice_without_position_is_left_out_where_numbers_do_not_tell_its_place(
    tmp_path, numbers
):
    stored = store(head())
    places = [*([*map(float, place)] for place in stored.positions[:7]), None]
    uids = write_single_frames(
        tmp_path / "s",
        stored,
        per_slice={"ImagePositionPatient": places, "InstanceNumber": numbers},
    )
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head()[:7] + HU)
    assert left_out(series) == {"position_missing": [f"{uids[7]}.dcm"]}
    assert series.status == "partial"


# Spacing and tilt: cases 15 to 18.


def test_irregular_and_jumping_spacing_are_noted_with_their_sizes(tmp_path):
    stored = store(head())
    stored.positions[4:, 2] += 10.0
    stored.positions[1, 2] += 0.5
    write_single_frames(tmp_path / "s", stored)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert "irregular_spacing:1.50-12.00 mm" in series.notes
    assert "gaps:1:largest 12.00 mm" in series.notes
    assert series.geometry.spacing[0] == pytest.approx(2.0)
    np.testing.assert_allclose(np.diff(series.positions[:, 2])[3], 12.0)


def test_rounded_positions_are_not_irregular(tmp_path):
    stored = store(head(), spacing=(0.625, 0.5, 0.8))
    stored.positions = stored.positions.round(1)
    write_single_frames(tmp_path / "s", stored)
    assert "gaps" not in codes(read_series(tmp_path / "s"))


def test_a_gantry_tilt_is_recorded_as_the_step_between_slices(tmp_path):
    stored = store(head())
    stored.positions = stored.positions + np.arange(8)[:, None] * np.array([0, 0.5, 0])
    write_single_frames(tmp_path / "s", stored)
    geometry = read_series(tmp_path / "s").geometry
    np.testing.assert_allclose(geometry.slice_step, (0, 0.5, 2.0), atol=1e-12)
    np.testing.assert_allclose(geometry.affine[:3, 2], (0, 0.5, 2.0), atol=1e-12)
    assert geometry.spacing[0] == pytest.approx(2.0)


def test_a_stretched_cache_maps_back_to_millimetres(tmp_path):
    """Pixels of 0.5 x 0.8 mm and a matrix of 32 x 40 become a square."""
    write_single_frames(tmp_path / "s", store(head()))
    series = read_series(tmp_path / "s")
    points = np.array([[0.0, 0.0, 0.0], [63.0, 63.0, 7.0]])
    mm = cache_to_patient(series.geometry, points, series.positions, 64)
    extent = mm[1] - mm[0]
    np.testing.assert_allclose(extent, (63 * 40 / 64 * 0.8, 63 * 32 / 64 * 0.5, 14.0))
    back = patient_to_cache(series.geometry, mm, series.positions, 64)
    np.testing.assert_allclose(back, points, atol=1e-9)


# Frames of reference: case 19.


def test_of_several_frames_of_reference_the_largest_is_kept(tmp_path):
    both = joined(store(head(seed=1)), store(head(5, seed=2), origin=(0, 0, 500)))
    frames = ["1.2.8"] * 8 + ["1.2.9"] * 5
    write_single_frames(tmp_path / "s", both, per_slice={"FrameOfReferenceUID": frames})
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head(seed=1) + HU)
    assert "mixed_frame_of_reference:5" in series.notes
    assert series.status == "read"


def test_slices_without_a_frame_of_reference_belong_to_the_others(tmp_path):
    frames = ["1.2.8"] * 6 + [None] * 2
    write_single_frames(tmp_path / "s", store(head()), per_slice={"FrameOfReferenceUID": frames})
    series = read_series(tmp_path / "s")
    assert (len(series.pixels), series.left_out) == (8, ())


def test_a_frame_of_reference_of_its_own_for_every_slice_says_nothing(tmp_path):
    frames = [f"1.2.8.{k}" for k in range(8)]
    write_single_frames(tmp_path / "s", store(head()), per_slice={"FrameOfReferenceUID": frames})
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert "frame_of_reference_ignored:8" in series.notes


# One and two slices: case 20.


@pytest.mark.parametrize(("count", "code"), [(1, "single_slice"), (2, "two_slices")])
def test_very_short_series_are_read_and_say_so(tmp_path, count, code):
    write_single_frames(tmp_path / "s", store(head(count)), tags={"SliceThickness": 3})
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head(count) + HU)
    assert code in series.notes
    assert series.geometry.geometry_known
    assert series.geometry.spacing[0] == pytest.approx(3.0 if count == 1 else 2.0)


def test_a_negative_spacing_between_slices_is_a_distance(tmp_path):
    tags = {"SpacingBetweenSlices": -3, "SliceThickness": 5}
    write_single_frames(tmp_path / "s", store(head(1)), tags=tags)
    assert read_series(tmp_path / "s").geometry.spacing[0] == pytest.approx(3.0)


# Multi-frame objects: cases 21 to 28.


@pytest.mark.parametrize(
    ("plane", "left"), [("axial", "columns+"), ("coronal", "columns+"), ("sagittal", "slices+")]
)
def test_the_table_says_which_axis_runs_to_the_patients_left(tmp_path, plane, left):
    stored = store(head(), plane, transpose=True, flip_cols=True, reverse=True)
    write_single_frames(tmp_path / "s", stored)
    geometry = read_series(tmp_path / "s").geometry
    assert geometry.to_row()["left"] == left
    assert left[:-1] == mirror_axis(geometry.plane)
    axis = ("columns", "rows", "slices").index(left[:-1])
    assert geometry.affine[0, axis] > 0  # LPS: x grows to the left


@pytest.mark.parametrize(
    ("plane", "how", "left"),
    [
        ("axial", {"flip_cols": True}, "columns-"),
        ("coronal", {"transpose": True}, "rows+"),
        ("sagittal", {}, "slices-"),
    ],
)
def test_stored_arrays_say_it_too(tmp_path, plane, how, left):
    write_single_frames(tmp_path / "s", store(head(), plane, **how))
    assert read_series(tmp_path / "s", replace(STANDARD, orient="stored")).geometry.left == left


@pytest.mark.parametrize(
    "absent", [{"ImagePositionPatient": None}, {"ImageOrientationPatient": None}]
)
def test_a_series_without_geometry_says_so_and_has_no_left(tmp_path, absent):
    write_single_frames(tmp_path / "s", store(head()), tags=absent)
    series = read_series(tmp_path / "s")
    assert "geometry_unknown" in series.notes
    assert series.geometry.left == ""
    assert mirror_axis(series.geometry.plane) is None
    assert (series.geometry.geometry_known, series.status) == (False, "read")


def test_an_image_between_two_planes_has_no_left():
    """At 45 degrees neither columns nor slices run to the left."""
    half = float(np.sqrt(0.5))
    geometry = Geometry(
        "oblique",
        (32, 32),
        (1.0, 1.0, 1.0),
        (half, half, 0.0, 0.0, 0.0, -1.0),
        (0.0, 0.0, 0.0),
        (half, -half, 0.0),
    )
    assert geometry.left == ""


def test_names_and_order_of_the_files_change_nothing(tmp_path):
    """Two phases, scouts, a conflict of positions and a missing position, under other names."""
    stored = joined(store(head(seed=1)), store(head(8, seed=2)))
    places = [[*map(float, place)] for place in stored.positions]
    tags = {"AcquisitionNumber": [1] * 8 + [2] * 8, "ImagePositionPatient": places}
    write_single_frames(tmp_path / "a", stored, per_slice=tags)
    write_single_frames(tmp_path / "a" / "x", store(head(2, 32, 40), "coronal"), names=["p", "q"])
    for number, name in enumerate("pq"):
        edit(tmp_path / "a" / "x" / name, SOPInstanceUID=f"1.2.3.77.{number}")
    files = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
    rng = np.random.default_rng(3)
    for place, path in zip(rng.permutation(len(files)), files, strict=True):
        other = tmp_path / "b" / f"d{place % 3}" / f"{place}.ima"
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(path.read_bytes())
    one, two = read_series(tmp_path / "a"), read_series(tmp_path / "b")
    np.testing.assert_array_equal(one.pixels, two.pixels)
    np.testing.assert_array_equal(one.positions, two.positions)
    assert (one.sop_uids, one.notes, one.geometry) == (two.sop_uids, two.notes, two.geometry)


def test_names_do_not_choose_between_two_images_of_one_place(tmp_path):
    stored = store(head())
    again = Stored(stored.images[:1] + 1, stored.iop, stored.positions[:1], stored.spacing)
    for folder, names in (("a", "abcdefghi"), ("b", "ihgfedcba")):
        write_single_frames(
            tmp_path / folder,
            joined(stored, again),
            names=list(names),
            tags={"InstanceNumber": None},
        )
    one, two = read_series(tmp_path / "a"), read_series(tmp_path / "b")
    np.testing.assert_array_equal(one.pixels, two.pixels)


def test_where_an_axis_was_exchanged_points_follow(tmp_path):
    stored = store(head(), "coronal", transpose=True)
    write_single_frames(tmp_path / "s", stored)
    series = read_series(tmp_path / "s")
    point = np.array([[3.0, 11.0]])
    canonical = stored_to_canonical(series.geometry, point)
    voxel = [*canonical[0], 4, 1]
    mm = stored_to_patient(series.geometry, np.array([[3.0, 11.0, 4.0]]), series.positions)
    np.testing.assert_allclose((series.geometry.affine @ voxel)[:3], mm[0], atol=1e-9)
