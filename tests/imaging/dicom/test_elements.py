"""One type of elements, whichever reader has found them."""

import io
from types import NoneType

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from intracranial.imaging.dicom.elements import (
    PRIVATE,
    READ_KEYWORDS,
    Elements,
    Groups,
    element,
    has_decimal_comma,
    has_thousands_comma,
    item,
    items,
    number,
    numbers,
    private_number,
    text,
)
from intracranial.imaging.dicom.headers import slice_headers
from intracranial.imaging.dicom.parse import DicomFile, parse
from intracranial.imaging.dicom.pixels import decode_frames
from intracranial.imaging.values import modality_table, pixel_format
from tests.imaging.make_series import head, store, write_multi_frame, write_single_frames

READERS = ("scan", "pydicom")


def one_file(folder, **how) -> bytes:
    write_single_frames(folder / "s", store(head(1)), **how)
    (path,) = (folder / "s").iterdir()
    return path.read_bytes()


def parsed(data: bytes, reader="pydicom") -> DicomFile:
    file, code = parse(data, "x", reader)
    assert file is not None, code
    return file


def with_bytes(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    assert len(old) == len(new)
    return data.replace(old, new)


def plain_values(value) -> bool:
    """Whether a value is of the kinds that `Elements` promises."""
    if isinstance(value, tuple):
        return all(
            isinstance(part, Elements) and all(plain_values(part.value(k)) for k in part.keywords)
            for part in value
        )
    return not isinstance(value, Dataset | pydicom.Sequence | pydicom.DataElement)


@pytest.mark.parametrize("syntax", [{}, {"syntax": ImplicitVRLittleEndian}])
@pytest.mark.parametrize("compress", ["", RLELossless])
def test_both_readers_give_elements_with_the_same_values(tmp_path, syntax, compress):
    data = one_file(tmp_path, compress=compress, **syntax)
    scan, other = (parsed(data, reader).dataset for reader in READERS)
    assert type(scan) is type(other) is Elements
    for keyword in (name for name in READ_KEYWORDS if not name.endswith("PixelData")):
        assert (keyword in scan.keywords) == (keyword in other.keywords), keyword
        assert text(scan, keyword).rstrip(".0") == text(other, keyword).rstrip(".0"), keyword
        assert number(scan, keyword) == number(other, keyword), keyword
        assert numbers(scan, keyword) == numbers(other, keyword), keyword
    assert bytes(element(scan, "PixelData")) == bytes(element(other, "PixelData"))


def test_the_items_of_sequences_are_elements_too(tmp_path):
    write_multi_frame(tmp_path / "x", store(head()), order=[5, 0, 7, 2, 1, 6, 4, 3])
    dataset = parsed((tmp_path / "x").read_bytes()).dataset
    frames = items(dataset, "PerFrameFunctionalGroupsSequence")
    assert len(frames) == 8
    assert plain_values(frames)
    for frame in range(8):
        place = item(frames[frame], "PlanePositionSequence")
        assert type(place) is Elements
        groups = Groups(dataset, frame)
        assert groups.inside("PlanePositionSequence", "ImagePositionPatient") is place
        assert numbers(place, "ImagePositionPatient", 3)
    assert item(dataset, "PerFrameFunctionalGroupsSequence", 8) is None


def test_an_element_that_should_be_a_sequence_or_text_but_is_none_is_not_read(tmp_path):
    dataset = pydicom.dcmread(io.BytesIO(one_file(tmp_path)))
    dataset.add_new("PerFrameFunctionalGroupsSequence", "OB", b"no sequence!")
    dataset.add_new("StudyInstanceUID", "SQ", Sequence([Dataset()]))
    found = Elements.of(dataset)
    assert items(found, "PerFrameFunctionalGroupsSequence") == ()
    assert text(found, "StudyInstanceUID") == ""
    assert numbers(found, "StudyInstanceUID") == []
    assert len(slice_headers(found, "x")) == 1


def test_values_are_converted_when_they_are_first_asked_for_and_once(tmp_path, monkeypatch):
    write_multi_frame(tmp_path / "x", store(head()))
    asked = []
    get = Dataset.get

    def counted(self, key, default=None):
        asked.append(key)
        return get(self, key, default)

    monkeypatch.setattr(Dataset, "get", counted)
    dataset = parsed((tmp_path / "x").read_bytes()).dataset
    assert "PerFrameFunctionalGroupsSequence" not in asked
    first, again = (items(dataset, "PerFrameFunctionalGroupsSequence") for _ in range(2))
    assert first is again
    assert asked.count("PerFrameFunctionalGroupsSequence") == 1


@pytest.mark.parametrize(
    ("keyword", "old", "new", "value"),
    [
        ("RescaleIntercept", b"DS\x08\x00-1024.0 ", b"DS\x08\x00-1024,5 ", -1024.5),
        ("InstanceNumber", b"IS\x02\x001 ", b"IS\x02\x00.5", 0.5),
        ("InstanceNumber", b"IS\x02\x001 ", b"IS\x02\x001\0", 1.0),
        ("InstanceNumber", b"IS\x02\x001 ", b"IS\x02\x00ab", None),
        ("InstanceNumber", b"IS\x02\x001 ", b"LO\x02\x001 ", 1.0),
        ("Rows", b"\x28\x00\x10\x00US\x02\x00\x20\x00", b"\x28\x00\x10\x00DS\x02\x0032", 32.0),
        ("Rows", b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00ZZ\x02\x00", None),
    ],
)
def test_an_odd_value_is_read_or_unreadable_and_never_an_error(tmp_path, keyword, old, new, value):
    data = with_bytes(one_file(tmp_path), old, new)
    for reader in READERS:
        dataset = parsed(data, reader).dataset
        assert keyword in dataset.keywords
        for _ in range(2):  # the first look converts it
            assert number(dataset, keyword) == value


def test_commas_are_seen_as_the_file_has_them(tmp_path):
    data = one_file(tmp_path)
    decimal = with_bytes(data, b"DS\x08\x00-1024.0 ", b"DS\x08\x00-1024,5 ")
    thousands = with_bytes(data, b"DS\x08\x00-1024.0 ", b"DS\x08\x00-1,024  ")
    for content, comma, separator in ((data, 0, 0), (decimal, 1, 0), (thousands, 1, 1)):
        for reader in READERS:
            dataset = parsed(content, reader).dataset
            for _ in range(2):
                assert has_decimal_comma(dataset, "RescaleSlope", "RescaleIntercept") == comma
                assert has_thousands_comma(dataset, "RescaleIntercept") == separator
                number(dataset, "RescaleIntercept")


def test_private_elements_are_found_in_the_block_of_their_maker(tmp_path):
    source = pydicom.dcmread(io.BytesIO(one_file(tmp_path)))
    source.private_block(0x0019, "SOMEBODY ELSE", create=True).add_new(0x0A, "US", 3)
    source.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 16)
    file = io.BytesIO()
    source.save_as(file)
    for reader in READERS:
        dataset = parsed(file.getvalue(), reader).dataset
        assert private_number(dataset, "SiemensImagesInMosaic") == 16
        assert private_number(dataset, "GERawDataType") is None


@pytest.mark.parametrize("sign", [0, 1])
def test_a_stated_sign_counts_for_the_numbers_that_depend_on_it(tmp_path, sign):
    """US or SS in implicit VR, beside the pixels and inside of a sequence."""
    table = Dataset()
    table.add_new("LUTDescriptor", "SS", [2, -5, 16])
    table.LUTData = np.array([7, 9], "<u2").tobytes()
    table["LUTData"].VR = "OW"
    tags = {"PixelRepresentation": None, "RescaleSlope": None, "RescaleIntercept": None}
    data = one_file(tmp_path, syntax=ImplicitVRLittleEndian, tags=tags)
    source = pydicom.dcmread(io.BytesIO(data))
    source.ModalityLUTSequence = Sequence([table])
    source.add_new("PixelPaddingValue", "SS", -2000)
    file = io.BytesIO()
    source.save_as(file)
    dataset = parsed(file.getvalue()).dataset
    assert number(dataset, "PixelRepresentation") is None
    dataset.state("PixelRepresentation", sign)
    assert number(dataset, "PixelRepresentation") == sign
    assert pixel_format(dataset, True).padding == ((-2000,) * 2 if sign else (63536,) * 2)
    found = modality_table(dataset)
    assert found is not None
    assert found.first == (-5 if sign else 65531)
    np.testing.assert_array_equal(found.outputs, [7, 9])


@pytest.mark.parametrize("reader", READERS)
def test_what_is_stated_replaces_and_what_is_dropped_is_gone(tmp_path, reader):
    file = parsed(one_file(tmp_path), reader)
    file.dataset.state("NumberOfFrames", 3)
    assert number(file.dataset, "NumberOfFrames") == 3
    assert [type(words) for _, words in decode_frames(file, [0])] == [np.ndarray]
    file.dataset.drop("PixelData")
    file.dataset.drop("FloatPixelData")
    assert "PixelData" not in file.dataset.keywords
    assert isinstance(element(file.dataset, "PixelData"), NoneType)
    assert file.dataset.stored("PixelData") is None


def test_an_absent_element_has_no_value_of_any_kind():
    for dataset in (None, Elements({}), Elements.of(Dataset())):
        for keyword in (*READ_KEYWORDS, *PRIVATE):
            assert element(dataset, keyword) is None
            assert text(dataset, keyword) == ""
            assert number(dataset, keyword) is None
            assert numbers(dataset, keyword) == []
            assert items(dataset, keyword) == ()
