"""Every file of pydicom's bundled test data reads, or is rejected with a true reason.

Only files that come with the installed pydicom are used; nothing is downloaded. The expected
outcome of every file is written down here, so that a change of behaviour is seen. `pytest -v`
prints the outcomes as a table.
"""

import os
import warnings
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.pixels import apply_modality_lut
from pydicom.uid import MRImageStorage

from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import ReadLimits, Series, SeriesError, read_series

BUNDLED = Path(pydicom.data.__file__).parent
FOLDERS = ("test_files", "charset_files", "palettes")
READERS = ("scan", "pydicom")
READ = "read"

EXPECTED = {
    READ: """
        test_files/693_J2KI.dcm test_files/CT_small.dcm test_files/J2K_pixelrep_mismatch.dcm
        test_files/MR_small.dcm test_files/MR_small_RLE.dcm test_files/MR_small_bigendian.dcm
        test_files/MR_small_expb.dcm test_files/MR_small_implicit.dcm
        test_files/MR_small_jp2klossless.dcm test_files/MR_small_jpeg_ls_lossless.dcm
        test_files/MR_small_padded.dcm test_files/examples_overlay.dcm
        test_files/dicomdirtests/77654033/CT2/* test_files/dicomdirtests/98892001/CT5N/*
        test_files/dicomdirtests/98892003/MR2/[!1]* test_files/dicomdirtests/98892003/MR700/*
    """,
    "localizer": """
        test_files/dicomdirtests/98892001/CT2N/* test_files/dicomdirtests/98892003/MR1/*
        test_files/dicomdirtests/98892003/MR2/15970
    """,
    "undecodable_pixels": "test_files/MR_truncated.dcm",
    "unsupported_modality": """
        test_files/ExplVR_BigEnd.dcm test_files/GDCMJ2K_TextGBR.dcm test_files/JPEG-lossy.dcm
        test_files/JPEG2000-embedded-sequence-delimiter.dcm test_files/JPEG2000.dcm
        test_files/JPEGLSNearLossless_08.dcm test_files/JPEGLSNearLossless_16.dcm
        test_files/JPGExtended.dcm test_files/SC_*.dcm test_files/dicomdirtests/77654033/CR*
        test_files/examples_jpeg2k.dcm test_files/examples_palette.dcm
        test_files/examples_rgb_color.dcm test_files/examples_ybr_color.dcm
        test_files/image_dfl.dcm test_files/meta_missing_tsyntax.dcm
        test_files/nested_priv_SQ.dcm charset_files/chrArab.dcm charset_files/chrFren.dcm
        charset_files/chrFrenMulti.dcm charset_files/chrGerm.dcm charset_files/chrGreek.dcm
        charset_files/chrH31.dcm charset_files/chrH32.dcm charset_files/chrHbrw.dcm
        charset_files/chrI2.dcm charset_files/chrRuss.dcm charset_files/chrX1.dcm
        charset_files/chrX2.dcm
    """,
    "no_pixels": """
        test_files/ExplVR_BigEndNoMeta.dcm test_files/ExplVR_LitEndNoMeta.dcm
        test_files/UN_sequence.dcm test_files/badVR.dcm test_files/dicomdirtests/DICOMDIR*
        test_files/dicomdirtests/TINY_ALPHA/DICOMDIR test_files/dicomdirtests/TINY_ALPHA/PT*
        test_files/empty_charset_LEI.dcm test_files/liver_1frame.dcm
        test_files/liver_expb_1frame.dcm test_files/no_meta_group_length.dcm
        test_files/priv_SQ.dcm test_files/reportsi*.dcm test_files/rtdose*.dcm
        test_files/rtplan.dcm test_files/rtplan_truncated.dcm test_files/rtstruct.dcm
        test_files/test-SR.dcm test_files/waveform_ecg.dcm charset_files/chrJapMulti*.dcm
        charset_files/chrKoreanMulti.dcm charset_files/chrSQEncoding*.dcm palettes/*.dcm
    """,
    "not_dicom": """
        test_files/*.txt test_files/crayons.icc test_files/dicomdirtests/README.txt
        test_files/dicomdirtests/TINY_ALPHA/README test_files/no_meta.dcm test_files/*.dump
        test_files/*.json test_files/zipMR.gz charset_files/FileInfo.txt palettes/README.md
    """,
}
"""Outcome -> patterns of files. RTDOSE, SEG and RTSTRUCT count as having no image pixels;
no_meta.dcm starts with a stray byte, so that no DICOM reader finds an element in it."""

RELABELLED = {
    READ: """
        test_files/JPEG-lossy.dcm test_files/JPEG2000.dcm test_files/JPEGLSNearLossless_08.dcm
        test_files/JPEGLSNearLossless_16.dcm test_files/JPGExtended.dcm test_files/badVR.dcm
        test_files/dicomdirtests/77654033/CR* test_files/image_dfl.dcm test_files/liver_*.dcm
        test_files/rtdose*.dcm charset_files/chr[AFGRX]*.dcm charset_files/chrH*.dcm
        charset_files/chrI2.dcm
    """,
    "undecodable_pixels": "test_files/JPEG2000-embedded-sequence-delimiter.dcm",
    "colour_only": """
        test_files/ExplVR_BigEnd.dcm test_files/GDCMJ2K_TextGBR.dcm
        test_files/SC_jpeg*.dcm test_files/SC_rgb_[!j]*.dcm test_files/SC_rgb_j*_*.dcm
        test_files/SC_ybr*.dcm test_files/examples_jpeg2k.dcm test_files/examples_palette.dcm
        test_files/examples_rgb_color.dcm test_files/examples_ybr_color.dcm
    """,
    "bad_shape": "test_files/meta_missing_tsyntax.dcm test_files/nested_priv_SQ.dcm",
}
"""The same for images of other modalities after their Modality was set to MR. The code stream of
JPEG2000-embedded-sequence-delimiter.dcm has no header that a decoder accepts."""

LOSSY_TOLERANCE = 1
"""Stored grey levels by which two decoders of a lossy code stream may differ by rounding."""


@dataclass
class Outcome:
    """What `read_series` made of one file alone in a folder."""

    code: str
    words: str
    series: Series | None = None


def bundled_files() -> list[str]:
    return [
        path.relative_to(BUNDLED).as_posix()
        for folder in FOLDERS
        for path in sorted((BUNDLED / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def expected_outcome(table: dict[str, str], name: str) -> str:
    found = [
        code
        for code, patterns in table.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns.split())
    ]
    assert len(found) <= 1, f"{name} is listed as {found}"
    return found[0] if found else ""


def outcome_of(folder: Path, reader: str) -> Outcome:
    """Read the folder with images as stored, so that they compare with pydicom's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            series = read_series(
                folder, replace(STANDARD, orient="stored"), ReadLimits(reader=reader)
            )
    except SeriesError as error:
        return Outcome(error.code, error.message.replace(str(folder), "folder"))
    return Outcome(READ, ", ".join(series.notes), series)


def relabel(path: Path, target: Path) -> bool:
    """Write a copy of an image of another modality as MR; False for what is none."""
    if path.name == "SC_rgb_jpeg.dcm":
        return False  # implicit VR under an explicit syntax: pydicom cannot write it back
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        if "PixelData" not in dataset or dataset.get("Modality") in ("CT", "MR"):
            return False
        dataset.Modality = "MR"
        dataset.pop("ConversionType", None)  # else it is a capture, and refused for that
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
        implicit, little = dataset.original_encoding
        dataset.save_as(target, implicit_vr=implicit, little_endian=little)
    return True


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[tuple[str, str], Outcome]:
    """Outcome by reader and file; relabelled copies have "relabelled " before the name."""
    found = {}
    root = tmp_path_factory.mktemp("bundled")
    for number, name in enumerate(bundled_files()):
        plain, changed = root / f"{number}", root / f"{number}-as-mr"
        plain.mkdir()
        (plain / Path(name).name).symlink_to(BUNDLED / name)
        changed.mkdir()
        is_changed = relabel(BUNDLED / name, changed / Path(name).name)
        for reader in READERS:
            found[reader, name] = outcome_of(plain, reader)
            if is_changed:
                found[reader, f"relabelled {name}"] = outcome_of(changed, reader)
    return found


def parameters(table: dict[str, str], prefix: str = "") -> list[object]:
    """Parameters: name and expected outcome of every file on disk that the table has."""
    found = ((name, expected_outcome(table, name)) for name in bundled_files())
    return [pytest.param(prefix + name, code, id=name) for name, code in found if code]


@pytest.mark.parametrize(("name", "code"), parameters(EXPECTED))
def test_a_bundled_file_has_the_outcome_written_down(outcomes, name, code):
    outcome = outcomes["scan", name]
    assert outcome.code == code, outcome.words


@pytest.mark.parametrize(("name", "code"), parameters(RELABELLED, "relabelled "))
def test_the_same_images_labelled_as_mr_have_the_outcome_written_down(outcomes, name, code):
    outcome = outcomes["scan", name]
    assert outcome.code == code, outcome.words


def pydicom_values(path: Path, series: Series) -> tuple[np.ndarray, float]:
    """What pydicom makes of the slices of a series, float (n, rows, cols), and a tolerance.

    This program fills padding with the lowest valid value of the slice and inverts MONOCHROME1
    (DICOM leaves both to the reader), which pydicom does not; here both are done to pydicom's.
    """
    dataset = pydicom.dcmread(path, force=True)
    stored = dataset.pixel_array
    stored = stored.reshape(-1, *stored.shape[-2:])[series.frames]
    padded = np.zeros(stored.shape, dtype=bool)
    if "PixelPaddingValue" in dataset:
        padded = stored == dataset.PixelPaddingValue
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        low = -(1 << (dataset.BitsStored - 1)) if dataset.PixelRepresentation else 0
        stored = (2 * low + (1 << dataset.BitsStored) - 1) - stored.astype(np.int64)
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    for image, mask in zip(values, padded, strict=True):
        if mask.any():
            image[mask] = image[~mask].min()
    lossless = not any(note.startswith("lossy_compression") for note in series.notes)
    return values, 0.0 if lossless else LOSSY_TOLERANCE * float(dataset.get("RescaleSlope", 1))


PYDICOM_FAILS = {
    "relabelled test_files/badVR.dcm",
    "relabelled test_files/JPEG-lossy.dcm",
    "relabelled test_files/JPGExtended.dcm",
}
"""What pydicom alone cannot decode: NumberOfFrames "1A", 12-bit JPEG Extended."""


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("prefix", ["", "relabelled "])
def test_bundled_files_that_read_have_the_values_of_pydicom(outcomes, reader, prefix, tmp_path):
    compared = 0
    for (by, name), outcome in outcomes.items():
        if by != reader or outcome.series is None or name.startswith("relabelled") != bool(prefix):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                values, tolerance = pydicom_values(
                    BUNDLED / name.removeprefix("relabelled "), outcome.series
                )
            except (RuntimeError, ValueError):
                assert name in PYDICOM_FAILS
                continue
        np.testing.assert_allclose(
            outcome.series.pixels, values, rtol=1e-6, atol=tolerance, err_msg=name
        )
        compared += 1
    assert compared >= 20


def test_both_readers_make_the_same_of_every_bundled_file(outcomes):
    for (reader, name), outcome in outcomes.items():
        if reader == "scan":
            assert_same(outcome, outcomes["pydicom", name], name)


def assert_same(scan: Outcome, plain: Outcome, name: str) -> None:
    """The two readers agree on everything but the wording of a rejection."""
    assert scan.code == plain.code, f"{name}: {scan.words} / {plain.words}"
    if scan.series is None or plain.series is None:
        return
    assert scan.series.pixels.tobytes() == plain.series.pixels.tobytes(), name
    assert scan.series.positions.tobytes() == plain.series.positions.tobytes(), name
    for field in ("uid", "modality", "sop_uids", "geometry", "notes", "slice_notes", "linkage"):
        assert getattr(scan.series, field) == getattr(plain.series, field), f"{name}: {field}"


def test_the_outcomes_are_printed_as_a_table(outcomes, request, capsys):
    rows = [
        f"{name:<75} {outcome.code:<21} {outcome.words}"
        for (reader, name), outcome in outcomes.items()
        if reader == "scan"
    ]
    if request.config.getoption("verbose") > 0:
        with capsys.disabled():
            print("", *rows, sep="\n")
    assert len(rows) > len(bundled_files())


REAL = os.environ.get("ANEURYSM_REAL_DATA", "")


def real_folders() -> list[str]:
    """Folders of the real series that hold files, relative to their root."""
    return [os.path.relpath(where, REAL) for where, _, names in sorted(os.walk(REAL)) if names]


@pytest.mark.skipif(not REAL, reason="ANEURYSM_REAL_DATA does not name a folder of real series")
@pytest.mark.parametrize("folder", real_folders())
def test_both_readers_make_the_same_of_every_real_file_and_series(folder, tmp_path):
    """Each file alone, then all of the folder together."""
    folder = Path(REAL, folder)
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    for number, path in enumerate(files):
        alone = tmp_path / str(number)
        alone.mkdir()
        (alone / path.name).symlink_to(path.resolve())
        assert_same(outcome_of(alone, "scan"), outcome_of(alone, "pydicom"), str(path))
    assert_same(outcome_of(folder, "scan"), outcome_of(folder, "pydicom"), str(folder))
