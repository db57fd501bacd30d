"""Elements of one image object: which are read, and their values whatever the file makes of them.

Only root-level elements are used (an icon's Rows are not the image's), and for multi-frame
objects the functional groups: per frame, then shared, then root (PS3.3 C.7.6.16.1). Nothing here
writes a value down: those about the person only join series of one patient, in hashed form.
"""

import math
import re
import struct
from collections.abc import Sequence
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.tag import Tag

BLOCKS = range(0x10, 0x14)
"""Blocks of a group that its first makers reserve (PS3.5 7.8.1)."""

MAKERS = {
    "SiemensImagesInMosaic": (0x0019, 0x0A, "US", "SIEMENS MR HEADER"),
    "GERawDataType": (0x0043, 0x2F, "SS", "GEMS_PARM_01"),
    "UnitedImagingImagesInGrid": (0x0065, 0x50, "DS", "Image Private Header"),
}
"""Private elements that are read: group, element within the maker's block, VR, and the maker."""

PRIVATE = {
    **{
        f"{group:04X}Maker{block:X}": (group << 16 | block, "LO")
        for group, _, _, _ in MAKERS.values()
        for block in BLOCKS
    },
    **{
        f"{name}{block:X}": (group << 16 | block << 8 | element, vr)
        for name, (group, element, vr, _) in MAKERS.items()
        for block in BLOCKS
    },
}
"""Tag and VR of these elements and of their makers' names, in every block."""

RESERVED = {
    group: [f"{group:04X}Maker{block:X}" for block in BLOCKS] for group, *_ in MAKERS.values()
}
"""Elements with the names of makers, by group."""

UNDECODED = frozenset({"SeriesDescription", "ContrastBolusAgent", "ConvolutionKernel"})
"""Texts that are compared and never shown, so that their character set does not matter."""

READ_KEYWORDS = (
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "Modality",
    "ConversionType",
    "SeriesDescription",
    "PatientID",
    "IssuerOfPatientID",
    "ContrastBolusAgent",
    "SliceThickness",
    "KVP",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "EchoNumbers",
    "SpacingBetweenSlices",
    "TriggerTime",
    "ConvolutionKernel",
    "FlipAngle",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "ComplexImageComponent",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "TemporalPositionIdentifier",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "LossyImageCompression",
    "ModalityLUTSequence",
    "RealWorldValueMappingSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "PixelData",
    *PRIVATE,
)
"""Root elements that are parsed; all others are skipped, whatever they hold."""

READ_TAGS = [Tag(PRIVATE[name][0] if name in PRIVATE else name) for name in READ_KEYWORDS]
"""The same as pydicom takes them."""

THOUSANDS = re.compile(rb"[+-]?[1-9]\d{0,2},\d{3}")

Elements = Dataset | dict[str, Any]
"""A parsed data set of pydicom, or keyword -> value from `imaging.dicom.header_scan`."""


def text(dataset: Elements | None, keyword: str) -> str:
    """An element as text, '' when absent or unreadable."""
    value = element(dataset, keyword)
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip().rstrip("\0")
    if isinstance(value, bytes):
        return value.decode("latin-1").strip("\0 ")
    if isinstance(value, Sequence):
        return "\\".join(str(part) for part in value)
    return str(value)


def number(dataset: Elements | None, keyword: str) -> float | None:
    """The first value of an element as a finite number, else None."""
    if isinstance(dataset, dict):  # one plain number or none, as most are
        value = dataset.get(keyword)
        if value is None:
            return None
        if isinstance(value, float | int):
            return _finite(value)
    values = numbers(dataset, keyword)
    return values[0] if values else None


def _finite(value: float) -> float | None:
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return found if math.isfinite(found) else None


def integer(dataset: Elements | None, keyword: str) -> int | None:
    """The first value of an element as an integer, else None."""
    value = number(dataset, keyword)
    return None if value is None else int(value)


def numbers(dataset: Elements | None, keyword: str, count: int | None = None) -> list[float]:
    """All values of an element as finite numbers; [] if one is not, or `count` does not fit.

    Numbers in an element of another VR count too, and those with a decimal comma.
    """
    if isinstance(dataset, dict):
        return _plain(dataset.get(keyword), count)
    value = element(dataset, keyword)
    if value is None and dataset is not None:
        value = _undecoded(dataset, keyword)  # not of its VR, such as IS with a decimal point
    if value is None or value == "":
        return []
    several = isinstance(value, list) or (
        isinstance(value, Sequence) and not isinstance(value, str | bytes)
    )
    parts: Sequence[Any] = value if several else [value]
    try:
        found = [part for value in parts for part in _parsed(value)]
    except (TypeError, ValueError, OverflowError):
        return []
    if not all(map(math.isfinite, found)) or (count is not None and len(found) != count):
        return []
    return found


def _plain(value: Any, count: int | None) -> list[float]:  # noqa: ANN401
    """As `numbers`, of what `imaging.dicom.header_scan` has found to be numbers, or nothing."""
    parts: list[Any] = value if isinstance(value, list) else [value]
    if None in parts or (count is not None and len(parts) != count):
        return []
    try:
        found = [float(part) for part in parts]
    except (ValueError, OverflowError):
        return []
    return found if all(map(math.isfinite, found)) else []


def _parsed(value: Any) -> list[float]:  # noqa: ANN401
    """One value as numbers: it may be text of a VR that knows no several values."""
    if isinstance(value, bytes):
        value = value.decode("ascii")
    if not isinstance(value, str):
        return [float(value)]
    return [float(part.replace(",", ".")) for part in value.strip("\0 ").split("\\")]


def element(dataset: Elements | None, keyword: str) -> Any:  # noqa: ANN401
    """An element's value, None when absent or when its bytes do not fit its VR."""
    if dataset is None or isinstance(dataset, dict):
        return dataset.get(keyword) if dataset else None
    if keyword in PRIVATE:
        return _private(dataset, *PRIVATE[keyword])
    if keyword in UNDECODED:
        return _undecoded(dataset, keyword)
    try:
        with pydicom.config.disable_value_validation():
            return dataset.get(keyword)
    except Exception:  # pydicom raises whatever its converters meet
        return None


def _private(dataset: Dataset, tag: int, vr: str) -> Any:  # noqa: ANN401
    """A private element, whose VR pydicom does not know without its maker's name."""
    try:
        found = dataset.get(tag)
    except Exception:  # as above
        return None
    value = None if found is None else found.value
    return decoded(vr, value) if isinstance(value, bytes) else value


def decoded(vr: str, raw: bytes) -> Any:  # noqa: ANN401
    """The one value of a private element of unknown VR; None when its bytes do not fit."""
    try:
        if vr in ("US", "SS"):
            return struct.unpack("<H" if vr == "US" else "<h", raw)[0]
        found = raw.decode("ascii").strip("\0 ")
        return float(found) if vr == "DS" else found
    except (struct.error, ValueError):
        return None


def private_number(dataset: Elements, name: str) -> float | None:
    """A number of `MAKERS`, from the block that its maker has reserved in this file."""
    group, _, _, maker = MAKERS[name]
    if isinstance(dataset, dict) and not any(word in dataset for word in RESERVED[group]):
        return None  # as in most files
    for block in BLOCKS:
        if text(dataset, f"{group:04X}Maker{block:X}") == maker:
            return number(dataset, f"{name}{block:X}")
    return None


def _undecoded(dataset: Dataset, keyword: str) -> bytes | None:
    """The bytes of an element, as the file has them."""
    if keyword in PRIVATE or keyword not in dataset:
        return None
    value = dataset.get_item(keyword).value
    if isinstance(value, str):  # it was asked for before, and did not fit its VR
        value = value.encode("latin-1", "replace")
    return value.strip(b"\0 ") if isinstance(value, bytes) else None


def has_decimal_comma(dataset: Elements, *keywords: str) -> bool:
    """Whether numbers are written with a comma, which PS3.5 6.2 does not know."""
    if isinstance(dataset, dict):  # a plain file has none
        return False
    return any(b"," in (_undecoded(dataset, keyword) or b"") for keyword in keywords)


def has_thousands_comma(dataset: Elements, keyword: str) -> bool:
    """Whether a comma may separate thousands, as in -1,024, so that nobody knows the number."""
    if isinstance(dataset, dict):
        return False
    return THOUSANDS.fullmatch(_undecoded(dataset, keyword) or b"") is not None


def item(dataset: Elements | None, keyword: str, index: int = 0) -> Dataset | None:
    """One item of a sequence, None when the sequence or the item is missing."""
    sequence = element(dataset, keyword)
    if isinstance(sequence, pydicom.Sequence) and index < len(sequence):
        return sequence[index]
    return None


def frame_count(dataset: Elements) -> int:
    """NumberOfFrames, 1 when absent (PS3.3 C.7.6.6)."""
    return max(integer(dataset, "NumberOfFrames") or 1, 1)


def state(dataset: Elements, keyword: str, vr: str, value: int) -> None:
    """State a number that an object lacks, or states wrongly."""
    if isinstance(dataset, dict):
        dataset[keyword] = value
    else:
        dataset.add_new(keyword, vr, value)  # also over one of another VR


class Groups:
    """Look-up in the functional groups of one frame: per frame, then shared, then root."""

    def __init__(self, dataset: Elements, frame: int) -> None:
        """Find the groups of a frame; a single-frame object has none."""
        self.root = dataset
        self.levels: list[Dataset] = []
        if not isinstance(dataset, dict):
            levels = (
                item(dataset, "PerFrameFunctionalGroupsSequence", frame),
                item(dataset, "SharedFunctionalGroupsSequence"),
            )
            self.levels = [level for level in levels if level is not None]

    def find(self, macro: str, keyword: str) -> Elements | None:
        """The data set that holds `keyword`: inside the sequence `macro`, or the root."""
        found = self.inside(macro, keyword)
        if found is not None:
            return found
        return self.root if keyword in self.root else None

    def inside(self, macro: str, keyword: str) -> Dataset | None:
        """The item of the sequence `macro` of a functional group that holds `keyword`."""
        for level in self.levels:
            inner = item(level, macro)
            if inner is not None and keyword in inner:
                return inner
        return None
