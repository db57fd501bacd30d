"""How many frames an object holds, and of how many bytes."""

from collections.abc import Sequence

from src.imaging.headers import element, integer, numbers, set_frame_count
from src.imaging.outcome import Findings
from src.imaging.parse import DicomFile
from src.imaging.pixels import is_native

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
                set_frame_count(dataset, begun)
                findings.leave_out("frames_missing", file.file)
            continue
        frames = held // size
        if frames < 2 or held - frames * size > PAD_BYTES:
            continue
        if len(files) == 1 or not numbers(dataset, "ImagePositionPatient", 3):
            set_frame_count(dataset, frames)
            findings.noticed["frames_counted"] += 1
        else:
            findings.noticed["excess_pixel_data"] += 1


def frame_size(file: DicomFile) -> int:
    """Bytes of one uncompressed frame, 0 when the header does not tell."""
    pixels = (integer(file.dataset, "Rows") or 0) * (integer(file.dataset, "Columns") or 0)
    return pixels * (integer(file.dataset, "BitsAllocated") or 0) // 8


def bytes_of(file: DicomFile, keyword: str) -> bytes | memoryview:
    """A bulk element of the file, b"" when it has none."""
    value = element(file.dataset, keyword)
    return value if isinstance(value, bytes | memoryview) else b""
