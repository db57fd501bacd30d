"""The size that a compressed image states in its own header, read before anything is decoded.

A stream of a few bytes may claim 65,535 x 65,535 pixels; a decoder would allocate them.
"""

import struct
from dataclasses import dataclass

JPEG_START, JPEG2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
JP2_BOX = b"\x00\x00\x00\x0cjP  "
"""A JPEG 2000 file header, which some writers put before the stream against PS3.5 A.4.4."""

FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15 of ISO 10918-1 without the three other tables between them, and SOF55 of JPEG-LS
(ISO 14495-1)."""

STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG markers without a length."""


@dataclass(frozen=True)
class Codestream:
    """Rows, columns and components that a stream states."""

    rows: int
    columns: int
    samples: int


def codestream_header(data: bytes) -> Codestream | None:
    """Read the size of a JPEG, JPEG-LS, JPEG 2000 or HTJ2K stream; None where there is none."""
    try:
        if data[:2] == JPEG_START:
            return _jpeg(data)
        if data[: len(JP2_BOX)] == JP2_BOX:
            data = data[max(data.find(JPEG2000_START), 0) :]
        return _jpeg2000(data) if data[:4] == JPEG2000_START else None
    except struct.error:
        return None


def _jpeg(data: bytes) -> Codestream | None:
    """Walk the marker segments to the frame header (ISO 10918-1 B.2.2)."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF or marker in STANDALONE:  # fill byte, or a marker alone
            position += 1 if marker == 0xFF else 2
            continue
        if marker in FRAME_MARKERS:
            rows, columns, samples = struct.unpack_from(">HHB", data, position + 5)
            return Codestream(rows, columns, samples)
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _jpeg2000(data: bytes) -> Codestream:
    """Read the SIZ segment, which comes first (ISO 15444-1 A.5.1)."""
    right, bottom, left, top = struct.unpack_from(">IIII", data, 8)
    (samples,) = struct.unpack_from(">H", data, 40)
    return Codestream(bottom - top, right - left, samples)
