"""Elements of one image object: which are read, and their values whatever the file makes of them.

Only root-level elements are used (an icon's Rows are not the image's), and for multi-frame
objects the functional groups: per frame, then shared, then root (PS3.3 C.7.6.16.1). Nothing here
writes a value down: those about the person only join series of one patient, in hashed form.
"""

import math
import re
import struct
from collections.abc import Sequence, Set
from functools import lru_cache
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag
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

NUMBER = (float, int)

UNREAD = object()
"""Stands in `Elements` for a value that is converted when it is first asked for."""

KEPT = 4096
"""Tags whose keyword is remembered; an image object has a few hundred."""

NAMES = {tag: name for name, (tag, _) in PRIVATE.items()}


class Elements:
    """Keyword -> value of one data set, whichever reader has found it.

    A value is None, text, a number, a sequence of these, bytes, a memoryview, or a tuple of the
    `Elements` of a sequence's items. pydicom's values are converted when they are first asked for,
    since a large enhanced object has thousands of which few are used.
    """

    __slots__ = ("_source", "_values", "keywords")

    def __init__(self, values: dict[str, Any], source: Dataset | None = None) -> None:
        """Take over values, and the data set that converts those which are `UNREAD`."""
        self._values = values
        self._source = source
        self.keywords: Set[str] = values.keys()
        """What the data set has, readable or not."""

    @classmethod
    def of(cls, dataset: Dataset) -> "Elements":
        """The elements of a data set that pydicom has parsed."""
        return cls(dict.fromkeys(map(_keyword, map(int, dataset.keys())), UNREAD), dataset)

    def value(self, keyword: str) -> Any:  # noqa: ANN401
        """An element's value, None when absent or when its bytes do not fit its VR."""
        found = self._values.get(keyword)
        if found is UNREAD and self._source is not None:
            found = self._values[keyword] = _converted(self._source, keyword)
        return found

    def stored(self, keyword: str) -> bytes | None:
        """The bytes of an element that is not of its VR, as the file has them.

        None when the element is absent or was converted, and of a plain file, which has none.
        """
        if self._source is None or keyword not in self._values:
            return None
        return _undecoded(self._source, keyword)

    def state(self, keyword: str, value: int) -> None:
        """State a number that the object lacks, or states wrongly."""
        self._values[keyword] = value
        if self._source is not None:  # other elements are converted by it, such as US or SS
            self._source.add_new(keyword, dictionary_VR(keyword), value)

    def drop(self, keyword: str) -> None:
        """Forget an element, and free its bytes."""
        self._values.pop(keyword, None)
        if self._source is not None:
            self._source.pop(keyword, None)


@lru_cache(KEPT)
def _keyword(tag: int) -> str:
    """The name under which an element is asked for, '' for one that never is."""
    return NAMES.get(tag) or keyword_for_tag(tag)


def _converted(dataset: Dataset, keyword: str) -> Any:  # noqa: ANN401
    """A value as pydicom converts it."""
    if keyword in PRIVATE:
        return _private(dataset, *PRIVATE[keyword])
    if keyword in UNDECODED:
        return _undecoded(dataset, keyword)
    try:
        with pydicom.config.disable_value_validation():
            value = dataset.get(keyword)
    except Exception:  # pydicom raises whatever its converters meet
        return None
    if isinstance(value, pydicom.Sequence):
        return tuple(map(Elements.of, value))
    return value


def _private(dataset: Dataset, tag: int, vr: str) -> Any:  # noqa: ANN401
    """A private element, whose VR pydicom does not know without its maker's name."""
    try:
        found = dataset.get(tag)
    except Exception:  # as above
        return None
    value = None if found is None else found.value
    return decoded(vr, value) if isinstance(value, bytes) else value


def _undecoded(dataset: Dataset, keyword: str) -> bytes | None:
    """The bytes of an element, as the file has them."""
    if keyword in PRIVATE:
        return None
    value = dataset.get_item(keyword).value
    if isinstance(value, str):  # it was asked for before, and did not fit its VR
        value = value.encode("latin-1", "replace")
    return value.strip(b"\0 ") if isinstance(value, bytes) else None


def decoded(vr: str, raw: bytes) -> Any:  # noqa: ANN401
    """The one value of a private element of unknown VR; None when its bytes do not fit."""
    try:
        if vr in ("US", "SS"):
            return struct.unpack("<H" if vr == "US" else "<h", raw)[0]
        found = raw.decode("ascii").strip("\0 ")
        return float(found) if vr == "DS" else found
    except (struct.error, ValueError):
        return None


def element(dataset: Elements | None, keyword: str) -> Any:  # noqa: ANN401
    """An element's value, None when absent or when its bytes do not fit its VR."""
    return None if dataset is None else dataset.value(keyword)


def text(dataset: Elements | None, keyword: str) -> str:
    """An element as text, '' when absent or unreadable."""
    value = None if dataset is None else dataset.value(keyword)
    if isinstance(value, str):
        return value.strip().rstrip("\0")
    if value is None or isinstance(value, tuple):
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1").strip("\0 ")
    if isinstance(value, Sequence):
        return "\\".join(str(part) for part in value)
    return str(value)


def number(dataset: Elements | None, keyword: str) -> float | None:
    """The first value of an element as a finite number, else None."""
    if dataset is None or keyword not in dataset.keywords:
        return None
    value = dataset.value(keyword)
    if isinstance(value, NUMBER):  # one plain number, as most are
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
    if dataset is None or keyword not in dataset.keywords:
        return []
    value = dataset.value(keyword)
    if value is None:
        value = dataset.stored(keyword)  # not of its VR, such as IS with a decimal point
    if value is None or value == "":
        return []
    several = isinstance(value, list) or (
        isinstance(value, Sequence) and not isinstance(value, str | bytes)
    )
    parts: Sequence[Any] = value if several else [value]
    try:
        found = list(map(float, parts))  # they are numbers already in most files
    except (TypeError, ValueError, OverflowError):
        try:
            found = [part for value in parts for part in _parsed(value)]
        except (TypeError, ValueError, OverflowError):
            return []
    if not all(map(math.isfinite, found)) or (count is not None and len(found) != count):
        return []
    return found


def _parsed(value: Any) -> list[float]:  # noqa: ANN401
    """One value as numbers: it may be text of a VR that knows no several values."""
    if isinstance(value, bytes):
        value = value.decode("ascii")
    if not isinstance(value, str):
        return [float(value)]
    return [float(part.replace(",", ".")) for part in value.strip("\0 ").split("\\")]


def private_number(dataset: Elements, name: str) -> float | None:
    """A number of `MAKERS`, from the block that its maker has reserved in this file."""
    group, _, _, maker = MAKERS[name]
    if dataset.keywords.isdisjoint(RESERVED[group]):
        return None  # as in most files
    for block in BLOCKS:
        if text(dataset, f"{group:04X}Maker{block:X}") == maker:
            return number(dataset, f"{name}{block:X}")
    return None


def has_decimal_comma(dataset: Elements, *keywords: str) -> bool:
    """Whether numbers are written with a comma, which PS3.5 6.2 does not know."""
    return any(b"," in found for found in map(dataset.stored, keywords) if found)


def has_thousands_comma(dataset: Elements, keyword: str) -> bool:
    """Whether a comma may separate thousands, as in -1,024, so that nobody knows the number."""
    found = dataset.stored(keyword)
    return found is not None and THOUSANDS.fullmatch(found) is not None


def items(dataset: Elements | None, keyword: str) -> tuple[Elements, ...]:
    """The items of a sequence, () when it is missing or no sequence."""
    value = None if dataset is None else dataset.value(keyword)
    return value if isinstance(value, tuple) else ()


def item(dataset: Elements | None, keyword: str, index: int = 0) -> Elements | None:
    """One item of a sequence, None when the sequence or the item is missing."""
    found = items(dataset, keyword)
    return found[index] if index < len(found) else None


def frame_count(dataset: Elements) -> int:
    """NumberOfFrames, 1 when absent (PS3.3 C.7.6.6)."""
    return max(integer(dataset, "NumberOfFrames") or 1, 1)


class Groups:
    """Look-up in the functional groups of one frame: per frame, then shared, then root."""

    def __init__(self, dataset: Elements, frame: int) -> None:
        """Find the groups of a frame; a single-frame object has none."""
        self.root = dataset
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
        return self.root if keyword in self.root.keywords else None

    def inside(self, macro: str, keyword: str) -> Elements | None:
        """The item of the sequence `macro` of a functional group that holds `keyword`."""
        for level in self.levels:
            inner = item(level, macro)
            if inner is not None and keyword in inner.keywords:
                return inner
        return None
