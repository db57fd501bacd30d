"""Stored words become the right values, once."""

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from intracranial.imaging.series import SeriesError, read_series
from tests.imaging.make_series import Stored, head, store, write_multi_frame, write_single_frames


def test_rescale_is_applied_exactly_once(tmp_path):
    """The original solution applied it twice, so its CT scale depended on the intercept."""
    for intercept in (-1024, -8192, 0):
        images = (head().astype(int) - 1024 - intercept).astype(np.int16)
        folder = tmp_path / str(-intercept)
        write_single_frames(folder, store(images), intercept=intercept)
        np.testing.assert_array_equal(read_series(folder).pixels, head() - 1024.0)


def test_each_slice_has_its_own_rescale(tmp_path):
    slopes = [1 + k / 4 for k in range(8)]
    write_single_frames(tmp_path / "s", store(head()), per_slice={"RescaleSlope": slopes})
    expected = head() * np.array(slopes)[:, None, None] - 1024
    np.testing.assert_allclose(read_series(tmp_path / "s").pixels, expected, rtol=1e-6)


@pytest.mark.parametrize("slope", [None, 0])
def test_a_missing_or_zero_slope_counts_as_one(tmp_path, slope):
    write_single_frames(tmp_path / "s", store(head()), tags={"RescaleSlope": slope})
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert ("rescale_slope_unusable:8" in series.notes) == (slope == 0)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_native_encoding_gives_the_same_values(tmp_path, syntax):
    write_single_frames(tmp_path / "s", store(head()), syntax=syntax)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_lossless_compression_changes_nothing(tmp_path, syntax, dtype):
    write_single_frames(tmp_path / "s", store(head().astype(dtype)), compress=syntax)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


def test_compressed_multi_frame_files_keep_their_frames_apart(tmp_path):
    order = [5, 0, 7, 2, 1, 6, 4, 3]
    write_multi_frame(tmp_path / "s" / "x", store(head()), order=order, compress=RLELossless)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head())


def test_bits_above_bits_stored_are_masked_and_signs_extended(tmp_path):
    values = np.clip(head().astype(int) - 1100, -2048, 2047)
    words = ((values & 0xFFF) | 0x5000).astype(np.int16)  # old overlay bits on top
    tags = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    write_single_frames(tmp_path / "s", store(words), tags=tags, intercept=0)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, values)


def test_a_high_bit_above_bits_stored_is_shifted_down(tmp_path):
    words = (head().astype(np.uint16) << 4).astype(np.uint16)
    tags = {"BitsStored": 12, "HighBit": 15}
    write_single_frames(tmp_path / "s", store(words), tags=tags)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


@pytest.mark.parametrize("padding", [-2000, 1150])
def test_padding_becomes_the_lowest_valid_value_before_rescale(tmp_path, padding):
    images = head()
    images[images == padding] += 1
    images[:, :, :3] = padding
    tags = {"PixelPaddingValue": padding}
    write_single_frames(tmp_path / "s", store(images), tags=tags)
    expected = images.astype(float)
    expected[images == padding] = 24
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, expected - 1024)


def test_padding_written_with_the_wrong_sign_is_recognised(tmp_path):
    images = head()
    images[:, :, :3] = -2000
    write_single_frames(tmp_path / "s", store(images))
    for path in (tmp_path / "s").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.add_new("PixelPaddingValue", "US", 63536)
        dataset.save_as(path)
    assert read_series(tmp_path / "s").pixels.min() == 24 - 1024


def test_monochrome1_is_inverted_over_the_stored_bits(tmp_path):
    images = (4095 - head().astype(int)).astype(np.uint16)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    write_single_frames(tmp_path / "s", store(images), tags=tags)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "monochrome1_inverted:8" in series.notes


def test_eight_bit_images_are_read(tmp_path):
    images = (head() // 8).astype(np.uint8)
    write_single_frames(tmp_path / "s", store(images), modality="MR", intercept=0)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, images)


def test_colour_images_among_grey_ones_are_dropped_and_noted(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head()))
    _make_colour(tmp_path / "s" / f"{uids[0]}.dcm")
    series = read_series(tmp_path / "s")
    assert len(series.pixels) == 7
    assert "colour_dropped:1" in series.notes


def test_a_series_in_colour_is_rejected(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head(1)))
    _make_colour(tmp_path / "s" / f"{uids[0]}.dcm")
    with pytest.raises(SeriesError) as caught:
        read_series(tmp_path / "s")
    assert caught.value.code == "colour_only"


def _make_colour(path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "RGB"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = bytes(3 * dataset.Rows * dataset.Columns)
    dataset.save_as(path)


@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_a_truncated_slice_is_dropped_and_noted_never_filled_with_zeros(tmp_path, keep):
    uids = write_single_frames(tmp_path / "s", store(head()))
    path = tmp_path / "s" / f"{uids[3]}.dcm"
    data = path.read_bytes()
    pixels = 2 * 32 * 40
    path.write_bytes(data[: len(data) - int(pixels * (1 - keep))])
    series = read_series(tmp_path / "s")
    assert len(series.pixels) == 7
    assert "undecodable_pixels:1" in series.notes
    assert uids[3] not in series.sop_uids


def test_trailing_bytes_after_the_pixels_do_no_harm(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head()))
    path = tmp_path / "s" / f"{uids[3]}.dcm"
    path.write_bytes(path.read_bytes() + b"\0\0")
    assert len(read_series(tmp_path / "s").pixels) == 8


def test_a_damaged_compressed_frame_costs_that_slice_only(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head()), compress=RLELossless)
    path = tmp_path / "s" / f"{uids[3]}.dcm"
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([b"\1\0\0\0" + bytes(60) + b"\7\7"])
    dataset.save_as(path)
    series = read_series(tmp_path / "s")
    assert len(series.pixels) == 7
    assert "undecodable_pixels:1" in series.notes


def test_a_panic_of_the_rle_decoder_costs_that_slice_only(tmp_path):
    """pylibjpeg-rle's panic is no Exception and would end the worker."""
    uids = write_single_frames(tmp_path / "s", store(head()), compress=RLELossless)
    path = tmp_path / "s" / f"{uids[3]}.dcm"
    dataset = pydicom.dcmread(path)
    segments = (2).to_bytes(4, "little") + (64).to_bytes(4, "little") + (66).to_bytes(4, "little")
    dataset.PixelData = encapsulate([segments.ljust(64, b"\0") + b"\x81\1" + b"\x81\1" * 40])
    dataset.save_as(path)
    assert len(read_series(tmp_path / "s").pixels) == 7


def test_an_unknown_transfer_syntax_is_named_in_the_rejection(tmp_path):
    write_single_frames(tmp_path / "s", store(head(2)), compress=RLELossless)
    for path in (tmp_path / "s").iterdir():
        data = path.read_bytes().replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.9.9\0")
        path.write_bytes(data)
    with pytest.raises(SeriesError, match=r"1\.2\.840\.10008\.1\.9\.9") as caught:
        read_series(tmp_path / "s")
    assert caught.value.code == "unsupported_transfer_syntax"


def test_a_modality_lut_is_applied_where_there_is_no_slope(tmp_path):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    table = Dataset()
    table.add_new("LUTDescriptor", "US", [2000, 0, 16])
    table.add_new("LUTData", "US", [2 * value for value in range(2000)])
    tags = {"RescaleSlope": None, "ModalityLUTSequence": Sequence([table])}
    write_single_frames(tmp_path / "s", store(head().astype(np.uint16)), tags=tags)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, 2.0 * head())


def test_blank_slices_keep_their_place_and_are_noted(tmp_path):
    volume = head()
    volume[3] = 100
    write_single_frames(tmp_path / "s", store(volume))
    series = read_series(tmp_path / "s")
    assert len(series.pixels) == 8
    assert [bool(notes) for notes in series.slice_notes] == [k == 3 for k in range(8)]


def test_a_slice_that_is_all_padding_takes_the_lowest_value_of_the_series(tmp_path):
    volume = head()
    volume[2] = -2000
    write_single_frames(tmp_path / "s", store(volume), tags={"PixelPaddingValue": -2000})
    assert read_series(tmp_path / "s").pixels[2].max() == 24 - 1024


def test_two_spellings_of_the_same_series_give_the_same_bytes(tmp_path):
    write_single_frames(tmp_path / "a", store(head()))
    shuffled = [f"{k}.x" for k in (3, 1, 7, 5, 0, 2, 6, 4)]
    write_single_frames(tmp_path / "b", store(head()), names=shuffled)
    first, second = read_series(tmp_path / "a"), read_series(tmp_path / "b")
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert first.sop_uids == second.sop_uids
    assert isinstance(store(head()), Stored)
