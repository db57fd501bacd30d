"""The header scan takes plain files, finds what pydicom finds, and leaves all others alone."""

import io

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from intracranial.imaging.dicom.elements import PRIVATE, READ_KEYWORDS, Elements, element
from intracranial.imaging.dicom.header_scan import DEEPEST_NESTING, scan
from intracranial.imaging.dicom.headers import slice_headers
from tests.imaging.make_series import head, store, write_multi_frame, write_single_frames


def one_file(folder, **how) -> bytes:
    write_single_frames(folder / "s", store(head(1)), **how)
    (path,) = (folder / "s").iterdir()
    return path.read_bytes()


def with_sequence(data: bytes, depth: int, undefined: bool) -> bytes:
    """Add nested sequences to a file, with lengths or with delimiters."""
    inner = Dataset()
    inner.CodeValue = "X"
    for _ in range(depth):
        outer = Dataset()
        outer.ConceptNameCodeSequence = Sequence([inner])
        outer["ConceptNameCodeSequence"].is_undefined_length = undefined
        inner.is_undefined_length_sequence_item = undefined
        inner = outer
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.ReferencedImageSequence = Sequence([inner, Dataset()])
    dataset["ReferencedImageSequence"].is_undefined_length = undefined
    inner.is_undefined_length_sequence_item = undefined
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("compress", ["", RLELossless])
@pytest.mark.parametrize("undefined", [False, True])
def test_a_plain_file_gives_the_headers_of_pydicom(tmp_path, syntax, compress, undefined):
    data = with_sequence(one_file(tmp_path, syntax=syntax, compress=compress), 3, undefined)
    assert (data.count(b"\xfe\xff\xdd\xe0") > 1) == undefined
    found = scan(data)
    assert found is not None
    dataset = pydicom.dcmread(io.BytesIO(data))
    assert slice_headers(found, "x") == slice_headers(Elements.of(dataset), "x")
    assert bytes(element(found, "PixelData")) == dataset.PixelData
    public = set(READ_KEYWORDS) - set(PRIVATE)
    present = {keyword for keyword in public if keyword in dataset}
    assert present == found.keywords - {"TransferSyntaxUID", "MediaStorageSOPClassUID"}


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings_are_not_plain(tmp_path, syntax):
    assert scan(one_file(tmp_path, syntax=syntax)) is None


def test_functional_groups_are_not_plain(tmp_path):
    write_multi_frame(tmp_path / "x", store(head()))
    assert scan((tmp_path / "x").read_bytes()) is None


def test_text_beyond_ascii_is_not_plain(tmp_path):
    tags = {"SpecificCharacterSet": "ISO_IR 100", "PatientID": "Müller"}
    assert scan(one_file(tmp_path, tags=tags)) is None


def test_sequences_nested_too_deep_are_not_plain(tmp_path):
    data = one_file(tmp_path)
    assert scan(with_sequence(data, DEEPEST_NESTING - 2, True)) is not None
    assert scan(with_sequence(data, DEEPEST_NESTING + 2, True)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"DICM", b"DICO"),
        (b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00ZZ"),  # no VR
        (b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00SS"),  # another VR than the dictionary's
        (b"\x28\x00\x10\x00US", b"\x08\x00\x10\x00US"),  # a tag below the one before
        (b"\x20\x00\x13\x00IS\x02\x001 ", b"\x20\x00\x13\x00IS\x02\x001A"),
        (b"\x20\x00\x13\x00IS\x02\x00", b"\x20\x00\x13\x00IS\xff\xff"),  # beyond the end
    ],
)
def test_a_file_with_anything_odd_is_not_plain(tmp_path, old, new):
    data = one_file(tmp_path)
    assert data.count(old) == 1
    assert scan(data) is not None
    assert scan(data.replace(old, new)) is None


def test_no_cut_and_no_single_changed_byte_of_the_header_raises(tmp_path):
    data = one_file(tmp_path, compress=RLELossless)
    start = data.index(b"\xe0\x7f\x10\x00")
    for position in range(start + 40):
        scan(data[:position])
        for value in (0, 0x7F, 0xFF):
            scan(data[:position] + bytes([value]) + data[position + 1 :])


def test_cut_pixels_are_not_plain(tmp_path):
    data = one_file(tmp_path)
    assert scan(data[:-1]) is None
