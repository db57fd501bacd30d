"""Real series, when their folder is named by the environment variable ANEURYSM_REAL_DATA."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from intracranial.imaging.series import SeriesError, read_series

ROOT = os.environ.get("ANEURYSM_REAL_DATA")
pytestmark = pytest.mark.skipif(
    not ROOT, reason="ANEURYSM_REAL_DATA does not name a folder of real series"
)


def real(*parts: str) -> Path:
    path = Path(ROOT or "", *parts)
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def alone(path: Path, tmp_path: Path) -> Path:
    """A folder that holds only this file."""
    folder = tmp_path / path.stem[-40:]
    folder.mkdir()
    shutil.copy(path, folder)
    return folder


LOSSLESS = [
    "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2",
    "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99",
    "JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90",
    "JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80",
    "JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70",
    "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57",
    "LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2",
    "RLELosslessTransferSyntax_1.2.840.10008.1.2.5",
]


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_transfer_syntaxes_agree_in_hu(syntax, tmp_path):
    folder = real("ct_transfer_syntaxes")
    plain = folder / "CTImage.dcm_LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm"
    expected = read_series(alone(plain, tmp_path)).pixels
    series = read_series(alone(folder / f"CTImage.dcm_{syntax}.dcm", tmp_path))
    np.testing.assert_array_equal(series.pixels, expected)


@pytest.mark.parametrize("code", ["53", "55"])
def test_retired_jpeg_is_rejected_by_name(code, tmp_path):
    (path,) = real("ct_transfer_syntaxes").glob(f"*1.2.840.10008.1.2.4.{code}.dcm")
    with pytest.raises(SeriesError, match=f"1.2.840.10008.1.2.4.{code}") as caught:
        read_series(alone(path, tmp_path))
    assert caught.value.code == "unsupported_transfer_syntax"


def test_an_object_without_pixels_is_rejected(tmp_path):
    with pytest.raises(SeriesError) as caught:
        read_series(alone(real("ct_transfer_syntaxes", "no-pixel-data.dcm"), tmp_path))
    assert caught.value.code == "no_pixels"


def test_mosaics_are_rejected_by_name():
    with pytest.raises(SeriesError, match="MOSAIC") as caught:
        read_series(real("mixed_syntax_series"))
    assert caught.value.code == "mosaic"


def test_a_series_in_seven_transfer_syntaxes_is_one_series_of_nine_slices(tmp_path):
    """Mosaics without anything that tells them."""
    tells = (
        (b"\\MOSAIC", b"\\OTHER "),
        (b"SIEMENS MR HEADER", b"ANOTHER MR HEADER"),
        (b"3.25\\3.25", b"0.25\\0.25"),
    )
    for path in real("mixed_syntax_series").iterdir():
        data = path.read_bytes()
        for old, new in tells:
            data = data.replace(old, new)
        (tmp_path / path.name).write_bytes(data)
    assert read_series(tmp_path).pixels.shape == (9, 384, 384)


@pytest.mark.parametrize("left", [b"\\MOSAIC", b"SIEMENS MR HEADER", b"3.25\\3.25"])
def test_each_tell_of_a_mosaic_is_enough(left, tmp_path):
    """The image type, the private element, or a field of view of 1,248 mm."""
    tells = {b"\\MOSAIC": b"\\OTHER ", b"SIEMENS MR HEADER": b"ANOTHER MR HEADER"}
    tells[b"3.25\\3.25"] = b"0.25\\0.25"
    for path in real("mixed_syntax_series").iterdir():
        data = path.read_bytes()
        for old, new in tells.items():
            data = data if old == left else data.replace(old, new)
        (tmp_path / path.name).write_bytes(data)
    with pytest.raises(SeriesError) as caught:
        read_series(tmp_path)
    assert caught.value.code == "mosaic"


def test_a_head_phantom_without_extensions_has_28_slices_of_5_mm():
    series = read_series(real("ct_head_phantom", "S2010"))
    assert series.pixels.shape == (28, 512, 512)
    assert series.geometry.spacing[0] == pytest.approx(5.0)
    assert "dicomdir:1" in series.notes


@pytest.mark.parametrize("name", ["5_anat-T1w_acq-tfl", "6_anat-T1w_acq-tfl"])
def test_enhanced_mr_objects_have_96_frames(name):
    assert len(read_series(real("enhanced_mr_with_reports", name)).pixels) == 96


def test_left_is_left_however_the_patient_lay():
    """Decubitus or supine, positions and orientation are in patient coordinates."""
    supine = read_series(real("patient_positions", "HFS"))
    decubitus = read_series(real("patient_positions", "HFDL"))
    for series in (supine, decubitus):
        assert series.pixels.shape == (35, 256, 256)
        assert series.geometry.plane == "sagittal"
        assert np.all(np.diff(series.positions[:, 0]) > 0)
        assert series.geometry.affine[1, 0] > 0  # columns to posterior
        assert series.geometry.affine[2, 1] < 0  # rows to inferior


@pytest.mark.parametrize("name", ["fmri", "dti"])
def test_one_volume_of_a_multi_volume_series_is_kept(name):
    series = read_series(real("vendor_cases", "philips_enhanced", name, "001"))
    assert len(series.pixels) == 8
    assert any(note.startswith("volumes_dropped") for note in series.notes)


def test_every_vendor_case_reads_or_has_a_true_reason():
    for folder, below, names in os.walk(real("vendor_cases")):
        if below or not names:
            continue
        try:
            series = read_series(Path(folder))
        except SeriesError as error:
            assert error.code == "colour_only", folder
        else:
            assert series.geometry.geometry_known, folder
