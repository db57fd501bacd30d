"""Geometry and values agree with SimpleITK's series reader (GDCM) on generated series.

Both readers give a volume, its order and a map from voxels to patient coordinates; they share no
code but GDCM's JPEG and JPEG-LS codecs. Where the two differ on purpose, a test says how and why.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import Series, read_series
from tests.imaging.make_series import (
    Stored,
    head,
    store,
    transcode,
    write_multi_frame,
    write_single_frames,
)

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK of requirements-dev.txt is missing")

SPACING_TOLERANCE_MM = 1e-3
AS_STORED = replace(STANDARD, orient="stored", rescale="always")
TAGGED_12_BIT = {"BitsStored": 12, "HighBit": 11}


def by_simpleitk(folder: Path) -> "sitk.Image":
    """The folder's one series as float64, sorted by GDCM along the slice normal."""
    reader = sitk.ImageSeriesReader()
    (uid,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid))
    reader.SetOutputPixelType(sitk.sitkFloat64)  # else the first file's type truncates the others
    return reader.Execute()


def itk_affine(image: "sitk.Image") -> np.ndarray:
    """Float64 (4, 4): (column, row, slice, 1) to LPS mm, as `Geometry.affine`."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


def itk_spacing(image: "sitk.Image") -> tuple[float, float, float]:
    """Mm between slices, rows, columns, as `Geometry.spacing`."""
    column, row, along = image.GetSpacing()
    return along, row, column


def assert_same_values(pixels: np.ndarray, image: "sitk.Image") -> None:
    """Equal but for the rounding of float32, in which this program holds values."""
    np.testing.assert_allclose(pixels, sitk.GetArrayFromImage(image), rtol=1e-6, atol=1e-4)


def assert_agree(folder: Path) -> Series:
    """Same order, values, spacing and affine with images as stored; canonical by position."""
    image = by_simpleitk(folder)
    series = read_series(folder, AS_STORED)
    assert_same_values(series.pixels, image)
    np.testing.assert_allclose(
        series.geometry.spacing, itk_spacing(image), atol=SPACING_TOLERANCE_MM
    )
    np.testing.assert_allclose(series.geometry.affine, itk_affine(image), atol=SPACING_TOLERANCE_MM)
    assert_same_at_the_same_place(read_series(folder, replace(STANDARD, rescale="always")), image)
    return series


def assert_same_at_the_same_place(series: Series, image: "sitk.Image") -> None:
    """Every canonical voxel has the value that SimpleITK has at its place in the patient."""
    values = sitk.GetArrayFromImage(image)
    index = np.indices(series.pixels.shape).reshape(3, -1)  # slice, row, column
    place = series.geometry.affine @ np.vstack([index[::-1], np.ones(index.shape[1])])
    there = np.rint(np.linalg.solve(itk_affine(image), place))[2::-1].astype(int)
    np.testing.assert_allclose(series.pixels.ravel(), values[tuple(there)], rtol=1e-6, atol=1e-4)


def turned(stored: Stored, degrees: tuple[float, float, float]) -> Stored:
    """The same images in a patient turned about x, then y, then z."""
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one = np.eye(3)
        first, second = [other for other in range(3) if other != axis]
        one[first, first] = one[second, second] = np.cos(angle)
        one[first, second], one[second, first] = -np.sin(angle), np.sin(angle)
        rotation = one @ rotation
    cosines = np.reshape(stored.iop, (2, 3)) @ rotation.T
    return Stored(
        stored.images, tuple(cosines.ravel()), stored.positions @ rotation.T, stored.spacing
    )


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"reverse": True},
        {"flip_rows": True},
        {"flip_cols": True, "reverse": True},
        {"transpose": True},
    ],
    ids=str,
)
def test_planes_and_layouts_agree(tmp_path, plane, layout):
    write_single_frames(tmp_path / "s", store(head(), plane, **layout))
    assert assert_agree(tmp_path / "s").geometry.plane in (plane, "oblique")


@pytest.mark.parametrize("degrees", [(12, 0, 0), (0, -20, 7), (25, 15, -30)])
def test_oblique_series_agree(tmp_path, degrees):
    write_single_frames(tmp_path / "s", turned(store(head()), degrees))
    assert_agree(tmp_path / "s")


def test_shuffled_file_names_and_instance_numbers_agree(tmp_path):
    shuffle = [3, 1, 7, 5, 0, 2, 6, 4]
    write_single_frames(
        tmp_path / "s",
        store(head()),
        names=[f"{k}.IMA" for k in shuffle],
        per_slice={"InstanceNumber": [8 - k for k in shuffle]},
    )
    assert_agree(tmp_path / "s")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_signed_and_unsigned_words_agree(tmp_path, dtype):
    limits = np.iinfo(dtype)
    volume = np.random.default_rng(1).integers(limits.min, limits.max, (5, 12, 14), endpoint=True)
    write_single_frames(tmp_path / "s", store(volume.astype(dtype)), modality="MR", intercept=0)
    assert_agree(tmp_path / "s")


@pytest.mark.parametrize("signed", [False, True])
def test_twelve_bits_in_sixteen_agree(tmp_path, signed):
    low = -2048 if signed else 0
    volume = np.random.default_rng(2).integers(low, low + 4096, (5, 12, 14))
    write_single_frames(
        tmp_path / "s", store(volume.astype(np.int16 if signed else np.uint16)), tags=TAGGED_12_BIT
    )
    assert_agree(tmp_path / "s")


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (2, -1000), ("0.48852", "-12.5")])
def test_a_rescale_of_the_series_agrees(tmp_path, slope, intercept):
    write_single_frames(tmp_path / "s", store(head()), slope=slope, intercept=intercept)
    assert_agree(tmp_path / "s")


def test_a_rescale_of_each_slice_agrees(tmp_path):
    each = {
        "RescaleSlope": [f"{1 + k / 7:.5f}" for k in range(8)],
        "RescaleIntercept": [f"{-10.25 * k:.2f}" for k in range(8)],
    }
    write_single_frames(tmp_path / "s", store(head()), modality="MR", per_slice=each)
    assert_agree(tmp_path / "s")


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
    ids=lambda syntax: syntax.name,
)
def test_uncompressed_encodings_agree(tmp_path, syntax):
    write_single_frames(tmp_path / "s", store(head()), syntax=syntax)
    assert_agree(tmp_path / "s")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "12 bit"])
@pytest.mark.parametrize(
    "syntax",
    [RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless],
    ids=lambda syntax: syntax.name,
)
def test_lossless_compression_agrees(tmp_path, syntax, dtype):
    volume = head() // 8 if dtype == "uint8" else head()
    words = volume.astype("uint16" if dtype == "12 bit" else dtype)
    tags = TAGGED_12_BIT if dtype == "12 bit" else {}
    write_single_frames(tmp_path / "s", store(words), tags=tags)
    transcode(tmp_path / "s", syntax)
    series = assert_agree(tmp_path / "s")
    np.testing.assert_array_equal(series.pixels, volume - 1024.0)


def test_twelve_bit_jpeg_extended_agrees(tmp_path):
    """No encoder is at hand; pydicom's own test file serves, relabelled as MR."""
    bundled = Path(pydicom.data.__file__).parent / "test_files" / "JPGExtended.dcm"
    dataset = pydicom.dcmread(bundled)
    dataset.Modality = "MR"
    dataset.SOPClassUID = MRImageStorage  # a capture without a place is refused
    del dataset.ConversionType
    (tmp_path / "s").mkdir()
    dataset.save_as(tmp_path / "s" / "x.dcm")
    image = sitk.ReadImage(str(tmp_path / "s" / "x.dcm"))
    assert_same_values(read_series(tmp_path / "s", AS_STORED).pixels, image)


def test_an_enhanced_file_with_frames_in_order_agrees(tmp_path):
    write_multi_frame(tmp_path / "s" / "x.dcm", store(head()))
    image = sitk.ReadImage(str(tmp_path / "s" / "x.dcm"))
    series = read_series(tmp_path / "s", AS_STORED)
    assert_same_values(series.pixels, image)
    np.testing.assert_allclose(series.geometry.affine, itk_affine(image), atol=SPACING_TOLERANCE_MM)


def test_frames_out_of_order_are_sorted_here_and_left_in_file_order_by_simpleitk(tmp_path):
    order = [5, 0, 7, 2, 1, 6, 4, 3]
    write_multi_frame(tmp_path / "s" / "x.dcm", store(head()), order=order)
    image = sitk.ReadImage(str(tmp_path / "s" / "x.dcm"))
    series = read_series(tmp_path / "s", AS_STORED)
    np.testing.assert_array_equal(series.frames, np.argsort(order))
    assert_same_values(series.pixels[order], image)


def test_the_slice_step_follows_a_tilted_gantry_where_simpleitk_takes_the_normal(tmp_path):
    """An ITK image has orthogonal axes, so its affine cannot hold the shear; values agree."""
    stored = store(head())
    stored.positions[:, 1] += 0.5 * np.arange(8)
    write_single_frames(tmp_path / "s", stored)
    image = by_simpleitk(tmp_path / "s")
    series = read_series(tmp_path / "s", AS_STORED)
    assert_same_values(series.pixels, image)
    np.testing.assert_allclose(
        series.geometry.affine[:, [0, 1, 3]],
        itk_affine(image)[:, [0, 1, 3]],
        atol=SPACING_TOLERANCE_MM,
    )
    np.testing.assert_allclose(series.geometry.slice_step, (0, 0.5, 2.0))
    assert any(note.startswith("gantry_tilt") for note in series.notes)


def test_a_gap_moves_the_mean_spacing_of_simpleitk_and_not_the_median_here(tmp_path):
    stored = store(head())
    stored.positions[5:, 2] += 6.0
    write_single_frames(tmp_path / "s", stored)
    image = by_simpleitk(tmp_path / "s")
    series = read_series(tmp_path / "s", AS_STORED)
    assert_same_values(series.pixels, image)
    assert series.geometry.spacing[0] == pytest.approx(2.0)
    assert itk_spacing(image)[0] == pytest.approx((7 * 2.0 + 6.0) / 7)
    np.testing.assert_allclose(series.geometry.slice_step[2], itk_spacing(image)[0])


def test_padding_is_filled_here_and_rescaled_like_any_value_by_simpleitk(tmp_path):
    images = head()
    images[:, :, :3] = -2000
    write_single_frames(tmp_path / "s", store(images), tags={"PixelPaddingValue": -2000})
    theirs = sitk.GetArrayFromImage(by_simpleitk(tmp_path / "s"))
    ours = read_series(tmp_path / "s", AS_STORED).pixels
    np.testing.assert_array_equal(ours[images != -2000], theirs[images != -2000])
    assert set(theirs[images == -2000]) == {-3024.0}
    assert set(ours[images == -2000]) == {ours[images != -2000].min()}


@pytest.mark.parametrize(("dtype", "tags"), [("uint8", {}), ("uint16", TAGGED_12_BIT)])
def test_monochrome1_agrees(tmp_path, dtype, tags):
    volume = head() // 8 if dtype == "uint8" else head()
    kind = {"PhotometricInterpretation": "MONOCHROME1"}
    write_single_frames(tmp_path / "s", store(volume.astype(dtype)), tags={**tags, **kind})
    assert_agree(tmp_path / "s")


def test_these_checks_can_fail(tmp_path):
    write_single_frames(tmp_path / "s", store(head()))
    path = next((tmp_path / "s").iterdir())
    image = by_simpleitk(tmp_path / "s")
    dataset = pydicom.dcmread(path)
    dataset.RescaleIntercept = -1023
    dataset.save_as(path)
    with pytest.raises(AssertionError):
        assert_same_values(read_series(tmp_path / "s", AS_STORED).pixels, image)
