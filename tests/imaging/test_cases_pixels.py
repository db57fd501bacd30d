"""Pixel data as real files have it: each way in which it has gone wrong somewhere, once.

No encoder is at hand for 12-bit JPEG Extended, the retired JPEG processes and HTJ2K: pydicom's own
files (test_pydicom_files.py) and the real ones (test_real_data.py) serve for the first two, and
HTJ2K is not tested.
"""

import io
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import ReadLimits, SeriesError, read_series
from tests.imaging.make_series import head, store, transcode, write_multi_frame, write_single_frames

READERS = ["scan", "pydicom"]


def change(folder, edit) -> None:
    """Edit every file of a folder through pydicom."""
    for path in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(path)
        edit(dataset)
        dataset.save_as(path)


def codes(series) -> set[str]:
    return {note.split(":")[0] for note in series.notes}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("reader", READERS)
def test_twelve_bits_with_an_overlay_above_them(tmp_path, signed, reader):
    """Old scanners keep an overlay in bits 12 to 15 (PS3.5 8.1.2)."""
    values = head().astype(np.int32) - (1100 if signed else 0)
    overlay = np.random.default_rng(3).integers(0, 16, values.shape) << 12
    words = ((values & 0xFFF) | overlay).astype(np.uint16).view(np.int16)
    words = words if signed else words.view(np.uint16)
    tags = {"BitsStored": 12, "HighBit": 11}
    write_single_frames(tmp_path / "s", store(words), tags=tags, intercept=7)
    pixels = read_series(tmp_path / "s", limits=ReadLimits(reader=reader)).pixels
    np.testing.assert_array_equal(pixels, values + 7)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_signed_twelve_bit_pixels_survive_compression(tmp_path, syntax):
    """The streams know fewer bits than the words; the sign must come back."""
    values = head() - 1100
    tags = {"BitsStored": 12, "HighBit": 11}
    write_single_frames(tmp_path / "s", store(values), tags=tags, intercept=0)
    expected = read_series(tmp_path / "s").pixels
    transcode(tmp_path / "s", syntax)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, expected)
    np.testing.assert_array_equal(expected, values)


def test_a_high_bit_elsewhere_is_noted_with_the_shift(tmp_path):
    tags = {"BitsStored": 12, "HighBit": 15}
    write_single_frames(tmp_path / "s", store(head().astype(np.uint16) << 4), tags=tags)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "high_bit_shifted:8" in series.notes


def test_baseline_jpeg_is_read_and_noted_as_lossy(tmp_path):
    """8-bit JPEG of the standard's process 1, as photographs have it."""
    from PIL import Image

    volume = np.broadcast_to(np.linspace(0, 250, 40), (8, 32, 40)).astype(np.uint8)
    write_single_frames(tmp_path / "s", store(volume), modality="MR", intercept=0)

    def compress(dataset):
        file = io.BytesIO()
        Image.fromarray(dataset.pixel_array).save(file, "JPEG", quality=95)
        dataset.PixelData = encapsulate([file.getvalue()])
        dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit

    change(tmp_path / "s", compress)
    series = read_series(tmp_path / "s")
    np.testing.assert_allclose(series.pixels, volume, atol=3)
    assert "lossy_compression:8" in series.notes


def head_in_hu(rng) -> np.ndarray:
    """Air around a disc of brain with fat, bone and vessels, in HU, int16 (8, 96, 96)."""
    rows, columns = np.mgrid[:96, :96]
    radius = np.hypot(rows - 48, columns - 48)
    image = np.select([radius < 30, radius < 34, radius < 38], [35, 900, -100], -1000)
    image = np.where((rows - 40) ** 2 + (columns - 50) ** 2 < 9, 350, image)
    return (image + rng.normal(0, 8, (8, 96, 96))).round().clip(-1024, 3071).astype(np.int16)


def test_hounsfield_units_that_state_an_intercept_all_the_same_are_found(tmp_path):
    """Some files of the challenge hold Hounsfield units already although an intercept is given."""
    hu = head_in_hu(np.random.default_rng(5))
    write_single_frames(tmp_path / "s", store(hu), intercept=-1024)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, hu)
    assert "rescale_already_hu" in codes(series)
    always = read_series(tmp_path / "s", replace(STANDARD, rescale="always"))
    np.testing.assert_array_equal(always.pixels, hu - 1024.0)


def test_honest_files_are_rescaled_and_never_takes_them_as_stored(tmp_path):
    hu = head_in_hu(np.random.default_rng(6))
    write_single_frames(tmp_path / "s", store(hu + 1024), intercept=-1024)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, hu)
    assert not any(code.startswith("rescale") for code in codes(series))
    never = read_series(tmp_path / "s", replace(STANDARD, rescale="never"))
    np.testing.assert_array_equal(never.pixels, hu + 1024.0)
    assert "rescale_never" in codes(never)


def test_twelve_bit_values_that_wrapped_are_unwrapped(tmp_path):
    """Seen in public haemorrhage data: negative HU stored modulo 4096 and no intercept."""
    hu = head_in_hu(np.random.default_rng(7)).clip(-1000, 3000)
    words = (hu.astype(np.int32) % 4096).astype(np.uint16)
    tags = {"BitsStored": 12, "HighBit": 11}
    write_single_frames(tmp_path / "s", store(words), tags=tags, intercept=0)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, hu)
    assert "rescale_unwrapped" in codes(series)
    write_single_frames(tmp_path / "mr", store(words), modality="MR", tags=tags, intercept=0)
    np.testing.assert_array_equal(read_series(tmp_path / "mr").pixels, words)


def test_a_ct_series_that_tells_nothing_is_rescaled_and_noted_as_uncertain(tmp_path):
    noise = np.random.default_rng(8).integers(-500, 2500, (8, 64, 64)).astype(np.int16)
    write_single_frames(tmp_path / "s", store(noise), intercept=-1024)
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, noise - 1024.0)
    assert "rescale_uncertain" in codes(series)


def test_four_byte_words_are_read(tmp_path):
    write_single_frames(tmp_path / "s", store(head().astype(np.int32)))
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


@pytest.mark.parametrize(
    ("keyword", "kind"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")]
)
def test_float_pixels_are_read_and_values_that_are_not_finite_become_zero(tmp_path, keyword, kind):
    write_single_frames(tmp_path / "s", store(head()), intercept=0)

    def make_float(dataset):
        values = dataset.pixel_array.astype(kind)
        values[0, 0] = np.nan
        del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
        dataset.BitsAllocated = values.itemsize * 8
        setattr(dataset, keyword, values.tobytes())

    change(tmp_path / "s", make_float)
    series = read_series(tmp_path / "s")
    expected = head().astype(np.float32)
    expected[:, 0, 0] = 0
    np.testing.assert_array_equal(series.pixels, expected)
    assert "not_finite_pixels:8" in series.notes


def test_palette_colour_is_no_grey_scan(tmp_path):
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    write_single_frames(tmp_path / "s", store(head().astype(np.uint8)), tags=tags)
    with pytest.raises(SeriesError, match="in colour") as caught:
        read_series(tmp_path / "s")
    assert caught.value.code == "colour_only"


def test_padding_inside_the_range_of_values_is_filled_and_nothing_else(tmp_path):
    volume = head()
    volume[:, 10:12] = 1100
    volume[0, 11, 5] = 1101
    write_single_frames(tmp_path / "s", store(volume), tags={"PixelPaddingValue": 1100})
    pixels = read_series(tmp_path / "s").pixels
    padded = volume == 1100
    np.testing.assert_array_equal(pixels[~padded], volume[~padded] - 1024.0)
    assert set(pixels[padded]) == {24 - 1024.0}


def test_a_padding_range_is_filled(tmp_path):
    volume = head()
    volume[:, -2:] = -1500
    tags = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1400}
    write_single_frames(tmp_path / "s", store(volume), tags=tags)
    assert read_series(tmp_path / "s").pixels.min() == 24 - 1024


def test_slopes_that_differ_by_slice_and_one_that_is_missing(tmp_path):
    """Philips writes a slope per slice; a slice without one has 1."""
    slopes = [1.5, 2.5, None, 1.0, 1.0, 1.0, 1.0, 1.0]
    intercepts = [0 if slope else None for slope in slopes]
    write_single_frames(
        tmp_path / "s",
        store(head()),
        modality="MR",
        per_slice={"RescaleSlope": slopes, "RescaleIntercept": intercepts},
    )
    assert "rescale_missing:1" in read_series(tmp_path / "s").notes
    expected = head() * np.array([slope or 1.0 for slope in slopes])[:, None, None]
    np.testing.assert_allclose(read_series(tmp_path / "s").pixels, expected)


def test_lossy_compression_is_accepted_and_noted(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), tags={"LossyImageCompression": "01"})
    assert "lossy_compression:8" in read_series(tmp_path / "s").notes


@pytest.mark.parametrize("table", ["none", "basic", "extended"])
def test_frames_in_several_fragments_with_each_kind_of_offset_table(tmp_path, table):
    path = tmp_path / "s" / "x.dcm"
    write_multi_frame(path, store(head()), compress=RLELossless)
    dataset = pydicom.dcmread(path)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=8))
    if table == "extended":
        data, offsets, lengths = encapsulate_extended(frames)
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    elif table == "basic":
        data = encapsulate(frames, fragments_per_frame=2, has_bot=True)
    else:
        data = encapsulate(frames, has_bot=False)
    dataset.PixelData = data
    dataset.save_as(path)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head())


def test_one_frame_in_several_fragments_without_a_table(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), compress=RLELossless)

    def split(dataset):
        (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
        dataset.PixelData = encapsulate([frame], fragments_per_frame=3, has_bot=False)

    change(tmp_path / "s", split)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


def test_a_compressed_file_without_its_delimiter_keeps_its_whole_frame(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head()), compress=RLELossless)
    path = tmp_path / "s" / f"{uids[3]}.dcm"
    data = path.read_bytes()
    assert data.endswith(DELIMITER)
    path.write_bytes(data[: -len(DELIMITER)])
    series = read_series(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() - 1024.0)
    assert "pixels_end_early:1" in series.notes
    assert series.status == "read"


def test_a_cut_compressed_multi_frame_file_keeps_the_frames_that_are_whole(tmp_path):
    path = tmp_path / "s" / "x.dcm"
    write_multi_frame(path, store(head()), compress=RLELossless)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.7)])
    series = read_series(tmp_path / "s")
    kept = len(series.images)
    assert 3 <= kept < 8
    np.testing.assert_array_equal(series.pixels, head()[series.frames])
    assert series.status == "partial"
    assert {"pixels_end_early", "undecodable_pixels"} <= codes(series)


def test_a_cut_compressed_slice_is_left_out_never_shown_in_part(tmp_path):
    uids = write_single_frames(tmp_path / "s", store(head()), compress=RLELossless)
    path = tmp_path / "s" / f"{uids[3]}.dcm"
    path.write_bytes(path.read_bytes()[:-200])
    series = read_series(tmp_path / "s")
    assert len(series.images) == 7
    assert "undecodable_pixels:1" in series.notes


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_a_stream_of_another_size_is_refused_before_it_is_decoded(tmp_path, syntax):
    """The stream of a small file may claim 65,535 x 65,535 pixels."""
    write_single_frames(tmp_path / "s", store(head()))
    transcode(tmp_path / "s", syntax)
    path = sorted((tmp_path / "s").iterdir())[0]
    data = bytearray(path.read_bytes())
    markers = {
        JPEGLosslessSV1: b"\xff\xc3",
        JPEGLSLossless: b"\xff\xf7",
        JPEG2000Lossless: b"\xff\x51",
    }
    at = data.index(markers[syntax])
    if syntax == JPEG2000Lossless:
        data[at + 6 : at + 14] = (60000).to_bytes(4, "big") * 2
    else:
        data[at + 5 : at + 9] = (65535).to_bytes(2, "big") * 2
    path.write_bytes(bytes(data))
    series = read_series(tmp_path / "s")
    assert len(series.images) == 7
    assert "undecodable_pixels:1" in series.notes


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("missing", ["Rows", "Columns", "Modality", "PixelData"])
def test_a_slice_without_a_needed_element_is_left_out(tmp_path, missing, reader):
    """Rows without pixels, and pixels without Rows, have ended other readers' processes."""
    uids = write_single_frames(tmp_path / "s", store(head()))
    path = tmp_path / "s" / f"{uids[3]}.dcm"
    dataset = pydicom.dcmread(path)
    delattr(dataset, missing)
    dataset.save_as(path)
    series = read_series(tmp_path / "s", limits=ReadLimits(reader=reader))
    assert len(series.images) == 7
    assert series.status == "partial"
    assert [entry.file for entry in series.left_out] == [path.name]


def test_without_bits_allocated_two_byte_words_are_assumed(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), tags={"BitsAllocated": None})
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


def test_rows_of_an_icon_are_not_the_rows_of_the_image(tmp_path):
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated, icon.BitsStored, icon.HighBit = 2, 2, 8, 8, 7
    icon.PixelRepresentation, icon.SamplesPerPixel = 0, 1
    icon.PhotometricInterpretation, icon.PixelData = "MONOCHROME2", b"\0\1\2\3"
    tags = {"IconImageSequence": Sequence([icon])}
    write_single_frames(tmp_path / "s", store(head()), tags=tags)
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


@pytest.mark.parametrize("reader", READERS)
def test_a_stated_syntax_that_is_not_the_encoding_is_seen_through(tmp_path, reader):
    """The file meta says explicit VR, the data set is implicit, and the reverse."""
    for name, real, stated in (
        ("a", ImplicitVRLittleEndian, ExplicitVRLittleEndian),
        ("b", ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    ):
        folder = tmp_path / name
        write_single_frames(folder, store(head()), syntax=real)
        for path in folder.iterdir():
            data = path.read_bytes()
            long, short = (
                ExplicitVRLittleEndian.encode() + b"\0",
                ImplicitVRLittleEndian.encode() + b"\0",
            )
            before, after = (short, long) if real == ImplicitVRLittleEndian else (long, short)
            assert data.count(b"UI" + len(before).to_bytes(2, "little") + before) == 1
            data = data.replace(
                b"UI" + len(before).to_bytes(2, "little") + before,
                b"UI" + len(after).to_bytes(2, "little") + after,
            )
            path.write_bytes(_with_meta_length(data, len(after) - len(before)))
        series = read_series(folder, limits=ReadLimits(reader=reader))
        np.testing.assert_array_equal(series.pixels, head() - 1024.0)
        assert stated != real


def _with_meta_length(data: bytes, change_by: int) -> bytes:
    at = data.index(b"\x02\0\0\0UL\x04\0") + 8
    length = int.from_bytes(data[at : at + 4], "little") + change_by
    return data[:at] + length.to_bytes(4, "little") + data[at + 4 :]


def test_numbers_that_are_none_count_as_missing(tmp_path):
    """IS "1A" and DS with a decimal comma, as in dicom files of some private writers."""
    write_single_frames(tmp_path / "s", store(head()), tags={"SliceThickness": "3.25"})
    for path in (tmp_path / "s").iterdir():
        data = path.read_bytes()
        path.write_bytes(data.replace(b"3.25", b"3,25").replace(b"IS\x02\x001 ", b"IS\x02\x001A"))
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)


def test_an_executable_before_the_header_is_data_like_any_other(tmp_path):
    """The 128 bytes of the preamble may hold the head of a program (CVE-2019-11687)."""
    write_single_frames(tmp_path / "s", store(head()))
    for path in (tmp_path / "s").iterdir():
        data = path.read_bytes()
        path.write_bytes(b"MZ\x90\0".ljust(128, b"\0") + data[128:])
    np.testing.assert_array_equal(read_series(tmp_path / "s").pixels, head() - 1024.0)
