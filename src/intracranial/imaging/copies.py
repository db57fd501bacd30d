"""The same object, or two objects of one name: what is a copy, what is a conflict.

Files are copied into a folder twice, and anonymisers give one SOPInstanceUID to many images.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from intracranial.imaging.dicom.headers import SliceHeader
from intracranial.imaging.dicom.parse import PIXEL_KEYWORDS, DicomFile
from intracranial.imaging.dicom.pixels import PixelError, decode_frames, is_native
from intracranial.imaging.folder import natural_key
from intracranial.imaging.frames import bytes_of, frame_size
from intracranial.imaging.outcome import Findings
from intracranial.imaging.values import pixel_format, stored_values

LOSSY_CORRELATION = 0.9
"""Of an image with its copy that was compressed with loss, however small it became."""

SamePixels = Callable[[SliceHeader, SliceHeader], bool]
"""Whether two slices have the same values."""


def pixel_comparison(files: Sequence[DicomFile]) -> SamePixels:
    """A function that says whether two slices of the files have the same values.

    Bytes are compared first, and what they mean where one of them is compressed. A copy that was
    compressed with loss is the same where it differs by little.
    """
    by_name = {file.file: file for file in files}

    def same(one: SliceHeader, other: SliceHeader) -> bool:
        if (one.shape, one.slope, one.intercept) != (other.shape, other.slope, other.intercept):
            return False
        a, b = by_name[one.file], by_name[other.file]
        alike = a.transfer_syntax == b.transfer_syntax
        if alike and one.frame == other.frame:
            if all(bytes_of(a, keyword) == bytes_of(b, keyword) for keyword in PIXEL_KEYWORDS):
                return True
        size, other_size = frame_size(a), frame_size(b)
        as_stored = alike and is_native(a) and one.lossy == other.lossy
        if as_stored and size and size == other_size:
            left, right = bytes_of(a, "PixelData"), bytes_of(b, "PixelData")
            first, second = one.frame * size, other.frame * size
            return left[first : first + size] == right[second : second + size]
        left_values, right_values = _values(a, one.frame), _values(b, other.frame)
        if left_values is None or right_values is None or left_values.shape != right_values.shape:
            return False
        if one.lossy == other.lossy:
            return bool((left_values == right_values).all())
        return bool(_correlation(left_values, right_values) >= LOSSY_CORRELATION)

    return same


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if not np.ptp(one) or not np.ptp(other):
        return float(np.ptp(one) == np.ptp(other))
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _values(file: DicomFile, frame: int) -> np.ndarray | None:
    """Stored values of one frame, float64 (rows, cols); None where they do not decode."""
    ((_, words),) = decode_frames(file, [frame])
    if isinstance(words, PixelError):
        return None
    words = np.ascontiguousarray(words, words.dtype.newbyteorder("="))
    return stored_values(words, pixel_format(file.dataset, is_native(file)))[0].astype(np.float64)


def numbered(header: SliceHeader) -> tuple[object, ...]:
    """Order by InstanceNumber, then natural file name."""
    number = header.instance_number
    return (number is None, number or 0, natural_key(header.file), header.frame)


def preference(header: SliceHeader) -> tuple[object, ...]:
    """Order in which equals are taken; file names decide only between equal SOPInstanceUIDs.

    Of an image and its copy that was compressed with loss, the image is taken.
    """
    none, number, *by_name = numbered(header)
    return (none, number, header.lossy, header.sop_uid, *by_name)


def without_copies(
    headers: Sequence[SliceHeader], same_pixels: SamePixels, findings: Findings
) -> list[SliceHeader]:
    """Every header but exact copies: same SOPInstanceUID, frame, place and pixels."""
    kept: list[SliceHeader] = []
    by_name: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in sorted(headers, key=preference):
        alike = by_name[header.sop_uid, header.frame, header.position, header.orientation]
        if header.sop_uid and any(same_pixels(header, other) for other in alike):
            findings.leave_out("duplicate_sop", header.file, header.frame)
        else:
            alike.append(header)
            kept.append(header)
    return kept


def without_conflicts(headers: list[SliceHeader], findings: Findings) -> list[SliceHeader]:
    """One header per SOPInstanceUID, frame, place and scan; the first by number and name stays.

    A SOPInstanceUID is unique (PS3.3 C.12.1.1.1), but some anonymisers write one for all; slices
    at different positions are therefore all kept.
    """
    kept: dict[Hashable, SliceHeader] = {}
    names: set[Hashable] = set()
    for header in headers:
        name = (header.sop_uid or header.file, header.frame)
        place = header.position or (header.instance_number,)
        if kept.setdefault((name, place, header.tags), header) is not header:
            findings.leave_out("duplicate_sop_conflict", header.file, header.frame)
        elif name in names:
            findings.noticed["sop_uid_repeated"] += 1
        names.add(name)
    return list(kept.values())
