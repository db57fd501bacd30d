"""What tells the scans of one series apart: the elements in which the slices of one scan agree.

One SeriesInstanceUID may hold several scans of the same head: time points, echoes, b-values,
magnitude and phase, acquisitions before and after contrast, originals and what was derived from
them. `imaging.scans` separates them by these values.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from intracranial.imaging.dicom.elements import (
    BLOCKS,
    Elements,
    Groups,
    item,
    number,
    numbers,
    private_number,
    text,
)

Value = float | str
ScanTags = tuple[Value, ...]
"""A value for each of `TAGS`; "" where the header has none."""

SAME_VALUE = 1e-3
"""Share by which two numbers may differ and still be one: files write 30 and 30.0000991."""

TIME = re.compile(r"(?:\d{8})?(\d{2})(\d{2})(\d{2}(?:\.\d+)?)")
"""A DICOM time, or date and time (PS3.5 6.2): hours, minutes, seconds."""

KEPT = 1024
"""Words whose meaning is remembered: the slices of a series have few of them."""

MAGNITUDE = "M"
COMPONENTS = {
    "M": MAGNITUDE,
    "MAGNITUDE": MAGNITUDE,
    "P": "P",
    "PHASE": "P",
    "PHASE MAP": "P",
    "B0": "F",
    "B0 MAP": "F",
    "FIELD MAP": "F",
    "VELOCITY MAP": "P",
    "R": "R",
    "REAL": "R",
    "I": "I",
    "IMAGINARY": "I",
}
"""What part of the complex signal an image shows, as Complex Image Component (PS3.3
C.8.13.3.1.1) and as the image types of Siemens and Philips name it."""

GE_COMPONENTS = ("M", "P", "R", "I")
"""The same by GE's number."""

COMPONENT_FROM = 2
"""Place of the first value of ImageType that may name it (PS3.3 C.7.6.1.1.2)."""


@dataclass(frozen=True)
class Tag:
    """One element, or several that mean the same."""

    name: str
    """As the notes have it, such as "volumes_dropped:24 slices:by echo"."""

    keywords: tuple[str, ...] = ()
    """Root elements; the first that has a value counts."""

    macros: tuple[tuple[str, str], ...] = ()
    """Sequence and element in the functional groups, which go before the root (PS3.3
    C.7.6.16.2)."""

    read: Callable[[Elements | None, str], Value | None] = number
    """Takes a value from a data set; None or "" where it has none."""

    contrast: bool = False
    """Another value is another picture of the same tissue: two such scans are no one volume, even
    where one begins at the end of the other."""

    picture: bool = False
    """Another value may be another picture: two such scans are no one volume where they lie
    between each other's slices, though an archive may have numbered them as one."""

    ordered: bool = False
    """The value grows in the order in which the scans were made."""


def _seconds(dataset: Elements | None, keyword: str) -> float | None:
    """Seconds since midnight."""
    return _seconds_in(text(dataset, keyword))


@lru_cache(KEPT)
def _seconds_in(words: str) -> float | None:
    found = TIME.match(words)
    if found is None:
        return None
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _direction(dataset: Elements | None, keyword: str) -> str:
    """A diffusion gradient's direction, rounded; "" where there is none."""
    holder = item(dataset, keyword) if keyword == DIRECTION else dataset
    found = numbers(holder, "DiffusionGradientOrientation", 3)
    return " ".join(f"{value:.2f}" for value in found)


def _component(dataset: Elements | None, keyword: str) -> str:
    """A part of the complex signal as in `COMPONENTS`, "" where an element names none."""
    return _component_in(
        text(dataset, keyword), 0 if keyword == "ComplexImageComponent" else COMPONENT_FROM
    )


@lru_cache(KEPT)
def _component_in(words: str, first: int) -> str:
    parts = words.upper().split("\\")[first:]
    named = (COMPONENTS.get(part) or COMPONENTS.get(part.split("_")[0], "") for part in parts)
    return next((part for part in named if part), "")


def _ge_component(dataset: Elements | None, keyword: str) -> str:
    value = None if dataset is None else private_number(dataset, "GERawDataType")
    return dict(enumerate(GE_COMPONENTS)).get(-1 if value is None else int(value), "")


FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence")
CONTENT = "FrameContentSequence"
DIFFUSION = "MRDiffusionSequence"
DIRECTION = "DiffusionGradientDirectionSequence"
TIMING = "MRTimingAndRelatedParametersSequence"


def _of_frame_types(keyword: str) -> tuple[tuple[str, str], ...]:
    return tuple((macro, keyword) for macro in FRAME_TYPES)


TAGS = (
    Tag("study", ("StudyInstanceUID",), (), text),
    Tag("patient", ("PatientID",), (), text, contrast=True),
    Tag(
        "temporal_position",
        ("TemporalPositionIdentifier",),
        ((CONTENT, "TemporalPositionIndex"),),
        picture=True,
        ordered=True,
    ),
    Tag("echo", ("EchoNumbers",), contrast=True),
    Tag("echo", ("EchoTime",), (("MREchoSequence", "EffectiveEchoTime"),), contrast=True),
    Tag(
        "b_value",
        ("DiffusionBValue",),
        ((DIFFUSION, "DiffusionBValue"),),
        contrast=True,
    ),
    Tag(
        "trigger_time",
        ("TriggerTime",),
        (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
    ),
    Tag(
        "component",
        ("ComplexImageComponent", "ImageType"),
        (*_of_frame_types("ComplexImageComponent"), *_of_frame_types("FrameType")),
        _component,
        contrast=True,
    ),
    Tag("component", tuple(f"0043Maker{block:X}" for block in BLOCKS), (), _ge_component, True),
    Tag("image_type", ("ImageType",), _of_frame_types("FrameType"), text, picture=True),
    Tag(
        "acquisition", ("AcquisitionNumber",), ((CONTENT, "FrameAcquisitionNumber"),), ordered=True
    ),
    Tag(
        "acquisition_time",
        ("AcquisitionDateTime", "AcquisitionTime"),
        ((CONTENT, "FrameAcquisitionDateTime"),),
        _seconds,
        ordered=True,
    ),
    Tag("contrast_agent", ("ContrastBolusAgent",), (), text, picture=True),
    Tag(
        "kernel",
        ("ConvolutionKernel",),
        (("CTReconstructionSequence", "ConvolutionKernel"),),
        text,
        picture=True,
    ),
    Tag("inversion_time", ("InversionTime",), (("MRModifierSequence", "InversionTimes"),)),
    Tag("repetition_time", ("RepetitionTime",), ((TIMING, "RepetitionTime"),)),
    Tag("flip_angle", ("FlipAngle",), ((TIMING, "FlipAngle"),)),
    Tag("tube_voltage", ("KVP",), (("CTXRayDetailsSequence", "KVP"),), picture=True),
    Tag("slice_thickness", ("SliceThickness",), (("PixelMeasuresSequence", "SliceThickness"),)),
    Tag("series_number", ("SeriesNumber",)),
    Tag("stack", (), ((CONTENT, "StackID"),), text),
    Tag("direction", ("DiffusionGradientOrientation",), ((DIFFUSION, DIRECTION),), _direction),
    Tag("dimension", (), ((CONTENT, "DimensionIndexValues"),), text),
)
"""The most telling first: temporal position, echo and b-value are made to tell scans apart, the
others differ between scans as well as within some."""

AT = {tag.name: place for place, tag in reversed(list(enumerate(TAGS)))}
"""Place of a tag in `TAGS` by its name, the first of those that share it."""


def read_tags(groups: Groups) -> ScanTags:
    """The values of one slice or frame."""
    root, present, nested = groups.root, groups.root.keywords, bool(groups.levels)
    found: list[Value] = []
    for tag in TAGS:
        value: Value | None = None
        if nested:
            for macro, keyword in tag.macros:
                if value in (None, ""):
                    value = tag.read(groups.inside(macro, keyword), keyword)
        for keyword in tag.keywords:
            if keyword in present and value in (None, ""):  # most files lack most tags
                value = tag.read(root, keyword)
        found.append("" if value is None else value)
    return tuple(found)


def is_original(tags: ScanTags) -> bool:
    """Whether the image type does not say DERIVED (PS3.3 C.7.6.1.1.2)."""
    return not str(tags[AT["image_type"]]).startswith("DERIVED")


def is_magnitude(tags: ScanTags) -> bool:
    """Whether nothing says that the image shows another part of the complex signal."""
    first = AT["component"]
    return all(tags[place] in ("", MAGNITUDE) for place in (first, first + 1))
