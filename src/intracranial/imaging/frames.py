"""How many frames an object holds, of how many bytes, and whether its words have a sign."""

from collections.abc import Sequence

import numpy as np

from intracranial.imaging.dicom.elements import element, frame_count, integer, numbers
from intracranial.imaging.dicom.parse import DicomFile
from intracranial.imaging.dicom.pixels import PixelError, decode_frames, is_native
from intracranial.imaging.outcome import Findings

PAD_BYTES = 1
"""Pixel data of odd length end in one byte of padding (PS3.5 8.1.1)."""


def count_frames(files: Sequence[DicomFile], findings: Findings) -> None:
    """Settle NumberOfFrames of uncompressed objects that lack it or state more than they hold.

    Where it is absent, a multiple of one frame's bytes are frames if nothing says that the object
    is one slice of a stack: it is alone or has no position. Else the first frame is read, as
    PS3.3 C.7.6.6 has it for an absent value.
    """
    for file in files:
        dataset = file.dataset
        stated, size = integer(dataset, "NumberOfFrames"), frame_size(file)
        if not size or not is_native(file):
            continue
        held = len(bytes_of(file, "PixelData"))
        begun = max(-(-held // size), 1)  # a frame that is cut off is reported when it is decoded
        if stated:
            if stated > begun:
                dataset.state("NumberOfFrames", begun)
                findings.leave_out("frames_missing", file.file)
            continue
        frames = held // size
        if frames < 2 or held - frames * size > PAD_BYTES:
            continue
        if len(files) == 1 or not numbers(dataset, "ImagePositionPatient", 3):
            dataset.state("NumberOfFrames", frames)
            findings.noticed["frames_counted"] += 1
        else:
            findings.noticed["excess_pixel_data"] += 1


LOOKED_AT = 8
"""Files whose values tell the sign of all."""

FEWEST_BITS = 3
"""A smaller BitsStored is damaged, or has no quarters of a range."""

FEWEST_NEGATIVE = 1e-3
"""Share of the words that make a sign credible; fewer may be metal or damage."""


def settle_signs(files: Sequence[DicomFile], findings: Findings) -> None:
    """State PixelRepresentation for objects that lack it, by the values of all of them.

    Read as unsigned, small negative values lie at the top of the range, and nearly nothing lies in
    its middle, where they would be the largest of both signs.
    """
    lacking = [
        file
        for file in files
        if integer(file.dataset, "PixelRepresentation") is None
        and "PixelData" in file.dataset.keywords
    ]
    if not lacking:
        return
    top = middle = total = 0
    for file in lacking[:: max(len(lacking) // LOOKED_AT, 1)]:
        bits = max(min(integer(file.dataset, "BitsStored") or 16, 16), FEWEST_BITS)
        for _, words in decode_frames(file, [frame_count(file.dataset) // 2]):
            if isinstance(words, PixelError) or words.dtype.kind not in "iu":
                continue
            values = words.astype(np.int64) & ((1 << bits) - 1)
            quarter = 1 << (bits - 2)
            top += int((values >= 3 * quarter).sum())
            middle += int((np.abs(values - 2 * quarter) < quarter // 2).sum())
            total += values.size
    signed = top > max(middle, FEWEST_NEGATIVE * total)
    for file in lacking:
        file.dataset.state("PixelRepresentation", int(signed))
    said = "signed" if signed else "unsigned"
    findings.remarks.append(f"pixel_representation_missing:read as {said}")


def frame_size(file: DicomFile) -> int:
    """Bytes of one uncompressed frame, 0 when the header does not tell."""
    pixels = (integer(file.dataset, "Rows") or 0) * (integer(file.dataset, "Columns") or 0)
    return pixels * (integer(file.dataset, "BitsAllocated") or 0) // 8


def bytes_of(file: DicomFile, keyword: str) -> bytes | memoryview:
    """A bulk element of the file, b"" when it has none."""
    value = element(file.dataset, keyword)
    return value if isinstance(value, bytes | memoryview) else b""
