"""Of the scans under one SeriesInstanceUID one is kept, whole; pieces of one scan stay together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import ReadLimits, Series, read_series
from tests.imaging.make_series import Stored, head, store, write_multi_frame, write_single_frames

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
N = 16


def write(
    folder: Path,
    volume: int,
    places: Any,
    shift: Callable[[float], float] = lambda z: 0.0,
    first: int | None = 1,
    **tags: Any,
) -> None:
    """Slices of a volume at places along z, in mm; a tag may be a function of the slice's number.

    The SOPInstanceUID ends in `.volume.number`, after a number whose order says nothing.
    """
    places = [float(z) for z in places]
    images = head(len(places), 12, 12, seed=volume)
    positions = np.array([(shift(z), -3.0, z) for z in places])
    each = {
        name: [value(k) if callable(value) else value for k in range(len(places))]
        for name, value in tags.items()
    }
    each.setdefault("SliceThickness", [1.0] * len(places))
    each["InstanceNumber"] = [None if first is None else first + k for k in range(len(places))]
    sops = [
        f"1.2.{(k * 7919 + volume * 501 + 11) * 26544 % 9973}.{volume}.{k}"
        for k in range(len(places))
    ]
    names = [f"{sop}.dcm" for sop in sops]
    stored = Stored(images, AXIAL, positions, (0.5, 0.5))
    if first is None:
        names = [f"{volume}-{k}.dcm" for k in range(len(places))]
    how: dict[str, Any] = {"names": names, "sops": sops, "per_slice": each}
    write_single_frames(folder, stored, "MR", intercept=0, **how)


def read(folder: Path, **how: Any) -> Series:
    """The series, of which both readers make the same."""
    pixels = replace(STANDARD, **how)
    one, other = (read_series(folder, pixels, ReadLimits(reader=r)) for r in ("scan", "pydicom"))
    assert one.pixels.tobytes() == other.pixels.tobytes()
    assert (one.notes, one.slice_notes, one.left_out) == (
        other.notes,
        other.slice_notes,
        other.left_out,
    )
    return one


def kept(series: Series) -> list[tuple[int, int]]:
    """Volume and slice number of what was kept, in order."""
    parts = [uid.split(".") for uid in series.sop_uids]
    return [(int(part[-2]), int(part[-1])) for part in parts]


def whole(number: int, n: int = N) -> list[tuple[int, int]]:
    return [(number, k) for k in range(n)]


def left(series: Series) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in series.left_out:
        counts[entry.code] = counts.get(entry.code, 0) + 1
    return counts


# Scans at one place are separated: nothing of another one is kept.

LIKE_TAGS = {
    "temporal_position": ("TemporalPositionIdentifier", 1, 2),
    "echo": ("EchoTime", 14.0, 15.0),
    "b_value": ("DiffusionBValue", 0.0, 1000.0),
    "component": ("ImageType", ["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]),
    "image_type": ("ImageType", ["ORIGINAL", "PRIMARY", "A"], ["DERIVED", "PRIMARY", "A"]),
    "acquisition": ("AcquisitionNumber", 1, 2),
    "acquisition_time": ("AcquisitionTime", "101500.5", "101720"),
    "contrast_agent": ("ContrastBolusAgent", None, "Gd"),
    "kernel": ("ConvolutionKernel", "H30s", "H60s"),
    "inversion_time": ("InversionTime", 900, 2500),
    "tube_voltage": ("KVP", 80, 140),
    "series_number": ("SeriesNumber", 4, 5),
    "patient": ("PatientID", "A", "B"),
}


@pytest.mark.parametrize("name", LIKE_TAGS)
@pytest.mark.parametrize("apart", [0.0, 0.03, 0.5], ids=["same", "jitter", "half"])
def test_two_scans_are_never_mixed(tmp_path, name, apart):
    """At the same positions, at hundredths of a millimetre apart, and half a step apart."""
    keyword, one, other = LIKE_TAGS[name]
    write(tmp_path, 0, range(N), **{keyword: one})
    write(tmp_path, 1, np.arange(N) + apart, first=1 + N, **{keyword: other})
    series = read(tmp_path)
    assert kept(series) == whole(0)
    assert f"volumes_dropped:{N} slices:by {name}" in series.notes
    assert series.status == "read"


@pytest.mark.parametrize("apart", [0.0, 0.03, 0.5], ids=["same", "jitter", "half"])
def test_numbers_that_restart_or_go_on_separate_what_nothing_else_does(tmp_path, apart):
    for number, first in enumerate((1, 1 if apart else 1 + N)):
        write(tmp_path, number, np.arange(N) + number * apart, first=first)
    series = read(tmp_path)
    assert kept(series) == whole(0)
    assert f"volumes_dropped:{N} slices:by instance_number" in series.notes


def test_names_in_order_separate_copies_of_which_nothing_else_tells(tmp_path):
    for number in range(2):
        write(tmp_path, number, range(N), first=None)
    series = read(tmp_path)
    assert kept(series) in (whole(0), whole(1))
    assert f"volumes_dropped:{N} slices:by file_name" in series.notes


def test_every_echo_of_every_time_point_is_a_scan(tmp_path):
    for number in range(6):
        time, echo = divmod(number, 2)
        tags = {"TemporalPositionIdentifier": time + 1, "EchoTime": 10.0 + 20 * echo}
        write(tmp_path, number, range(N), first=1 + N * number, **tags)
    series = read(tmp_path)
    assert kept(series) == whole(0)
    assert left(series) == {"volumes_dropped": 5 * N}
    assert f"volumes_dropped:{4 * N} slices:by temporal_position" in series.notes
    assert f"volumes_dropped:{N} slices:by echo" in series.notes


def test_contrasts_at_part_of_the_positions_are_not_put_together(tmp_path):
    for number, (echo, places) in enumerate(((108.0, range(12)), (15.0, range(4, 16)))):
        write(tmp_path, number, places, first=1 + N * number, EchoTime=echo)
    series = read(tmp_path)
    assert kept(series) == whole(1, 12)  # of equals, the shorter echo
    assert left(series) == {"volumes_dropped": 8, "volume_incomplete": 4}
    assert series.status == "partial"


def test_two_contrasts_that_follow_each_other_are_not_one_picture(tmp_path):
    write(tmp_path, 0, range(10), EchoTime=30.0)
    write(tmp_path, 1, range(10, 16), first=11, EchoTime=90.0)
    series = read(tmp_path)
    assert kept(series) == whole(0, 10)
    assert left(series) == {"volume_incomplete": 6}
    assert series.status == "partial"


def test_a_time_point_that_lacks_a_slice_gives_way_to_one_that_has_it(tmp_path):
    write(tmp_path, 0, [z for z in range(N) if z != 5], TemporalPositionIdentifier=1)
    write(tmp_path, 1, range(N), first=1 + N, TemporalPositionIdentifier=2)
    series = read(tmp_path)
    assert kept(series) == whole(1)
    assert series.status == "read"


def test_localizers_between_the_slices_are_left_out(tmp_path):
    write(tmp_path, 0, range(N))
    write(tmp_path, 1, [2.4, 7.4, 12.4], first=101, SliceThickness=8.0, AcquisitionNumber=9)
    series = read(tmp_path)
    assert kept(series) == whole(0)
    assert left(series) == {"volumes_dropped": 3}


def test_thin_and_thick_slices_of_one_head_are_two_scans(tmp_path):
    write(tmp_path, 0, range(N))
    write(tmp_path, 1, range(0, N, 5), first=101, SliceThickness=5.0)
    assert kept(read(tmp_path)) == whole(0)


def test_another_field_of_view_is_another_scan(tmp_path):
    write(tmp_path, 0, range(10))
    write(tmp_path, 1, range(10, N), first=11, PixelSpacing=[0.9, 0.9])
    series = read(tmp_path)
    assert kept(series) == whole(0, 10)
    assert "volume_incomplete:6 slices:by pixel_spacing" in series.notes
    assert not any(note.startswith("gantry_tilt") for note in series.notes)


def test_several_files_of_several_frames_are_scans_of_their_own(tmp_path):
    for number in range(3):
        write_multi_frame(tmp_path / f"{number}", store(head(seed=number)))
        dataset = pydicom.dcmread(tmp_path / f"{number}")
        dataset.SOPInstanceUID, dataset.InstanceNumber = f"1.2.3.{number}.0", 3 - number
        dataset.save_as(tmp_path / f"{number}")
    series = read(tmp_path)
    np.testing.assert_array_equal(series.pixels, head(seed=2))
    assert "volumes_dropped:16 slices:by object" in series.notes


# The choice among equals.


def test_the_original_is_preferred_and_never_the_first_of_the_alphabet(tmp_path):
    write(tmp_path, 0, range(N), ImageType=["DERIVED", "PRIMARY", "AAA"])
    write(tmp_path, 1, range(N), first=1 + N, ImageType=["ORIGINAL", "PRIMARY", "ZZZ"])
    assert kept(read(tmp_path)) == whole(1)


def test_the_original_is_preferred_though_more_was_derived_from_it(tmp_path):
    write(tmp_path, 0, np.arange(2 * N - 1) / 2, ImageType=["DERIVED", "PRIMARY"])
    write(tmp_path, 1, range(N), first=101, ImageType=["ORIGINAL", "PRIMARY"])
    assert kept(read(tmp_path)) == whole(1)


@pytest.mark.parametrize(
    "other",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "R_FFE", "R", "FFE"]},
        {"ComplexImageComponent": "IMAGINARY"},
    ],
    ids=["siemens", "philips", "philips real", "standard"],
)
def test_the_magnitude_is_preferred(tmp_path, other):
    write(tmp_path, 0, range(N), **other)
    write(tmp_path, 1, range(N), first=1 + N, ImageType=["ORIGINAL", "PRIMARY", "M", "ND"])
    series = read(tmp_path)
    assert kept(series) == whole(1)
    assert f"volumes_dropped:{N} slices:by component" in series.notes


def test_the_magnitude_is_preferred_by_the_number_of_ge(tmp_path):
    for number, component in enumerate((1, 0)):
        write(tmp_path, number, range(N), first=1 + N * number)
        for path in tmp_path.glob(f"*.{number}.*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.private_block(0x43, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", component)
            dataset.save_as(path)
    assert kept(read(tmp_path)) == whole(1)


def test_a_few_originals_do_not_stand_for_the_scan(tmp_path):
    write(tmp_path, 0, range(N), ImageType=["DERIVED", "PRIMARY"])
    write(tmp_path, 1, range(3), first=101, ImageType=["ORIGINAL", "PRIMARY"])
    assert kept(read(tmp_path)) == whole(0)


@pytest.mark.parametrize(("phase", "number"), [("first", 1), ("last", 0)])
def test_of_two_phases_of_an_angiogram_the_later_one_is_an_option(tmp_path, phase, number):
    write(tmp_path, 0, range(N), first=1 + N, AcquisitionNumber=7, AcquisitionTime="101700")
    write(tmp_path, 1, range(N), AcquisitionNumber=6, AcquisitionTime="101500")
    assert kept(read(tmp_path, phase=phase)) == whole(number)


# Pieces of one scan stay together.


@pytest.mark.parametrize("name", sorted(set(LIKE_TAGS) - {"component", "patient", "b_value"}))
@pytest.mark.parametrize("overlap", [0, 1, 2])
def test_pieces_that_go_on_are_one_scan(tmp_path, name, overlap):
    """Table moves: the second piece begins where the first ends, or a little before."""
    keyword, one, other = LIKE_TAGS[name]
    other = 14.5 if name == "echo" else other
    write(tmp_path, 0, range(10), **{keyword: one})
    write(tmp_path, 1, range(10 - overlap, 2 * N), **{keyword: other})
    series = read(tmp_path)
    assert len(kept(series)) == 2 * N
    assert series.status == "read"


@pytest.mark.parametrize("first", [1, 21])
def test_a_table_that_moves_three_times_gives_one_scan(tmp_path, first):
    for piece in range(4):
        number, where = 1 + piece * (first - 1), range(8 * piece, 8 * piece + 9)
        move = {"shift": lambda z, piece=piece: -3.0 + 2 * piece}
        write(tmp_path, piece, where, first=number, AcquisitionNumber=piece, **move)
    series = read(tmp_path)
    assert len(kept(series)) == 33
    assert left(series) == {"overlapping_slice": 3}
    assert series.status == "read"
    assert any(note.startswith("shifted_in_plane:3:largest 2.0 mm") for note in series.notes)


def test_a_table_that_moves_to_and_fro_gives_two_scans(tmp_path):
    """Four acquisitions: above, below, above, below."""
    for number in range(4):
        where = np.arange(8) + 8 * (number % 2)
        write(tmp_path, number, where, first=1 + 8 * number, AcquisitionNumber=number + 1)
    assert kept(read(tmp_path)) == [*whole(0, 8), *whole(1, 8)]


@pytest.mark.parametrize(
    "odd", [[5], [0, 15], [3, 4, 5], list(range(0, N, 5)), list(range(0, N, 2)), [1, 2, 5, 9, 11]]
)
@pytest.mark.parametrize("numbered", [True, False])
def test_odd_values_in_a_regular_scan_cost_no_slice(tmp_path, odd, numbered):
    tags = {"EchoTime": lambda k: 33.0 if k in odd else 30.0}
    write(tmp_path, 0, range(N), first=1 if numbered else None, **tags)
    series = read(tmp_path)
    assert kept(series) == whole(0)
    assert series.left_out == ()


@pytest.mark.parametrize(
    "tags",
    [
        {"AcquisitionNumber": lambda k: k},
        {"AcquisitionNumber": lambda k: k // 4},
        {"AcquisitionTime": lambda k: f"1015{k:02d}.25"},
        {"AcquisitionTime": lambda k: f"1015{k // 4:02d}"},
        {"TriggerTime": lambda k: 7.0 * (k * 5 % 16)},
        {"RepetitionTime": lambda k: 2000.0 + 37 * (k % 3)},
        {"EchoTime": lambda k: 30.0 + k % 5},
        {"InversionTime": lambda k: 900.0 + 90 * (k % 8)},
        {"EchoTime": lambda k: 30.0 + k / 1000},
        {"KVP": lambda k: 120 if k < 6 else 140},
        {"SliceThickness": lambda k: 1.0 if k < 6 else 1.25},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_a_value_of_its_own_for_slices_or_rotations_separates_nothing(tmp_path, tags):
    write(tmp_path, 0, range(N), **tags)
    series = read(tmp_path)
    assert kept(series) == whole(0)
    assert series.left_out == ()


@pytest.mark.parametrize("passes", [2, 3, 5])
@pytest.mark.parametrize("by_place", [True, False])
def test_packages_of_one_scan_stay_together(tmp_path, passes, by_place):
    """MR: every second or third slice is acquired in a pass of its own."""
    for number in range(passes):
        places = np.arange(number, 18, passes)
        tags = {"AcquisitionNumber": number + 1, "AcquisitionTime": f"1015{10 * number:02d}"}
        write(tmp_path, number, places, first=1 + 18 * number, **tags)
    if by_place:
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.InstanceNumber = int(dataset.ImagePositionPatient[2]) + 1
            dataset.save_as(path)
    series = read(tmp_path)
    assert len(kept(series)) == 18
    assert series.left_out == ()


def test_a_head_scanned_thin_below_and_thick_above_is_one_scan(tmp_path):
    write(tmp_path, 0, np.arange(0, 30, 2.5), AcquisitionNumber=1, SliceThickness=2.5)
    above = np.arange(30, 110, 5)
    write(tmp_path, 1, above, first=13, AcquisitionNumber=2, SliceThickness=5.0)
    series = read(tmp_path)
    assert len(kept(series)) == 28
    assert series.status == "read"


def test_two_patients_who_follow_each_other_are_not_one_scan(tmp_path):
    write(tmp_path, 0, range(N), PatientID="A")
    write(tmp_path, 1, range(N, 2 * N), PatientID="B")
    series = read(tmp_path)
    assert kept(series) == whole(0)
    assert f"volume_incomplete:{N} slices:by patient" in series.notes


def test_half_renamed_files_of_one_study_are_one_scan_and_noted(tmp_path):
    write(tmp_path, 0, range(N), PatientID=lambda k: "A-1" if k < 9 else "ANON")
    series = read(tmp_path)
    assert kept(series) == whole(0)
    assert "several_patient_ids" in series.notes


@pytest.mark.parametrize("name", ["image_type", "contrast_agent", "kernel", "tube_voltage"])
def test_pictures_between_each_other_are_two_though_numbered_as_one(tmp_path, name):
    keyword, one, other = LIKE_TAGS[name]
    write(tmp_path, 0, range(N), **{keyword: one})
    write(tmp_path, 1, np.arange(N) + 0.5, **{keyword: other})
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = int(2 * dataset.ImagePositionPatient[2]) + 1
        dataset.save_as(path)
    assert kept(read(tmp_path)) == whole(0)


def test_time_points_numbered_position_by_position_are_told_by_their_numbers(tmp_path):
    for number in range(3):
        write(tmp_path, number, np.arange(N) + 0.02 * number)
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        volume, k = map(int, dataset.SOPInstanceUID.split(".")[-2:])
        dataset.InstanceNumber = 3 * k + volume + 1
        dataset.save_as(path)
    assert kept(read(tmp_path)) == whole(0)


def test_half_anonymised_files_of_one_study_are_one_scan(tmp_path):
    write(tmp_path, 0, range(N), PatientID=lambda k: "A-1" if k < 9 else "")
    assert kept(read(tmp_path)) == whole(0)


def test_a_slice_that_was_repeated_is_left_out_alone(tmp_path):
    write(tmp_path, 0, range(N), AcquisitionNumber=1)
    write(tmp_path, 1, [7], first=1 + N, AcquisitionNumber=2)
    series = read(tmp_path)
    assert kept(series) == whole(0)
    assert left(series) == {"volumes_dropped": 1}
    assert series.status == "read"


def test_neither_file_names_nor_their_order_decide(tmp_path):
    for number in range(3):
        tags = {"TemporalPositionIdentifier": number + 1}
        write(tmp_path / "a", number, np.arange(N) + 0.03 * number, first=1 + N * number, **tags)
    (tmp_path / "b").mkdir()
    shuffled = np.random.default_rng(4).permutation(3 * N)
    for number, path in zip(shuffled, sorted((tmp_path / "a").iterdir()), strict=True):
        (tmp_path / "b" / f"{number}.IMA").write_bytes(path.read_bytes())
    assert read(tmp_path / "a").sop_uids == read(tmp_path / "b").sop_uids
