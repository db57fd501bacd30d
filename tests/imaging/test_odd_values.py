"""Numbers, pixels and geometry that are not written as the standard has it: right, or noted."""

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from intracranial.imaging.series import ReadLimits, Series, SeriesError, read_series
from tests.imaging.make_series import (
    Stored,
    head,
    store,
    transcode,
    write_multi_frame,
    write_single_frames,
)

HU = -1024.0
NO_RESCALE = {"RescaleSlope": None, "RescaleIntercept": None}
INTERCEPT, SLOPE = b"\x28\x00\x52\x10", b"\x28\x00\x53\x10"
SPACING = b"\x28\x00\x30\x00"
POSITION = b"\x20\x00\x32\x00"


def read(folder: Path) -> Series:
    """The series, of which both readers make the same."""
    one, other = (read_series(folder, limits=ReadLimits(reader=r)) for r in ("scan", "pydicom"))
    assert one.pixels.tobytes() == other.pixels.tobytes()
    assert (one.notes, one.left_out) == (other.notes, other.left_out)
    return one


def codes(series: Series) -> set[str]:
    return {note.split(":")[0] for note in series.notes} - {"uid_differs_from_folder"}


def rewrite(folder: Path, tag: bytes, vr: bytes, value: bytes) -> None:
    """Write another VR and value, with a 16-bit length, into all explicit files of a folder."""
    for path in folder.iterdir():
        data = path.read_bytes()
        at = data.index(tag)
        (length,) = struct.unpack_from("<H", data, at + 6)
        new = tag + vr + struct.pack("<H", len(value)) + value
        if vr in (b"UN", b"UT", b"OB"):
            new = tag + vr + b"\0\0" + struct.pack("<I", len(value)) + value
        path.write_bytes(data[:at] + new + data[at + 8 + length :])


# Numbers.


def test_a_decimal_comma_is_read_and_noted(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    rewrite(tmp_path / "s", INTERCEPT, b"DS", b"-1024,0 ")
    rewrite(tmp_path / "s", SPACING, b"DS", b"0,5\\0,75")
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert series.geometry.spacing == (2.0, 0.5, 0.75)
    assert codes(series) == {"decimal_comma"}


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        (b"DS", b"-1024.00"),
        (b"DS", b"  -1024 "),
        (b"DS", b"-1.024E3"),
        (b"DS", b"-1024\0\0\0"),
        (b"IS", b"-1024 "),
        (b"LO", b"-1024 "),
        (b"ST", b"-1024 "),
        (b"UT", b"-1024 "),
        (b"UN", b"-1024 "),
        (b"OB", b"-1024 "),
        (b"SS", struct.pack("<h", -1024)),
        (b"US", struct.pack("<H", 65536 - 1024)),
        (b"SL", struct.pack("<i", -1024)),
        (b"FD", struct.pack("<d", -1024)),
        (b"FL", struct.pack("<f", -1024)),
    ],
    ids=lambda value: value.decode("latin-1").strip("\0 ") if len(value) < 3 else "",
)
def test_an_intercept_written_in_another_way_is_applied(tmp_path, vr, value):
    write_single_frames(tmp_path / "s", store(head()))
    rewrite(tmp_path / "s", INTERCEPT, vr, value)
    np.testing.assert_array_equal(read(tmp_path / "s").pixels, head() + HU)


@pytest.mark.parametrize("value", [b"- 1024", b"n/a ", b""])
def test_an_intercept_that_is_no_number_is_noted(tmp_path, value):
    write_single_frames(tmp_path / "s", store(head()))
    rewrite(tmp_path / "s", INTERCEPT, b"DS", value)
    assert "rescale_intercept_unusable" in codes(read(tmp_path / "s"))


def test_a_ct_series_without_any_rescale_is_noted(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), tags=NO_RESCALE)
    assert "rescale_missing:8" in read(tmp_path / "s").notes


def test_an_mr_series_without_any_rescale_is_usual(tmp_path):
    write_single_frames(tmp_path / "s", store(head()), "MR", tags=NO_RESCALE)
    assert codes(read(tmp_path / "s")) == set()


def test_positions_with_a_comma_give_the_order(tmp_path):
    stored = store(head(), reverse=True)
    write_single_frames(tmp_path / "s", stored)
    for path, place in zip(
        sorted((tmp_path / "s").iterdir()), stored.positions.tolist(), strict=True
    ):
        (tmp_path / "one").mkdir(exist_ok=True)
        path.rename(tmp_path / "one" / path.name)
        words = "\\".join(f"{value:.1f}".replace(".", ",") for value in place)
        rewrite(
            tmp_path / "one", POSITION, b"DS", words.encode().ljust(len(words) + len(words) % 2)
        )
        (tmp_path / "one" / path.name).rename(path)
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert series.geometry.plane == "axial"


# What stored words mean.


@pytest.mark.parametrize(
    ("bits", "shift", "said"),
    [(16, -1024, "signed"), (16, 0, "unsigned"), (12, -1024, "signed"), (12, 0, "unsigned")],
)
@pytest.mark.parametrize("compress", ["", RLELossless])
def test_the_sign_of_words_is_taken_from_their_values(tmp_path, bits, shift, said, compress):
    volume = head().astype(np.int64) + shift
    stored = store((volume & ((1 << bits) - 1)).astype(np.uint16))
    tags = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": None}
    how: dict[str, Any] = {"intercept": -1024 - shift, "tags": tags, "compress": ""}
    write_single_frames(tmp_path / "s", stored, **how)
    if compress:
        for path in (tmp_path / "s").iterdir():
            dataset = pydicom.dcmread(path)
            dataset.PixelRepresentation = 0
            dataset.compress(compress, generate_instance_uid=False)
            del dataset.PixelRepresentation
            dataset.save_as(path)
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert f"pixel_representation_missing:read as {said}" in series.notes


def test_values_over_the_whole_range_have_no_sign(tmp_path):
    values = np.linspace(0, 65535, 8 * 32 * 40).reshape(8, 32, 40).astype(np.uint16)
    tags = {"PixelRepresentation": None}
    write_single_frames(tmp_path / "s", store(values), "MR", intercept=0, tags=tags)
    np.testing.assert_array_equal(read(tmp_path / "s").pixels, values)


def test_a_modality_lut_beside_a_slope_is_ignored_and_noted(tmp_path):
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [2000, 0, 16])
    table.add_new("LUTData", "US", list(range(2000)))
    table.ModalityLUTType = "US"
    write_single_frames(
        tmp_path / "s", store(head()), tags={"ModalityLUTSequence": Sequence([table])}
    )
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert codes(series) == {"modality_lut_ignored"}


def with_mappings(path: Path, slopes: list[float], rescale: bool) -> None:
    dataset = pydicom.dcmread(path)
    if not rescale:
        del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    for group, slope in zip(dataset.PerFrameFunctionalGroupsSequence, slopes, strict=True):
        mapping = Dataset()
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, 5.0
        group.RealWorldValueMappingSequence = Sequence([mapping])
    dataset.save_as(path)


@pytest.mark.parametrize("rescale", [False, True], ids=["no rescale", "identity"])
def test_slopes_of_real_world_values_make_frames_comparable(tmp_path, rescale):
    slopes = [float(k + 1) for k in range(8)]
    write_multi_frame(tmp_path / "s" / "one", store(head()))
    with_mappings(tmp_path / "s" / "one", slopes, rescale)
    series = read(tmp_path / "s")
    np.testing.assert_allclose(
        series.pixels, head() * np.array(slopes)[:, None, None] + 5, rtol=1e-6
    )
    assert "real_world_value:8" in series.notes


def test_one_mapping_to_real_world_values_for_all_frames_changes_nothing(tmp_path):
    write_multi_frame(tmp_path / "s" / "one", store(head()))
    with_mappings(tmp_path / "s" / "one", [3.0] * 8, True)
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head())
    assert codes(series) == set()


def test_mappings_to_real_world_values_beside_a_rescale_are_noted(tmp_path):
    write_multi_frame(tmp_path / "s" / "one", store(head()), slopes=[2.0] * 8)
    with_mappings(tmp_path / "s" / "one", [float(k + 1) for k in range(8)], True)
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, 2 * head())
    assert "real_world_value_ignored:8" in series.notes


# How pixels are encoded.


def state_syntax(folder: Path, old: str, new: str) -> None:
    """Write another transfer syntax into the file meta information."""
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == old
        data = path.read_bytes()
        at = data.index(b"\x02\x00\x10\x00UI")
        (length,) = struct.unpack_from("<H", data, at + 6)
        value = new.encode() + b"\0" * (len(new) % 2)
        head_, tail = data[: at + 6], data[at + 8 + length :]
        path.write_bytes(head_ + struct.pack("<H", len(value)) + value + tail)


@pytest.mark.parametrize("stated", [JPEGLSLossless, RLELossless, JPEG2000Lossless])
def test_uncompressed_pixels_under_a_compressed_syntax_are_read_and_noted(tmp_path, stated):
    write_single_frames(tmp_path / "s", store(head()))
    state_syntax(tmp_path / "s", ExplicitVRLittleEndian, stated)
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert codes(series) == {"native_pixels"}


@pytest.mark.parametrize("actual", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("stated", [ExplicitVRLittleEndian, JPEGBaseline8Bit])
def test_pixels_that_are_compressed_otherwise_than_stated_are_read_and_noted(
    tmp_path, actual, stated
):
    write_single_frames(tmp_path / "s", store(head()))
    transcode(tmp_path / "s", actual)
    state_syntax(tmp_path / "s", actual, stated)
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    native = stated == ExplicitVRLittleEndian
    told = {"compressed_pixels" if native else "other_compression"}
    assert codes(series) - {"lossy_compression"} == told


@pytest.mark.parametrize(
    "other", [RLELossless, JPEGLSLossless, JPEG2000Lossless, ExplicitVRBigEndian]
)
def test_two_encodings_of_one_image_are_one_image(tmp_path, other):
    write_single_frames(tmp_path / "s", store(head()))
    if other == ExplicitVRBigEndian:
        write_single_frames(tmp_path / "again", store(head()), syntax=other)
    else:
        write_single_frames(tmp_path / "again", store(head()))
        transcode(tmp_path / "again", other)
    (tmp_path / "again").rename(tmp_path / "s" / "again")
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, head() + HU)
    assert "duplicate_sop:8" in series.notes
    assert series.status == "read"


def test_of_an_image_and_its_lossy_copy_the_image_is_kept(tmp_path):
    smooth = np.add.outer(np.arange(8), np.add.outer(np.arange(32), np.arange(40))) + 1000
    write_single_frames(tmp_path / "s" / "b", store(smooth.astype(np.int16)))
    blurred = (smooth + np.random.default_rng(0).integers(-1, 2, smooth.shape)).astype(np.int16)
    lossy = {"LossyImageCompression": "01"}
    write_single_frames(tmp_path / "s" / "a", store(blurred), tags=lossy)
    series = read(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, smooth + HU)
    assert "duplicate_sop:8" in series.notes
    assert series.status == "read"


def test_what_a_decoder_prints_reaches_the_log_with_the_files_name(tmp_path):
    """GDCM's JPEG library writes to the process's standard error."""
    bundled = Path(pydicom.__file__).parent / "data" / "test_files" / "JPGExtended.dcm"
    dataset = pydicom.dcmread(bundled)
    dataset.Modality, dataset.SOPClassUID = "MR", pydicom.uid.MRImageStorage
    del dataset.ConversionType
    (tmp_path / "s").mkdir()
    dataset.save_as(tmp_path / "s" / "x.dcm")
    code = (
        "import sys; from pathlib import Path; from intracranial.imaging.series import read_series;"
        f"print(read_series(Path({str(tmp_path / 's')!r})).messages)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=os.getcwd(), check=True
    )
    assert done.stderr == ""
    assert "x.dcm" in done.stdout or done.stdout.strip() == "()"


def test_what_is_printed_while_pixels_are_decoded_is_caught():
    from intracranial.imaging.dicom.decoder_output import caught_output

    messages: list[str] = []
    with caught_output(messages):
        os.write(2, b"Unsupported JPEG data precision 12\nUnsupported JPEG data precision 12\n")
        os.write(2, b"\xff odd   words \n")
    assert messages == ["Unsupported JPEG data precision 12", "\ufffd odd words"]


def test_damaged_pixels_are_named_with_the_decoders_words(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    transcode(tmp_path / "s", JPEGLSLossless)
    path = tmp_path / "s" / "1.2.3.9.4.dcm"
    dataset = pydicom.dcmread(path)
    broken = bytearray(dataset.PixelData)
    broken[60:120] = bytes(60)
    dataset.PixelData = bytes(broken)
    dataset.save_as(path)
    try:
        series = read(tmp_path / "s")
    except SeriesError:
        pytest.fail("seven of eight slices are whole")
    lost = [entry for entry in series.left_out if entry.lost]
    assert all(entry.words for entry in lost) or len(series.images) == 8


# Geometry that changes inside a series.


@pytest.mark.parametrize(
    ("factor", "noted"), [(1.0001, None), (1.004, "pixel_spacing_varies:0.5-0.502 mm")]
)
def test_a_little_other_pixel_spacing_is_noted_from_half_a_pixel_on(tmp_path, factor, noted):
    spacing = [[0.5, 0.5]] * 5 + [[0.5 * factor, 0.5 * factor]] * 3
    write_single_frames(tmp_path / "s", store(head()), per_slice={"PixelSpacing": spacing})
    series = read(tmp_path / "s")
    assert len(series.images) == 8
    assert codes(series) == ({"pixel_spacing_varies"} if noted else set())
    assert noted is None or noted in series.notes


@pytest.mark.parametrize(("degrees", "noted"), [(0.01, False), (0.4, True), (2.0, True)])
def test_directions_that_change_by_a_fraction_of_a_degree_are_noted(tmp_path, degrees, noted):
    angle = np.radians(degrees)
    turned = [1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle))]
    orientations = [[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]] * 4 + [turned] * 4
    write_single_frames(
        tmp_path / "s", store(head()), per_slice={"ImageOrientationPatient": orientations}
    )
    series = read(tmp_path / "s")
    assert len(series.images) == 8
    assert codes(series) == ({"orientation_varies"} if noted else set())


def test_a_jump_along_the_plane_is_no_tilt(tmp_path):
    stored = store(head())
    shifted = stored.positions + np.where(np.arange(8)[:, None] >= 5, [15.0, 0, 0], 0)
    write_single_frames(tmp_path / "s", Stored(stored.images, stored.iop, shifted, stored.spacing))
    series = read(tmp_path / "s")
    assert codes(series) == {"shifted_in_plane"}
    assert "shifted_in_plane:1:largest 15.0 mm" in series.notes


def test_a_gap_in_a_tilted_stack_is_no_jump(tmp_path):
    stored = store(head(), spacing=(2.0, 0.5, 0.5))
    tilted = stored.positions + np.arange(8)[:, None] * np.array([0, 0.7, 0])
    kept = [0, 1, 2, 6, 7]
    write_single_frames(tmp_path / "s", Stored(stored.images[kept], stored.iop, tilted[kept]))
    series = read(tmp_path / "s")
    assert codes(series) == {"gaps", "gantry_tilt", "irregular_spacing"}
    assert "gantry_tilt:19.3 degrees" in series.notes
