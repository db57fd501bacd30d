"""What a compressed image states in its own header, read before anything is decoded.

A stream of a few bytes may claim 65,535 x 65,535 pixels, which a decoder would allocate; and
decoders in C end the process over some damage that the segments before the scan show.
"""

import struct
from dataclasses import dataclass, field

from pydicom import uid

JPEG_START, JPEG2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
JP2_BOX = b"\x00\x00\x00\x0cjP  "
"""A JPEG 2000 file header, which some writers put before the stream against PS3.5 A.4.4."""

SCAN, HUFFMAN_TABLES, LOSSLESS, JPEG_LS = 0xDA, 0xC4, 0xC3, 0xF7
"""Markers SOS, DHT, SOF3 and SOF55 (ISO 10918-1 B.1.1.3, ISO 14495-1 C.1.1)."""

FRAMES = frozenset({0xC0, 0xC1, 0xC2, LOSSLESS, JPEG_LS})
"""Frame headers of the processes that DICOM uses: baseline, extended, progressive, lossless, LS."""

LARGEST_PRECISION = 16


CODING_STYLE, TRANSFORM, REVERSIBLE = b"\xff\x52", 13, b"\x01"
"""Marker COD, where it states the wavelet, and the reversible 5-3 one (ISO 15444-1 A.6.1)."""

SYNTAXES = {
    0xC0: uid.JPEGBaseline8Bit,
    0xC1: uid.JPEGExtended12Bit,
    LOSSLESS: uid.JPEGLossless,
    JPEG_LS: uid.JPEGLSLossless,
}
"""Transfer syntax of a JPEG stream by its frame header."""

MOST_SEGMENTS = 15
RLE_HEADER = struct.Struct("<16I")
"""Number of segments and their offsets (PS3.5 G.5)."""


class DamagedStream(ValueError):
    """The segments before the scan are not what a decoder can work from."""


@dataclass(frozen=True)
class Codestream:
    """Rows, columns, components and bits per sample that a stream states."""

    rows: int
    columns: int
    samples: int
    bits: int
    kind: int = field(default=0, compare=False)
    """Marker of the frame header of a JPEG stream."""


def codestream_header(data: bytes) -> Codestream | None:
    """Read the header of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K stream; None where there is none.

    Raises:
        DamagedStream: the header does not reach to the scan, or lacks a table that it needs.
    """
    try:
        if data[:2] == JPEG_START:
            return _jpeg(data)
        if data[: len(JP2_BOX)] == JP2_BOX:
            data = data[max(data.find(JPEG2000_START), 0) :]
        return _jpeg2000(data) if data[:4] == JPEG2000_START else None
    except (struct.error, IndexError):
        raise DamagedStream("the header of the compressed image is cut short") from None


def syntax_of(data: bytes) -> uid.UID | None:
    """The transfer syntax of a compressed frame as its first bytes show it, None for no known one.

    JPEG 2000 counts as lossless where its wavelet is reversible, though it may be cut short.
    """
    if data[:2] == JPEG_START:
        try:
            return SYNTAXES.get(_jpeg(data).kind)
        except (DamagedStream, struct.error, IndexError):
            return None
    if data[: len(JP2_BOX)] == JP2_BOX or data[:4] == JPEG2000_START:
        at = data.find(CODING_STYLE)
        reversible = 0 < at and data[at + TRANSFORM : at + TRANSFORM + 1] == REVERSIBLE
        return uid.JPEG2000Lossless if reversible else uid.JPEG2000
    if len(data) > RLE_HEADER.size:
        count, *offsets = RLE_HEADER.unpack_from(data)
        used, unused = offsets[:count], offsets[count:]
        if 1 <= count <= MOST_SEGMENTS and used[0] == RLE_HEADER.size and not any(unused):
            return uid.RLELossless if used == sorted(used) else None
    return None


def _jpeg(data: bytes) -> Codestream:
    """Walk the marker segments up to the scan (ISO 10918-1 B.2)."""
    position, found, kind = 2, None, 0
    tables: set[int] = set()
    while True:
        while data[position] == 0xFF and data[position + 1] == 0xFF:  # fill bytes
            position += 1
        marker, (length,) = data[position + 1], struct.unpack_from(">H", data, position + 2)
        if data[position] != 0xFF or marker < 0xC0 or length < 2:
            raise DamagedStream(f"byte {position} of the compressed image begins no JPEG segment")
        segment = data[position + 4 : position + 2 + length]
        if marker in FRAMES:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", segment)
            found, kind = Codestream(rows, columns, samples, bits, marker), marker
        elif marker == HUFFMAN_TABLES:
            tables |= _huffman_tables(segment)
        elif marker == SCAN:
            break
        position += 2 + length
    if found is None or not 2 <= found.bits <= LARGEST_PRECISION:
        raise DamagedStream("the compressed image has no frame header of a known JPEG process")
    if kind != JPEG_LS and not _needed_tables(segment, kind) <= tables:
        raise DamagedStream("the compressed image lacks a Huffman table that its scan needs")
    return found


def _huffman_tables(segment: bytes) -> set[int]:
    """Class and identifier of every table of a DHT segment (B.2.4.2), as in the file."""
    found, position = set(), 0
    while position < len(segment):
        found.add(segment[position])
        position += 17 + sum(segment[position + 1 : position + 17])
    return found


def _needed_tables(scan: bytes, kind: int) -> set[int]:
    """Tables that the header of a scan refers to (B.2.3); a lossless one has no AC tables."""
    needed = set()
    for component in range(scan[0]):
        selectors = scan[2 + 2 * component]
        needed.add(selectors >> 4)
        if kind != LOSSLESS:
            needed.add(0x10 | selectors & 0x0F)
    return needed


def _jpeg2000(data: bytes) -> Codestream:
    """Read the SIZ segment, which comes first (ISO 15444-1 A.5.1)."""
    right, bottom, left, top = struct.unpack_from(">IIII", data, 8)
    samples, depth = struct.unpack_from(">HB", data, 40)
    return Codestream(bottom - top, right - left, samples, (depth & 0x7F) + 1)
