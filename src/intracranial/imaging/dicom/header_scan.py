"""A fast header scan for files that it can prove plain; all others are left to pydicom.

Plain means: preamble and file meta, little endian, root tags strictly ascending, legal VRs that
agree with the data dictionary where they matter, lengths inside the file, ASCII text, numbers that
are numbers, and no sequence that the pipeline reads. The tests compare it with pydicom.
"""

import struct
from typing import Any

from pydicom import uid
from pydicom.datadict import dictionary_VR, tag_for_keyword

from intracranial.imaging.dicom.elements import (
    PRIVATE,
    READ_KEYWORDS,
    UNDECODED,
    Elements,
    decoded,
)

META_START = 132
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
DELIMITER_LENGTH = 8
DEEPEST_NESTING = 12
"""Levels of sequences that are skipped; deeper ones are left to pydicom."""

SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""VRs with a 16-bit and with a 32-bit length (PS3.5 7.1.2)."""

EXPLICIT, IMPLICIT = struct.Struct("<HH2sH"), struct.Struct("<HHI")
LENGTH = struct.Struct("<I")
BINARY = {"US": "H", "SS": "h", "US or SS": "H", "FD": "d"}
TEXT = frozenset({"UI", "CS", "LO", "TM", "DT"})
NUMBERS = {"DS": float, "IS": int}


AS_BYTES = "LO SH"
"""VRs of texts that are not decoded."""

OR_UNKNOWN = " UN"
"""End of the VRs of private elements, which copies of a file may have as UN."""


def _wanted() -> dict[int, tuple[str, str]]:
    """Tag -> keyword and VR of everything that is read."""
    public = [keyword for keyword in READ_KEYWORDS if keyword not in PRIVATE]
    tags = {keyword: tag_for_keyword(keyword) or 0 for keyword in public}
    found = {
        tag: (keyword, AS_BYTES if keyword in UNDECODED else dictionary_VR(tag))
        for keyword, tag in tags.items()
    }
    return found | {tag: (keyword, vr + OR_UNKNOWN) for keyword, (tag, vr) in PRIVATE.items()}


WANTED = _wanted()
REAL_WORLD_VALUES = tag_for_keyword("RealWorldValueMappingSequence")
"""A sequence that matters only where there is no RescaleSlope, or one of 1."""
PLAIN_SYNTAXES = {
    str(syntax): syntax
    for syntax in uid.AllTransferSyntaxes
    if syntax.is_little_endian and not syntax.is_deflated
}
META = {0x00020002: "MediaStorageSOPClassUID", 0x00020010: "TransferSyntaxUID"}


class NotPlain(Exception):
    """The file needs pydicom."""


def scan(data: bytes) -> Elements | None:
    """Root elements of a plain file.

    Args:
        data: the whole file.

    Returns:
        Values for `READ_KEYWORDS`, `MediaStorageSOPClassUID` and `TransferSyntaxUID`:
        str, int, float, a list of them, or a memoryview of bulk data, encapsulated pixels without
        their delimiter; None when the file is not plain.
    """
    try:
        found, position = file_meta(data)
        syntax = PLAIN_SYNTAXES.get(found.get("TransferSyntaxUID", ""))
        if syntax is None:
            return None
        _root(data, position, syntax, found)
    except (NotPlain, struct.error, ValueError):
        return None
    return Elements(found)


def file_meta(data: bytes) -> tuple[dict[str, Any], int]:
    """Group 0002 as `META`, and where the data set begins (PS3.10 7.1).

    Raises:
        NotPlain: there is no preamble, or the group is damaged.
    """
    if data[META_START - 4 : META_START] != b"DICM":
        raise NotPlain
    found: dict[str, Any] = {}
    position = META_START
    try:
        while data[position : position + 2] == b"\x02\x00":
            tag, _, start, length = _explicit(data, position)
            if tag in META:
                found[META[tag]] = _decoded("UI", data[start : start + length])
            position = start + length
    except (struct.error, ValueError) as error:
        raise NotPlain from error
    return found, position


def _explicit(data: bytes, position: int) -> tuple[int, bytes, int, int]:
    """Tag, VR, where the value begins, and its length."""
    group, element, vr, length = EXPLICIT.unpack_from(data, position)
    if vr in SHORT_VRS:
        return group << 16 | element, vr, position + 8, length
    if vr not in LONG_VRS or length:  # two reserved bytes
        if group != 0xFFFE:
            raise NotPlain
        return group << 16 | element, b"", position + 8, LENGTH.unpack_from(data, position + 4)[0]
    return group << 16 | element, vr, position + 12, LENGTH.unpack_from(data, position + 8)[0]


def _implicit(data: bytes, position: int) -> tuple[int, bytes, int, int]:
    group, element, length = IMPLICIT.unpack_from(data, position)
    return group << 16 | element, b"", position + 8, length


def _root(data: bytes, position: int, syntax: uid.UID, found: dict[str, Any]) -> None:
    """Read the root elements; nothing but zeros or padding may follow the pixels."""
    header = _implicit if syntax.is_implicit_VR else _explicit
    end, last, mapped = len(data), 0, False
    while position < end:
        if last >= PIXEL_DATA and not data[position:].strip(b"\0"):
            break
        tag, vr, start, length = header(data, position)
        if tag <= last or tag >> 16 == 0xFFFE:
            raise NotPlain
        last = tag
        keyword, wanted_vr = WANTED.get(tag, ("", ""))
        if wanted_vr == "SQ" and tag == REAL_WORLD_VALUES:
            keyword, mapped = "", True
        if length == UNDEFINED:
            if tag == PIXEL_DATA and syntax.is_encapsulated:
                position = _end_of_fragments(data, start)
                found[keyword] = memoryview(data)[start:position]
                position += DELIMITER_LENGTH
                continue
            if keyword or vr not in (b"", b"SQ"):
                raise NotPlain
            position = _end_of_sequence(data, start, header, 0)
            continue
        position = start + length
        if position > end:
            raise NotPlain
        if not keyword:
            continue
        if wanted_vr == "SQ" or (vr and vr.decode() not in wanted_vr):
            raise NotPlain
        if tag >> 16 == PIXEL_DATA >> 16:
            if tag == PIXEL_DATA and syntax.is_encapsulated:
                raise NotPlain
            found[keyword] = memoryview(data)[start:position]
        else:
            found[keyword] = _decoded(wanted_vr, data[start:position], vr)
    if mapped and found.get("RescaleSlope") in (None, 1.0):
        raise NotPlain


def _decoded(vr: str, raw: bytes, stated: bytes = b"") -> Any:  # noqa: ANN401
    """One value, or a list when there are several; None when empty."""
    if vr == AS_BYTES:
        return raw.strip(b"\0 ")
    if vr[2:] == OR_UNKNOWN:
        vr = vr[:2]
        if stated in (b"", b"UN"):
            return decoded(vr, raw)
    if vr in BINARY:
        code = BINARY[vr]
        values: list[Any] = list(struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw))
        return values[0] if len(values) == 1 else values or None
    text = raw.decode("ascii").rstrip("\0 ")
    if not text.isprintable() or (vr not in TEXT and vr not in NUMBERS):
        raise NotPlain
    parts: list[Any] = text.split("\\")
    if vr in NUMBERS:
        parts = [NUMBERS[vr](part) for part in parts] if text else [None]
    return parts[0] if len(parts) == 1 else parts


def _end_of_fragments(data: bytes, position: int) -> int:
    """Where the delimiter of encapsulated pixels begins (PS3.5 A.4)."""
    while True:
        tag, _, start, length = _implicit(data, position)
        if tag == SEQUENCE_END:
            return position
        if tag != ITEM or length == UNDEFINED or start + length > len(data):
            raise NotPlain
        position = start + length


def _end_of_sequence(data: bytes, position: int, header: Any, depth: int) -> int:  # noqa: ANN401
    """Where the data continues after a sequence of undefined length (PS3.5 7.5)."""
    while True:
        tag, _, start, length = _implicit(data, position)
        if tag == SEQUENCE_END:
            return start
        if tag != ITEM or depth > DEEPEST_NESTING:
            raise NotPlain
        position = (
            start + length if length != UNDEFINED else _end_of_item(data, start, header, depth)
        )
        if position > len(data):
            raise NotPlain


def _end_of_item(data: bytes, position: int, header: Any, depth: int) -> int:  # noqa: ANN401
    while True:
        tag, vr, start, length = header(data, position)
        if tag == ITEM_END:
            return start
        if length != UNDEFINED:
            position = start + length
        elif vr in (b"", b"SQ"):
            position = _end_of_sequence(data, start, header, depth + 1)
        else:
            raise NotPlain
