"""Tiles, localizers, captures and rotating projections are named, and slices are not."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from intracranial.imaging.series import ReadLimits, Series, SeriesError, read_series
from tests.imaging.make_series import Stored, head, store, write_multi_frame, write_single_frames

MOSAIC = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
SCOUT = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def code_of(folder: Path) -> str:
    """Why a folder is rejected, by both readers."""
    codes = set()
    for reader in ("scan", "pydicom"):
        with pytest.raises(SeriesError) as caught:
            read_series(folder, limits=ReadLimits(reader=reader))
        codes.add(caught.value.code)
    (code,) = codes
    return code


def left(series: Series) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in series.left_out:
        counts[entry.code] = counts.get(entry.code, 0) + 1
    return counts


def change(folder: Path, **tags: Any) -> None:
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)


def add_private(folder: Path, group: int, maker: str, element: int, vr: str, value: Any) -> None:
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.private_block(group, maker, create=True).add_new(element, vr, value)
        dataset.save_as(path)


def write(folder: Path, volume: np.ndarray, **how: Any) -> None:
    write_single_frames(folder, store(volume), "MR", intercept=0, **how)


# Tiles.


def test_a_mosaic_is_told_by_its_image_type(tmp_path):
    """A time series: all images have the place of the first tile."""
    place = {"ImagePositionPatient": [-600.0, -600.0, 0.0], "ImageType": MOSAIC}
    write(tmp_path / "s", head(6), tags=place)
    assert code_of(tmp_path / "s") == "mosaic"


def test_a_mosaic_is_told_by_the_number_of_its_images(tmp_path):
    write(tmp_path / "s", head(6))
    add_private(tmp_path / "s", 0x19, "SIEMENS MR HEADER", 0x0A, "US", 36)
    assert code_of(tmp_path / "s") == "mosaic"


def test_a_maker_may_have_reserved_another_block(tmp_path):
    write(tmp_path / "s", head(6))
    add_private(tmp_path / "s", 0x19, "SOMEONE ELSE", 0x0A, "US", 1)
    add_private(tmp_path / "s", 0x19, "SIEMENS MR HEADER", 0x0A, "US", 36)
    assert code_of(tmp_path / "s") == "mosaic"


def test_the_number_of_another_maker_is_none_of_images(tmp_path):
    write(tmp_path / "s", head(6))
    add_private(tmp_path / "s", 0x19, "GEMS_ACQU_01", 0x0A, "US", 36)
    assert len(read_series(tmp_path / "s").images) == 6


@pytest.mark.parametrize("kind", [["ORIGINAL", "PRIMARY", "M", "VFRAME"], ["ORIGINAL", "PRIMARY"]])
def test_a_grid_of_united_imaging_is_told_by_type_or_number(tmp_path, kind):
    same = {"ImagePositionPatient": [0.0, 0.0, 0.0], "ImageType": kind}
    write(tmp_path / "s", head(6), tags=same)
    if "VFRAME" not in kind:
        add_private(tmp_path / "s", 0x65, "Image Private Header", 0x50, "DS", "20")
    assert code_of(tmp_path / "s") == "mosaic"


def test_an_mr_image_wider_than_any_scanner_is_of_tiles(tmp_path):
    write(tmp_path / "s", head(6, 64, 64), tags={"PixelSpacing": [10.0, 10.0]})
    assert code_of(tmp_path / "s") == "mosaic"


def test_a_long_narrow_field_is_no_mosaic(tmp_path):
    """A composed image of the spine: 800 mm along the table, 400 across."""
    write(tmp_path / "s", head(6, 80, 40), tags={"PixelSpacing": [10.0, 10.0]})
    assert len(read_series(tmp_path / "s").images) == 6


def test_an_enhanced_object_may_carry_the_word(tmp_path):
    write_multi_frame(tmp_path / "s" / "one", store(head()))
    change(tmp_path / "s", ImageType=MOSAIC)
    assert len(read_series(tmp_path / "s").images) == 8


def test_slices_that_were_taken_out_of_a_mosaic_may_carry_the_word(tmp_path):
    write(tmp_path / "s", head(), tags={"ImageType": MOSAIC, "SliceThickness": 2.0})
    series = read_series(tmp_path / "s")
    assert len(series.images) == 8
    assert "mosaic_in_name_only:8" in series.notes


def test_a_mosaic_among_slices_is_a_loss_of_its_own(tmp_path):
    write(tmp_path / "s", head())
    dataset = pydicom.dcmread(tmp_path / "s" / "1.2.3.9.8.dcm")
    dataset.ImageType = MOSAIC
    dataset.save_as(tmp_path / "s" / "1.2.3.9.8.dcm")
    series = read_series(tmp_path / "s")
    assert (len(series.images), left(series), series.status) == (7, {"mosaic": 1}, "partial")


# Localizers.


def test_a_localizer_in_the_plane_of_the_stack_is_left_out(tmp_path):
    write(tmp_path / "s", head())
    types = {"ImageType": SCOUT, "ImagePositionPatient": [-20.0, -30.0, 13.0]}
    write(tmp_path / "s", head(1), names=["scout.dcm"], sops=["1.2.7"], tags=types)
    series = read_series(tmp_path / "s")
    assert (len(series.images), left(series)) == (8, {"localizer": 1})
    assert series.status == "read"


def test_a_series_of_ct_scouts_is_rejected(tmp_path):
    write_single_frames(tmp_path / "s", store(head(2), "sagittal"), tags={"ImageType": SCOUT})
    assert code_of(tmp_path / "s") == "localizer"


@pytest.mark.parametrize("words", ["Localizer", "3-pl SCOUT", "Survey SHC", "Topogram  0.6"])
def test_a_short_series_is_a_localizer_by_its_description(tmp_path, words):
    write(tmp_path / "s", head(3), tags={"SeriesDescription": words})
    assert code_of(tmp_path / "s") == "localizer"


def test_a_stack_whose_description_mentions_the_scout_is_read(tmp_path):
    write(tmp_path / "s", head(18, 8, 8), tags={"SeriesDescription": "HEAD 5MM NO SCOUT"})
    assert len(read_series(tmp_path / "s").images) == 18


def test_a_whole_head_for_planning_is_read(tmp_path):
    """Siemens' scout for automatic alignment is a volume of 128 slices and more."""
    write(tmp_path / "s", head(30, 8, 8), tags={"SeriesDescription": "AAHead_Scout"})
    assert len(read_series(tmp_path / "s").images) == 30


def test_a_description_beyond_ascii_costs_neither_the_scan_nor_the_series(tmp_path):
    tags = {"SpecificCharacterSet": "ISO_IR 100", "SeriesDescription": "Schädel nativ"}
    write(tmp_path / "s", head(), tags=tags)
    one, other = (
        read_series(tmp_path / "s", limits=ReadLimits(reader=r)) for r in ("scan", "pydicom")
    )
    assert one.pixels.tobytes() == other.pixels.tobytes()


def test_three_planes_of_a_few_images_are_localizers(tmp_path):
    for number, plane in enumerate(("axial", "coronal", "sagittal")):
        names = [f"{plane}{k}" for k in range(5)]
        sops = [f"1.2.{number}.{k}" for k in range(5)]
        stored = store(head(5, 16, 16, seed=number), plane)
        write_single_frames(tmp_path / "s", stored, "MR", names=names, sops=sops)
    assert code_of(tmp_path / "s") == "localizer"


def test_a_stack_with_a_scout_in_each_of_the_other_planes_is_read(tmp_path):
    for number, (plane, n) in enumerate((("axial", 8), ("coronal", 1), ("sagittal", 1))):
        names = [f"{plane}{k}" for k in range(n)]
        sops = [f"1.2.{number}.{k}" for k in range(n)]
        stored = store(head(n, 16, 16, seed=number), plane)
        write_single_frames(tmp_path / "s", stored, "MR", names=names, sops=sops)
    series = read_series(tmp_path / "s")
    assert (len(series.images), left(series)) == (8, {"mixed_orientation": 2})


# Projections and captures.


@pytest.mark.parametrize("degrees", [4, 10, 15])
def test_projections_from_all_around_are_rejected(tmp_path, degrees):
    angles = np.radians(np.arange(0, 180, degrees))
    turns = [[np.cos(a), np.sin(a), 0.0, 0.0, 0.0, -1.0] for a in angles]
    stored = Stored(head(len(turns), 12, 12), (1, 0, 0, 0, 0, -1), np.zeros((len(turns), 3)))
    tags = {"ImageOrientationPatient": [[float(v) for v in turn] for turn in turns]}
    write_single_frames(tmp_path / "s", stored, "MR", per_slice=tags)
    assert code_of(tmp_path / "s") == "rotating_projections"


@pytest.mark.parametrize(
    "tags",
    [
        {"SOPClassUID": SecondaryCaptureImageStorage},
        {"ConversionType": "DF"},
        {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]},
    ],
    ids=["class", "film", "screen"],
)
def test_captures_without_a_place_are_rejected(tmp_path, tags):
    absent = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    write_single_frames(tmp_path / "s", store(head(2)), tags={**absent, **tags})
    assert code_of(tmp_path / "s") == "secondary_capture"


def test_a_capture_among_slices_is_left_out(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    tags = {"ConversionType": "WSD", "ImagePositionPatient": None}
    write_single_frames(tmp_path / "s", store(head(1)), names=["x.dcm"], sops=["1.2.7"], tags=tags)
    series = read_series(tmp_path / "s")
    assert (len(series.images), left(series)) == (8, {"secondary_capture": 1})


def test_slices_that_were_stored_as_captures_are_read_and_noted(tmp_path):
    tags = {"SOPClassUID": SecondaryCaptureImageStorage, "ConversionType": "WSD"}
    write_single_frames(tmp_path / "s", store(head()), tags=tags)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "secondary_capture_with_place:8" in series.notes


# A SeriesInstanceUID for every slice.


def scatter(folder: Path, **tags: Any) -> None:
    for k, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = f"1.2.3.{k}"
        for keyword, values in tags.items():
            setattr(dataset, keyword, values(k))
        dataset.save_as(path)


@pytest.mark.parametrize("name", ["s", "1.2.3.4"])
def test_one_scan_with_a_series_uid_for_every_slice_is_put_together(tmp_path, name):
    write_single_frames(tmp_path / name, store(head()), tags={"SeriesNumber": 7})
    scatter(tmp_path / name)
    series = read_series(tmp_path / name)
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "series_uid_per_slice:8" in series.notes
    assert series.status == "read"


@pytest.mark.parametrize(
    "tags",
    [
        {"StudyInstanceUID": lambda k: f"1.9.{k % 2}"},
        {"SeriesDescription": lambda k: f"series {k}"},
        {"SeriesNumber": lambda k: k},
        {"PixelSpacing": lambda k: [0.5 + k / 10] * 2},
    ],
    ids=lambda tags: next(iter(tags)),
)
def test_images_of_several_series_are_not_put_together_and_not_called_a_read_head(tmp_path, tags):
    write_single_frames(tmp_path / "s", store(head()), tags={"SeriesNumber": 7})
    scatter(tmp_path / "s", **tags)
    series = read_series(tmp_path / "s")
    assert (len(series.images), left(series)) == (1, {"scattered_series": 7})
    assert series.status == "partial"


# Two studies under one SeriesInstanceUID.


def test_of_two_studies_the_larger_one_is_kept_and_the_other_named(tmp_path):
    write_single_frames(tmp_path / "s", store(head(5, seed=1)), tags={"StudyInstanceUID": "1.9.1"})
    names, sops = [f"{k}" for k in range(8)], [f"1.2.7.{k}" for k in range(8)]
    tags = {"StudyInstanceUID": "1.9.2", "PatientID": "P-2"}
    write_single_frames(tmp_path / "s", store(head()), names=names, sops=sops, tags=tags)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert left(series) == {"volumes_dropped": 5}
    assert "volumes_dropped:5 slices:by study" in series.notes
    assert series.status == "read"


def test_a_slice_of_another_study_is_lost(tmp_path):
    uids = ["1.9.1"] * 7 + ["1.9.2"]
    write_single_frames(tmp_path / "s", store(head()), per_slice={"StudyInstanceUID": uids})
    series = read_series(tmp_path / "s")
    assert (len(series.images), left(series)) == (7, {"volume_incomplete": 1})
    assert series.status == "partial"


def test_without_positions_studies_are_not_mixed_either(tmp_path):
    for number, n in enumerate((8, 5)):
        tags = {"StudyInstanceUID": f"1.9.{number}", "ImagePositionPatient": None}
        names, sops = [f"{number}-{k}" for k in range(n)], [f"1.2.{number}.{k}" for k in range(n)]
        how = {"names": names, "sops": sops, "tags": tags}
        write_single_frames(tmp_path / "s", store(head(n, seed=number)), **how)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert left(series) == {"volumes_dropped": 5}


def test_a_study_uid_of_its_own_for_every_file_says_nothing(tmp_path):
    uids = [f"1.9.{k}" for k in range(8)]
    write_single_frames(tmp_path / "s", store(head()), per_slice={"StudyInstanceUID": uids})
    series = read_series(tmp_path / "s")
    assert (len(series.images), series.left_out) == (8, ())
    assert "study_uid_ignored:8" in series.notes
