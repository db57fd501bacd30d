"""Multi-frame files that users really have: which frames are slices, and which are lost."""

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import EnhancedCTImageStorage, JPEG2000Lossless

from intracranial.imaging.series import ReadLimits, read_series
from tests.imaging.cases import HU, codes, edit, left_out, rejection
from tests.imaging.make_series import (
    Stored,
    head,
    store,
    write_multi_frame,
    write_single_frames,
)


def test_an_enhanced_ct_object_is_read_in_hu_in_order_of_its_positions(tmp_path):
    path, order = tmp_path / "s" / "one", [5, 0, 7, 2, 1, 6, 4, 3]
    write_multi_frame(path, store(head(), "coronal"), modality="CT", order=order)
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    shared = dataset.SharedFunctionalGroupsSequence[0]
    shared.PixelValueTransformationSequence[0].RescaleIntercept = -1024
    dataset.save_as(path)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert (series.modality, series.geometry.plane, series.status) == ("CT", "coronal", "read")


def test_positions_go_before_the_dimension_index(tmp_path):
    content = [
        {"DimensionIndexValues": [1, 8 - k], "InStackPositionNumber": 8 - k} for k in range(8)
    ]
    write_multi_frame(tmp_path / "s" / "one", store(head()), frame_tags=content)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head())
    assert series.frames.tolist() == list(range(8))


def test_of_an_enhanced_object_with_several_orientations_the_largest_stack_is_kept(tmp_path):
    volume = head(8, 32, 32)
    write_multi_frame(tmp_path / "s" / "one", store(volume), shared=False)
    dataset = pydicom.dcmread(tmp_path / "s" / "one")
    for frame in (0, 5):
        planes = dataset.PerFrameFunctionalGroupsSequence[frame].PlaneOrientationSequence
        planes[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.save_as(tmp_path / "s" / "one")
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, volume[[1, 2, 3, 4, 6, 7]])
    assert series.frames.tolist() == [1, 2, 3, 4, 6, 7]
    assert [(entry.frame, entry.code) for entry in series.left_out] == [
        (0, "mixed_orientation"),
        (5, "mixed_orientation"),
    ]


def test_all_frames_of_several_multi_frame_files_are_one_volume(tmp_path):
    """A concatenation, PS3.3 C.7.6.16.2.2.4; the original solution took a middle frame only."""
    stored = store(head())
    for part, frames in enumerate((slice(4, 8), slice(0, 4))):
        piece = Stored(stored.images[frames], stored.iop, stored.positions[frames], stored.spacing)
        path = tmp_path / "s" / f"part{part}"
        write_multi_frame(path, piece)
        edit(path, SOPInstanceUID=f"1.2.3.9.{part}", InConcatenationNumber=part + 1)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head())
    assert series.frames.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert series.sop_uids == ("1.2.3.9.1",) * 4 + ("1.2.3.9.0",) * 4


def test_a_multi_frame_file_and_single_images_are_one_volume_by_their_positions(tmp_path):
    stored = store(head())
    first = Stored(stored.images[:5], stored.iop, stored.positions[:5], stored.spacing)
    last = Stored(stored.images[5:], stored.iop, stored.positions[5:], stored.spacing)
    write_multi_frame(tmp_path / "s" / "many", first)
    write_single_frames(tmp_path / "s", last, modality="MR", intercept=0)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head())
    assert series.left_out == ()


def _make_classic(path) -> None:
    """Strip an enhanced file of what places its frames."""
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dataset.save_as(path)


def test_frames_without_positions_are_never_mixed_with_single_images(tmp_path):
    write_multi_frame(tmp_path / "s" / "many", store(head(12, seed=1)))
    _make_classic(tmp_path / "s" / "many")
    uids = write_single_frames(tmp_path / "s", store(head(3, seed=2)), modality="MR")
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head(12, seed=1))
    assert left_out(series) == {"mixed_multi_frame": [f"{uid}.dcm" for uid in uids]}
    assert series.status == "partial"


def test_frames_of_several_classic_multi_frame_files_follow_their_numbers(tmp_path):
    stored = store(head())
    for name, number, frames in (("a", 2, slice(4, 8)), ("b", 1, slice(0, 4))):
        path = tmp_path / "s" / name
        write_multi_frame(path, Stored(stored.images[frames], stored.iop, stored.positions[frames]))
        _make_classic(path)
        edit(path, SOPInstanceUID=f"1.2.3.9.{number}", InstanceNumber=number)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head())
    assert {"order_by_instance_number", "geometry_unknown"} <= codes(series)


def test_frames_are_counted_where_an_object_that_is_alone_does_not_say_how_many(tmp_path):
    path = tmp_path / "s" / "many"
    write_multi_frame(path, store(head()))
    _make_classic(path)
    edit(path, NumberOfFrames=None)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head())
    assert {"frames_counted", "geometry_unknown"} <= codes(series)


def test_frames_that_are_stated_and_not_there_are_a_named_loss(tmp_path):
    path = tmp_path / "s" / "many"
    write_multi_frame(path, store(head()))
    edit(path, NumberOfFrames=60000)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head())
    assert left_out(series) == {"frames_missing": ["many"]}
    assert (series.status, series.geometry.geometry_known) == ("partial", True)


def test_of_a_multi_frame_file_that_is_cut_off_the_whole_frames_are_read(tmp_path):
    path = tmp_path / "s" / "many"
    write_multi_frame(path, store(head()))
    path.write_bytes(path.read_bytes()[: -5 * 32 * 40])  # two and a half frames
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head()[:5])
    assert left_out(series) == {"frames_missing": ["many"], "undecodable_pixels": ["many#5"]}
    assert series.status == "partial"


def test_excess_pixels_of_one_slice_among_others_are_not_frames(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head()))
    path = tmp_path / "s" / f"{uids[2]}.dcm"
    dataset = pydicom.dcmread(path)
    dataset.PixelData = dataset.PixelData * 2
    dataset.save_as(path)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert "excess_pixel_data:1" in series.notes


def test_a_siemens_mosaic_is_rejected_by_name_and_never_read_as_a_slice(tmp_path):
    mosaic = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}
    write_single_frames(tmp_path / "s", store(head(2)), modality="MR", tags=mosaic)
    assert rejection(tmp_path / "s") == "mosaic"
    write_single_frames(tmp_path / "t", store(head()), modality="MR", intercept=0)
    edit(tmp_path / "t" / "1.2.3.9.8.dcm", **mosaic)
    series = read_series(tmp_path / "t")
    np.testing.assert_array_equal(series.pixels, head()[:7])
    assert left_out(series) == {"mosaic": ["1.2.3.9.8.dcm"]}
    assert series.status == "partial"


@pytest.mark.parametrize("table", ["filled", "empty", "extended"])
@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_are_found_with_any_offset_table_and_any_fragments(tmp_path, table, fragments):
    if table == "extended" and fragments > 1:
        pytest.skip("an Extended Offset Table allows one fragment a frame (PS3.3 C.7.6.3.1.8)")
    path = tmp_path / "s" / "one"
    write_multi_frame(path, store(head()), compress=JPEG2000Lossless)
    dataset = pydicom.dcmread(path)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=8))
    if table == "extended":
        pixels, offsets, lengths = encapsulate_extended(frames)
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    else:
        pixels = encapsulate(frames, fragments_per_frame=fragments, has_bot=table == "filled")
    dataset.PixelData = pixels
    dataset.save_as(path)
    for reader in ("scan", "pydicom"):
        series = read_series(tmp_path / "s", limits=ReadLimits(reader=reader))
        np.testing.assert_array_equal(series.pixels, head())


# The patient's left, and determinism.
