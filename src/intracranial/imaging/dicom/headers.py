"""Image headers: what the pipeline needs of one slice or frame, and nothing about the person.

Only root-level elements are used (an icon's Rows are not the image's), and for multi-frame
objects the functional groups: per frame, then shared, then root (PS3.3 C.7.6.16.1).
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from intracranial.imaging.dicom.elements import (
    Elements,
    Groups,
    frame_count,
    has_decimal_comma,
    has_thousands_comma,
    integer,
    item,
    items,
    number,
    numbers,
    text,
)
from intracranial.imaging.dicom.tags import ScanTags, read_tags

LARGEST_COORDINATE = 1e5
"""Mm; an ImagePositionPatient beyond it is garbage, not a place in a scanner."""

ORIENTATION_TOLERANCE = 0.05
"""Departure of direction cosines from unit length, and of their product from 0, before they count
as missing; rounded values in real files depart by 1e-4."""

ORIENTATIONS_KEPT = 1024
"""Orientations that were checked; the slices of a stack have one."""

LARGEST_INTERCEPT = 32768
"""A RescaleIntercept from here on is a negative one that was written as an unsigned integer."""

INTERCEPT, POSITION = "RescaleIntercept", "ImagePositionPatient"
REAL_WORLD = "RealWorldValueMappingSequence"

Vector = tuple[float, float, float]


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
        rescaled: whether there are a RescaleSlope and a RescaleIntercept.
        real_world: slope and intercept of the frame's own real world value mapping, None without.
        instance_number: InstanceNumber, None when missing.
        tags: what tells the scans of a series apart, see `imaging.dicom.tags.TAGS`.
        notes: stable codes of what was odd.
        lossy: whether the pixels were compressed with loss.
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
    real_world: tuple[float, float] | None
    instance_number: int | None
    tags: ScanTags
    notes: tuple[str, ...] = ()
    lossy: bool = False


def slice_headers(dataset: Elements, file: str) -> list[SliceHeader]:
    """Headers of every frame of one image object, in file order."""
    frames = frame_count(dataset)
    if frames == 1:
        return [_header(Groups(dataset, 0), dataset, file, 0)]
    described = min(len(items(dataset, "PerFrameFunctionalGroupsSequence")), frames)
    headers = [_header(Groups(dataset, k), dataset, file, k) for k in range(described)]
    if described < frames:
        # Classic multi-frame: one root position cannot be every frame's. All else they share.
        common = _header(Groups(dataset, described), dataset, file, described)
        headers += [replace(common, frame=k, position=None) for k in range(described, frames)]
    return headers


def _header(groups: Groups, dataset: Elements, file: str, frame: int) -> SliceHeader:
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
        real_world=_real_world(groups),
        instance_number=integer(dataset, "InstanceNumber"),
        tags=read_tags(groups),
        notes=notes,
    )


def _orientation(groups: Groups) -> tuple[float, ...] | None:
    holder = groups.find("PlaneOrientationSequence", "ImageOrientationPatient")
    cosines = numbers(holder, "ImageOrientationPatient", 6)
    return _unit_vectors(tuple(cosines)) if cosines else None


@lru_cache(ORIENTATIONS_KEPT)
def _unit_vectors(cosines: tuple[float, ...]) -> tuple[float, ...] | None:
    columns, rows = cosines[:3], cosines[3:]
    lengths = (math.hypot(*columns), math.hypot(*rows))
    if max(abs(length - 1) for length in lengths) > ORIENTATION_TOLERANCE:
        return None
    unit = [c / lengths[0] for c in columns] + [c / lengths[1] for c in rows]
    if abs(sum(a * b for a, b in zip(unit[:3], unit[3:], strict=True))) > ORIENTATION_TOLERANCE:
        return None
    return tuple(value + 0.0 for value in unit)  # + 0.0 turns -0.0 into 0.0


def _position(groups: Groups) -> Vector | None:
    holder = groups.find("PlanePositionSequence", "ImagePositionPatient")
    place = numbers(holder, "ImagePositionPatient", 3)
    if not place or max(map(abs, place)) > LARGEST_COORDINATE:
        return None
    return (place[0] + 0.0, place[1] + 0.0, place[2] + 0.0)


def _rescale(groups: Groups) -> tuple[float, float, bool, tuple[str, ...]]:
    """Slope and intercept of PS3.3 C.11.1.1.2 (output = slope * stored + intercept), and notes."""
    macro = "PixelValueTransformationSequence"
    slope_at, intercept_at = (groups.find(macro, name) for name in ("RescaleSlope", INTERCEPT))
    slope, intercept = number(slope_at, "RescaleSlope"), number(intercept_at, INTERCEPT)
    notes: tuple[str, ...] = ()
    if slope_at is not None and not slope:
        notes = ("rescale_slope_unusable",)
    if intercept_at is not None and intercept is None:
        notes = (*notes, "rescale_intercept_unusable")
    if intercept is not None and has_thousands_comma(groups.root, INTERCEPT):
        intercept, notes = None, (*notes, "rescale_intercept_unusable")
    if has_decimal_comma(groups.root, "RescaleSlope", INTERCEPT, "PixelSpacing", POSITION):
        notes = (*notes, "decimal_comma")
    if intercept is not None and intercept >= LARGEST_INTERCEPT:
        intercept -= 2 * LARGEST_INTERCEPT
    rescaled = slope_at is not None and intercept_at is not None
    return slope or 1.0, intercept or 0.0, rescaled, notes


def _real_world(groups: Groups) -> tuple[float, float] | None:
    """Slope and intercept of the real world value mapping (PS3.3 C.7.6.16.2.11), if linear."""
    root = groups.root
    if not groups.levels:
        if REAL_WORLD not in root.keywords or number(root, "RescaleSlope") not in (None, 1.0):
            return None
    mapping = groups.inside(REAL_WORLD, "RealWorldValueSlope") or item(root, REAL_WORLD)
    slope = number(mapping, "RealWorldValueSlope")
    return (slope, number(mapping, "RealWorldValueIntercept") or 0.0) if slope else None
