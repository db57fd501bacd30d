"""The bytes of one file -> a parsed image object, or the code of why there is none.

Plain files go through `imaging.dicom.header_scan`, all others through pydicom, with two repairs
that pydicom does not make: a compressed stream without its end, and a limit to what a deflated file
may become.
"""

import io
import struct
import sys
import warnings
import zlib
from dataclasses import dataclass, field
from typing import Literal

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from intracranial.imaging.dicom.codestream import syntax_of
from intracranial.imaging.dicom.elements import (
    READ_TAGS,
    Elements,
    element,
    frame_count,
    integer,
    text,
)
from intracranial.imaging.dicom.header_scan import PLAIN_SYNTAXES, NotPlain, file_meta, scan

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
NOT_AN_IMAGE = frozenset(
    {"SR", "PR", "KO", "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RWV", "REG", "FID", "DOC", "AU"}
)
"""Modalities of objects that lie beside images; their pixels, if any, are not a scan
(PS3.3 C.7.3.1.1.1)."""

NON_IMAGE_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
        "1.2.840.10008.5.1.4.1.1.66",  # Raw Data
        "1.2.840.10008.5.1.4.1.1.4.2",  # MR Spectroscopy
        "1.3.12.2.1107.5.9.1",  # Siemens CSA Non-Image
    }
)
"""SOP classes that may carry the Modality of a scan, but hold results or raw data (PS3.4 B.5)."""

Reader = Literal["scan", "pydicom"]
"""scan: `imaging.dicom.header_scan` for plain files and pydicom for all others; pydicom: for every
file."""

PREAMBLE = 128
INFLATED_AT_ONCE = 1 << 12
"""Compressed bytes that are inflated at a time while they are counted; at most 4 MiB result."""

ALWAYS_INFLATED, LARGEST_RATIO = 1 << 26, 100
"""A deflated file may become 64 MiB, or 100 times its size: images deflate to a half or a third,
and blank ones that go beyond are small."""

ENCAPSULATED_PIXELS = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"
"""Pixel Data of undefined length in explicit VR little endian."""

SHOWN = 1 << 16
"""Bytes of a compressed frame that tell how it is compressed."""

KNOWN_SYNTAXES = frozenset(AllTransferSyntaxes)
NATIVE_SYNTAXES = frozenset(syntax for syntax in AllTransferSyntaxes if not syntax.is_encapsulated)
JPEG_2000 = (JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL)
LOSSLESS_JPEG = (JPEGLossless, JPEGLosslessSV1)
ALIKE = {
    **dict.fromkeys(JPEG_2000, JPEG_2000),
    **dict.fromkeys(LOSSLESS_JPEG, LOSSLESS_JPEG),
    **dict.fromkeys((JPEGBaseline8Bit, JPEGExtended12Bit), (JPEGBaseline8Bit, JPEGExtended12Bit)),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), (JPEGLSLossless, JPEGLSNearLossless)),
}
"""Transfer syntaxes that the first bytes of a stream do not tell apart."""

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
SNIFFED = 1024
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass
class DicomFile:
    """One parsed image object."""

    file: str
    """Path below the series folder, with forward slashes."""

    dataset: Elements
    """Root elements of `READ_KEYWORDS`, pixel bytes included."""

    transfer_syntax: UID
    """How the pixels are encoded."""

    notes: tuple[str, ...] = ()
    """Stable codes of what was repaired."""

    messages: list[str] = field(default_factory=list)
    """What decoders have said about the pixels."""


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file's first bytes are DICOM, with or without the preamble of PS3.10 7.1."""
    if head[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return True
    # Without preamble the file starts at group 0002 or 0008, element below 0x0100.
    little = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] in (b"\x00",)
    big = head[:2] in (b"\x00\x02", b"\x00\x08") and head[2:3] in (b"\x00",)
    return len(head) >= 16 and (little or big)


def parse(
    data: bytes, name: str, reader: Reader = "scan", max_bytes: int = sys.maxsize
) -> tuple[DicomFile | None, str]:
    """Parse one file's bytes.

    Args:
        data: the whole file.
        name: path below the series folder.
        reader: whether the header scan may be used.
        max_bytes: most that a deflated data set may become.

    Returns:
        The image object, or None and a code of `imaging.outcome.CODES`.
    """
    elements = scan(data) if reader == "scan" else None
    notes: tuple[str, ...] = ()
    if elements is not None:
        syntax = PLAIN_SYNTAXES[text(elements, "TransferSyntaxUID")]
        stored_class = text(elements, "MediaStorageSOPClassUID")
    else:
        if _inflates_beyond(data, max_bytes):
            return None, "inflates_too_far"
        read = _with_pydicom(data)
        if read is None or not _has_pixels(read[0]):
            completed = _completed(data)
            again = None if completed is None else _with_pydicom(completed)
            if again is not None:
                read, notes = again, ("pixels_end_early",)
        if read is None:
            return None, "header_broken"
        elements, syntax, stored_class = read
    sop_class = text(elements, "SOPClassUID")
    if DICOMDIR_CLASS in (sop_class, stored_class):
        return None, "dicomdir"
    modality = text(elements, "Modality")
    if modality in NOT_AN_IMAGE or sop_class in NON_IMAGE_CLASSES:
        return None, f"non_image:{modality if modality in NOT_AN_IMAGE else sop_class}"
    if not _has_pixels(elements):
        kind = UID(sop_class).name
        other = kind.endswith("Storage") and "Image" not in kind
        return None, f"non_image:{sop_class}" if other else "no_pixels"
    encoded, note = actual_syntax(elements, syntax)
    return DicomFile(name, elements, encoded, (*notes, note) if note else notes), ""


def actual_syntax(elements: Elements, stated: UID) -> tuple[UID, str]:
    """The transfer syntax of the pixels themselves, and a note where the file states another.

    Some writers compress or decompress pixels and leave the transfer syntax as it was.
    """
    data = element(elements, "PixelData")
    if not isinstance(data, bytes | memoryview) or not len(data) or stated not in KNOWN_SYNTAXES:
        return stated, ""
    begins = bytes(data[:4]) == ITEM
    if not begins and stated in NATIVE_SYNTAXES:
        return stated, ""
    words = (
        (integer(elements, "Rows") or 0)
        * (integer(elements, "Columns") or 0)
        * (integer(elements, "SamplesPerPixel") or 1)
        * frame_count(elements)
    )
    native = words * (integer(elements, "BitsAllocated") or 0) // 8
    is_native = native > 0 and native <= len(data) <= native + 1
    if stated.is_encapsulated and is_native and not begins:
        return ExplicitVRLittleEndian, "native_pixels"
    if not begins or (is_native and not stated.is_encapsulated):
        return stated, ""
    found = syntax_of(_first_fragment(data))
    if found is None or found in ALIKE.get(stated, (stated,)):
        return stated, ""
    return found, "other_compression" if stated.is_encapsulated else "compressed_pixels"


def _first_fragment(data: bytes | memoryview) -> bytes:
    """The first compressed bytes behind the Basic Offset Table (PS3.5 A.4)."""
    position = 0
    for _ in range(2):
        if bytes(data[position : position + 4]) != ITEM or len(data) < position + 8:
            return b""
        (length,) = struct.unpack_from("<I", data, position + 4)
        start, position = position + 8, position + 8 + length
    return bytes(data[start : min(position, start + SHOWN)])


def _has_pixels(elements: Elements) -> bool:
    return not elements.keywords.isdisjoint(PIXEL_KEYWORDS)


def _with_pydicom(data: bytes) -> tuple[Elements, UID, str] | None:
    """Elements, transfer syntax and MediaStorageSOPClassUID; None when the header is damaged."""
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of them becomes a note
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=READ_TAGS)
        except Exception:  # damaged headers provoke no one family of exceptions in pydicom
            return None
    stated = getattr(dataset, "file_meta", None)
    meta = None if stated is None else Elements.of(stated)
    syntax = _transfer_syntax(dataset, meta)
    return Elements.of(dataset), syntax, text(meta, "MediaStorageSOPClassUID")


def _inflates_beyond(data: bytes, limit: int) -> bool:
    """Whether a deflated data set (PS3.5 A.5) becomes larger than `limit`, or than is credible."""
    try:
        meta, position = file_meta(data)
    except NotPlain:
        return False
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return False
    limit = min(limit, max(ALWAYS_INFLATED, LARGEST_RATIO * len(data)))
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        for start in range(position, len(data), INFLATED_AT_ONCE):
            total += len(inflater.decompress(data[start : start + INFLATED_AT_ONCE]))
            if total > limit:
                return True
    except zlib.error:
        return False  # pydicom will refuse it
    return False


def _completed(data: bytes) -> bytes | None:
    """A file whose encapsulated pixels lack their end, with the whole fragments and an end.

    The frames of a fragment that is cut off are then missing, never decoded from a part.
    """
    found = data.rfind(ENCAPSULATED_PIXELS)
    if found < 0:
        return None
    position = found + len(ENCAPSULATED_PIXELS)
    while data[position : position + 4] == ITEM:
        (length,) = struct.unpack_from("<I", data[position + 4 : position + 8].ljust(4, b"\xff"))
        if position + 8 + length > len(data):
            break
        position += 8 + length
    return data[:position] + DELIMITER


def _transfer_syntax(dataset: Dataset, meta: Elements | None) -> UID:
    """The stated transfer syntax, or the one that the encoding of the data set shows."""
    stated = text(meta, "TransferSyntaxUID")
    if stated:
        return UID(stated, validation_mode=pydicom.config.IGNORE)
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
