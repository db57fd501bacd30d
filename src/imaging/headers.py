"""Image headers: what the pipeline needs of one slice or frame, and nothing about the person.

Only root-level elements are used (an icon's Rows are not the image's), and for multi-frame
objects the functional groups: per frame, then shared, then root (PS3.3 C.7.6.16.1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pydicom
from pydicom.dataset import Dataset

LARGEST_COORDINATE = 1e5
"""Mm; an ImagePositionPatient beyond it is garbage, not a place in a scanner."""

ORIENTATION_TOLERANCE = 0.05
"""Departure of direction cosines from unit length, and of their product from 0, before they count
as missing; rounded values in real files depart by 1e-4."""

READ_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "IssuerOfPatientID",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "LossyImageCompression",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "InstanceNumber",
    "ImageType",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "EchoNumbers",
    "EchoTime",
    "TriggerTime",
    "DiffusionBValue",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelData",
    "DoubleFloatPixelData",
    "PixelData",
)
"""Root elements that are parsed; all others are skipped, whatever they hold."""

Elements = Dataset | dict[str, Any]
"""A parsed data set of pydicom, or keyword -> value from `src.imaging.scan`."""

Vector = tuple[float, float, float]
Phase = tuple[float | str, ...]


@dataclass(frozen=True)
class SliceHeader:
    """One slice: a single-frame file, or one frame of a multi-frame file.

    Attributes:
        file: path below the series folder, with forward slashes.
        frame: 0-based index of the frame in the file.
        sop_uid: SOPInstanceUID; frames of one file share it.
        frame_of_reference: FrameOfReferenceUID, "" when missing.
        shape: Rows and Columns.
        orientation: ImageOrientationPatient as unit vectors, None when missing or unusable.
        position: ImagePositionPatient in mm, None when missing or unusable.
        pixel_spacing: mm between rows and between columns, None when missing.
        nominal_step: mm, SpacingBetweenSlices or else SliceThickness, None when missing.
        thickness: mm, SliceThickness, None when missing or not positive.
        slope: RescaleSlope; 1 when missing, zero or not a number.
        intercept: RescaleIntercept; 0 when missing or not a number.
        rescaled: whether there is a RescaleSlope or RescaleIntercept at all.
        instance_number: InstanceNumber, None when missing.
        phase: what tells apart volumes at the same positions, see `PHASE_NAMES`.
        notes: stable codes of what was odd.
    """

    file: str
    frame: int
    sop_uid: str
    frame_of_reference: str
    shape: tuple[int, int]
    orientation: tuple[float, ...] | None
    position: Vector | None
    pixel_spacing: tuple[float, float] | None
    nominal_step: float | None
    thickness: float | None
    slope: float
    intercept: float
    rescaled: bool
    instance_number: int | None
    phase: Phase
    notes: tuple[str, ...] = ()


PHASE_NAMES = ("temporal_position", "echo", "b_value", "trigger_time", "image_type", "acquisition")
"""Meaning of `SliceHeader.phase`, the most telling first."""


def text(dataset: Elements | None, keyword: str) -> str:
    """An element as text, '' when absent or unreadable."""
    value = element(dataset, keyword)
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip().rstrip("\0")
    if isinstance(value, Sequence):
        return "\\".join(str(part) for part in value)
    return str(value)


def number(dataset: Elements | None, keyword: str) -> float | None:
    """The first value of an element as a finite number, else None."""
    if isinstance(dataset, dict):  # one plain number, as most are
        value = dataset.get(keyword)
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
    """All values of an element as finite numbers; [] if one is not, or `count` does not fit."""
    value = element(dataset, keyword)
    if value is None or value == "":
        return []
    several = isinstance(value, list) or (
        isinstance(value, Sequence) and not isinstance(value, str)
    )
    parts: Sequence[Any] = value if several else [value]
    try:
        found = [float(part) for part in parts]
    except (TypeError, ValueError, OverflowError):
        return []
    if not all(map(math.isfinite, found)) or (count is not None and len(found) != count):
        return []
    return found


def element(dataset: Elements | None, keyword: str) -> Any:  # noqa: ANN401
    """An element's value, None when absent or when its bytes do not fit its VR."""
    if dataset is None or isinstance(dataset, dict):
        return dataset.get(keyword) if dataset else None
    try:
        with pydicom.config.disable_value_validation():
            return dataset.get(keyword)
    except Exception:  # pydicom raises whatever its converters meet
        return None


def item(dataset: Elements | None, keyword: str, index: int = 0) -> Dataset | None:
    """One item of a sequence, None when the sequence or the item is missing."""
    sequence = element(dataset, keyword)
    if isinstance(sequence, pydicom.Sequence) and index < len(sequence):
        return sequence[index]
    return None


def frame_count(dataset: Elements) -> int:
    """NumberOfFrames, 1 when absent (PS3.3 C.7.6.6)."""
    return max(integer(dataset, "NumberOfFrames") or 1, 1)


def set_frame_count(dataset: Elements, frames: int) -> None:
    """State NumberOfFrames for an object that lacks it."""
    if isinstance(dataset, dict):
        dataset["NumberOfFrames"] = frames
    else:
        dataset.add_new("NumberOfFrames", "IS", frames)  # also over one of another VR


class _Groups:
    """Look-up in the functional groups of one frame: per frame, then shared, then root."""

    def __init__(self, dataset: Elements, frame: int) -> None:
        levels = (
            item(dataset, "PerFrameFunctionalGroupsSequence", frame),
            item(dataset, "SharedFunctionalGroupsSequence"),
        )
        self.levels = [level for level in levels if level is not None]
        self.root = dataset

    def find(self, macro: str, keyword: str) -> Elements | None:
        """The data set that holds `keyword`: inside the sequence `macro`, or the root."""
        for level in self.levels:
            inner = item(level, macro) if macro else None
            if inner is not None and keyword in inner:
                return inner
        return self.root if keyword in self.root else None


def slice_headers(dataset: Elements, file: str) -> list[SliceHeader]:
    """Headers of every frame of one image object, in file order."""
    frames = frame_count(dataset)
    if frames == 1:
        return [_header(_Groups(dataset, 0), dataset, file, 0)]
    groups = element(dataset, "PerFrameFunctionalGroupsSequence")
    described = min(len(groups), frames) if isinstance(groups, pydicom.Sequence) else 0
    headers = [_header(_Groups(dataset, k), dataset, file, k) for k in range(described)]
    if described < frames:
        # Classic multi-frame: one root position cannot be every frame's. All else they share.
        common = _header(_Groups(dataset, described), dataset, file, described)
        headers += [replace(common, frame=k, position=None) for k in range(described, frames)]
    return headers


def _header(groups: _Groups, dataset: Elements, file: str, frame: int) -> SliceHeader:
    measures = groups.find("PixelMeasuresSequence", "PixelSpacing")
    spacing = numbers(measures, "PixelSpacing", 2)
    apart, thick = (
        number(groups.find("PixelMeasuresSequence", keyword), keyword)
        for keyword in ("SpacingBetweenSlices", "SliceThickness")
    )
    step = apart or thick
    slope, intercept, rescaled, notes = _rescale(groups)
    sop_uid = text(dataset, "SOPInstanceUID")
    if not sop_uid:
        notes = (*notes, "sop_uid_missing")
    return SliceHeader(
        file=file,
        frame=frame,
        sop_uid=sop_uid,
        frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        shape=(integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0),
        orientation=_orientation(groups),
        position=_position(groups),
        pixel_spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        nominal_step=abs(step) if step else None,
        thickness=thick if thick and thick > 0 else None,
        slope=slope,
        intercept=intercept,
        rescaled=rescaled,
        instance_number=integer(dataset, "InstanceNumber"),
        phase=_phase(groups, dataset),
        notes=notes,
    )


def _orientation(groups: _Groups) -> tuple[float, ...] | None:
    holder = groups.find("PlaneOrientationSequence", "ImageOrientationPatient")
    cosines = numbers(holder, "ImageOrientationPatient", 6)
    if not cosines:
        return None
    columns, rows = cosines[:3], cosines[3:]
    lengths = (math.hypot(*columns), math.hypot(*rows))
    if max(abs(length - 1) for length in lengths) > ORIENTATION_TOLERANCE:
        return None
    unit = [c / lengths[0] for c in columns] + [c / lengths[1] for c in rows]
    if abs(sum(a * b for a, b in zip(unit[:3], unit[3:], strict=True))) > ORIENTATION_TOLERANCE:
        return None
    return tuple(value + 0.0 for value in unit)  # + 0.0 turns -0.0 into 0.0


def _position(groups: _Groups) -> Vector | None:
    holder = groups.find("PlanePositionSequence", "ImagePositionPatient")
    place = numbers(holder, "ImagePositionPatient", 3)
    if not place or max(map(abs, place)) > LARGEST_COORDINATE:
        return None
    return (place[0] + 0.0, place[1] + 0.0, place[2] + 0.0)


def _rescale(groups: _Groups) -> tuple[float, float, bool, tuple[str, ...]]:
    """Slope and intercept of PS3.3 C.11.1.1.2 (output = slope * stored + intercept), and notes."""
    macro = "PixelValueTransformationSequence"
    slope_at = groups.find(macro, "RescaleSlope")
    slope = number(slope_at, "RescaleSlope")
    intercept_at = groups.find(macro, "RescaleIntercept")
    intercept = number(intercept_at, "RescaleIntercept")
    notes: tuple[str, ...] = ()
    if slope_at is not None and not slope:
        notes = ("rescale_slope_unusable",)
    rescaled = slope_at is not None or intercept_at is not None
    return slope or 1.0, intercept or 0.0, rescaled, notes


def _phase(groups: _Groups, dataset: Elements) -> Phase:
    """Values that tell apart volumes of one series at the same positions (`PHASE_NAMES`)."""

    def first(*places: tuple[str, str]) -> float | str:
        for macro, keyword in places:
            value = number(groups.find(macro, keyword), keyword)
            if value is not None:
                return value
        return ""

    kind = ""
    for macro in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence"):
        kind = kind or text(groups.find(macro, "FrameType"), "FrameType")
    return (
        first(
            ("FrameContentSequence", "TemporalPositionIndex"),
            ("", "TemporalPositionIdentifier"),
        ),
        first(("MREchoSequence", "EffectiveEchoTime"), ("", "EchoNumbers"), ("", "EchoTime")),
        first(("MRDiffusionSequence", "DiffusionBValue"), ("", "DiffusionBValue")),
        first(
            ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
            ("", "TriggerTime"),
        ),
        kind or text(dataset, "ImageType"),
        first(("FrameContentSequence", "FrameAcquisitionNumber"), ("", "AcquisitionNumber")),
    )
