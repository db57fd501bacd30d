"""Which slices of a series form its volume, and in what order.

The order is along the slice normal, the cross product of ImageOrientationPatient (PS3.3
C.7.6.2.1.1), never by file name, InstanceNumber or one coordinate.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from intracranial.imaging.continuity import FEWEST, SAME_POSITION_MM, covered
from intracranial.imaging.copies import SamePixels, numbered, without_conflicts, without_copies
from intracranial.imaging.dicom.headers import SliceHeader
from intracranial.imaging.dicom.tags import AT, is_magnitude
from intracranial.imaging.geometry import slice_normal
from intracranial.imaging.outcome import Findings, SeriesError
from intracranial.imaging.pixels import Phase
from intracranial.imaging.scan_keys import is_told
from intracranial.imaging.scans import one_scan

SAME_ORIENTATION = 0.999
"""Cosine between image axes above which two slices are parallel (2.6 degrees); files of one
stack differ by rounding only, scouts by 90 degrees."""

SPACING_TOLERANCE = 0.1
"""Share of the median by which a step may differ before the spacing counts as irregular."""

TILT_TOLERANCE_DEGREES = 0.5
"""Angle between the slice step and the normal from which a gantry tilt is noted."""

LARGEST_JUMP_MM = 1.0
"""Shift of a slice along its plane, beyond that of a tilt, from which it is noted."""

SPACING_NOTED = 1e-3
"""Share by which PixelSpacing may vary by rounding: half a pixel in 512."""

MOST_COMPARED = 100
"""Directions of a stack that all others are compared with."""

ORIENTATION_NOTED_DEGREES = 0.1
"""Rounded direction cosines differ by a tenth of that."""

FEWEST_FITTED = 3
"""Positions that must lie on one line before it places others; two always do."""

FIT_TOLERANCE = 0.05
"""Share of the step by which a position may leave the line over InstanceNumber; written positions
are rounded to less."""


FEWEST_DIRECTIONS = 3
"""Directions of view from which images are no stack: localizers have three, rotating projections
more, none with more than a third of the images."""

CROSSED = 0.3
"""Cosine between slice normals below which planes cross (73 degrees)."""

MOST_LOCALIZERS = 15
"""Parallel images of a localizer in three planes; more are a stack."""

LARGEST_SHARE = 0.6
"""Of a localizer's images in one plane; a stack with scouts beside it has more."""


@dataclass
class Stack:
    """The chosen slices in order along the normal, ascending."""

    headers: list[SliceHeader]
    known: bool
    """Whether positions gave the order; else InstanceNumber or the file name did."""


def choose_stack(
    headers: Sequence[SliceHeader],
    same_pixels: SamePixels,
    findings: Findings,
    phase: Phase = "first",
) -> Stack:
    """Keep the dominant stack of a series and put it in order.

    Args:
        headers: every grey slice of the series; not empty.
        same_pixels: whether two slices have the same values.
        findings: gets what is left out, and how the order was found.
        phase: which of several scans that are alike is kept.

    Raises:
        SeriesError: `localizer` or `rotating_projections` where there is no stack.
    """
    chosen = without_copies(headers, same_pixels, findings)
    every = chosen
    chosen = _largest(chosen, lambda header: header.shape)
    other_size = _others(every, chosen)
    loose = _files_of_loose_frames(chosen)
    every, chosen = chosen, _largest(chosen, lambda header: header.file in loose)
    _leave_out(_others(every, chosen), "mixed_multi_frame", findings)
    cluster = _orientation_clusters(chosen)
    _refuse_what_is_no_stack(chosen, cluster)
    every, chosen = chosen, _largest(chosen, lambda header: cluster[id(header)])
    _leave_out(_others(every, chosen), "mixed_orientation", findings)
    chosen = _of_one_frame_of_reference(chosen, findings)
    chosen = without_conflicts(chosen, findings)
    studies = {header.tags[AT["study"]] for header in chosen}
    if 1 < len(studies) == len(chosen):
        findings.noticed["study_uid_ignored"] += len(chosen)
    chosen = _fit_positions(chosen, findings)
    placed = [header for header in chosen if header.position is not None]
    if chosen[0].orientation is None or 2 * len(placed) <= len(chosen):
        _leave_out(other_size, "mixed_matrix", findings)
        what = "orientation_missing" if chosen[0].orientation is None else "position_missing"
        findings.remarks.append(what)
        return _by_number(chosen, findings)
    _leave_out([h for h in chosen if h.position is None], "position_missing", findings)
    depth = _depths(placed)
    order = np.argsort(depth, kind="stable")
    volume = one_scan([placed[i] for i in order], depth[order], same_pixels, findings, phase)
    if volume is None:
        _leave_out(other_size, "mixed_matrix", findings)
        findings.remarks.append("single_position")
        return _by_number(placed, findings)
    _leave_out_other_sizes(other_size, volume, findings)
    return Stack(volume, True)


def _leave_out(headers: Iterable[SliceHeader], code: str, findings: Findings) -> None:
    for header in headers:
        findings.leave_out(code, header.file, header.frame)


def _files_of_loose_frames(headers: Sequence[SliceHeader]) -> set[str]:
    """Files of several frames, none of which has a position: classic multi-frame objects."""
    frames = Counter(header.file for header in headers)
    placed = {header.file for header in headers if header.position is not None}
    return {file for file, count in frames.items() if count > 1 and file not in placed}


def _of_one_frame_of_reference(headers: list[SliceHeader], findings: Findings) -> list[SliceHeader]:
    """The slices of the commonest FrameOfReferenceUID, and those without one.

    Positions of different frames of reference cannot be compared (PS3.3 C.7.4.1.1.1). Where every
    slice has its own, an anonymiser made them up.
    """
    named = [header for header in headers if header.frame_of_reference]
    count = len({header.frame_of_reference for header in named})
    if count < 2:
        return headers
    if count == len(named):
        findings.noticed["frame_of_reference_ignored"] += count
        return headers
    kept = _largest(named, lambda header: header.frame_of_reference)
    _leave_out(_others(named, kept), "mixed_frame_of_reference", findings)
    wanted = {"", kept[0].frame_of_reference}
    return [header for header in headers if header.frame_of_reference in wanted]


def _fit_positions(headers: list[SliceHeader], findings: Findings) -> list[SliceHeader]:
    """Place slices without a position on the line of the others over InstanceNumber, if exact."""
    placed = [header for header in headers if header.position is not None]
    given = [header.instance_number for header in headers]
    if len(placed) == len(headers) or len(placed) < FEWEST_FITTED:
        return headers
    if None in given or len(set(given)) < len(given):
        return headers
    numbers = np.array([header.instance_number for header in placed], dtype=np.float64)
    places = np.array([header.position for header in placed], dtype=np.float64)
    middle = numbers.mean()
    terms = np.column_stack([numbers - middle, np.ones(len(placed))])
    line = np.linalg.lstsq(terms, places, rcond=None)[0]  # (2, 3): mm per number, mm at the middle
    step = float(np.linalg.norm(line[0]))
    if step < SAME_POSITION_MM or np.abs(terms @ line - places).max() > FIT_TOLERANCE * step:
        return headers
    fitted = []
    for header in headers:
        if header.position is None and header.instance_number is not None:
            x, y, z = (line[1] + line[0] * (header.instance_number - middle)).tolist()
            notes = (*header.notes, "position_fitted")
            header = replace(header, position=(x, y, z), notes=notes)
            findings.noticed["position_fitted"] += 1
        fitted.append(header)
    return fitted


def _largest(
    headers: list[SliceHeader], key: Callable[[SliceHeader], Hashable]
) -> list[SliceHeader]:
    """The largest group of equal key; ties go to more pixels, then to the first in order."""
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    return max(groups.values(), key=lambda group: (len(group), group[0].shape))


def _only(
    headers: list[SliceHeader],
    key: Callable[[SliceHeader], Hashable],
    name: str,
    findings: Findings,
) -> list[SliceHeader]:
    """The largest group of equal key, None left aside; the others are another scan."""
    kept = _largest([header for header in headers if key(header) is not None], key)
    others = _others(headers, kept)
    if others:
        _leave_out(others, "volumes_dropped", findings)
        findings.remarks.append(f"volumes_dropped:{len(others)} slices:by {name}")
    return kept


def _others(headers: list[SliceHeader], kept: list[SliceHeader]) -> list[SliceHeader]:
    names = {id(header) for header in kept}
    return [header for header in headers if id(header) not in names]


def _leave_out_other_sizes(
    headers: list[SliceHeader], volume: list[SliceHeader], findings: Findings
) -> None:
    """Leave out images of another matrix; parallel ones are lost where the volume ends before."""
    beyond: list[SliceHeader] = []
    if volume[0].orientation is not None and len(headers) >= FEWEST:
        normal = slice_normal(volume[0].orientation)
        depth = _depths(volume)
        for header in headers:
            if header.position is None or header.orientation is None:
                continue
            if abs(slice_normal(header.orientation) @ normal) > SAME_ORIENTATION:
                place = np.array([float(np.asarray(header.position) @ normal)])
                beyond += [] if covered(place, np.sort(depth))[0] else [header]
    if len(beyond) < FEWEST:
        beyond = []
    _leave_out(_others(headers, beyond), "mixed_matrix", findings)
    _leave_out(beyond, "volume_incomplete", findings)


def _orientation_clusters(headers: Sequence[SliceHeader]) -> dict[int, int]:
    """Cluster of every header (by id): parallel image axes, or all without orientation (-1)."""
    centres: list[np.ndarray] = []
    found: dict[int, int] = {}
    for header in headers:
        if header.orientation is None:
            found[id(header)] = -1
            continue
        axes = np.asarray(header.orientation)
        for index, centre in enumerate(centres):
            if min(axes[:3] @ centre[:3], axes[3:] @ centre[3:]) > SAME_ORIENTATION:
                found[id(header)] = index
                break
        else:
            found[id(header)] = len(centres)
            centres.append(axes)
    return found


def _refuse_what_is_no_stack(headers: Sequence[SliceHeader], cluster: dict[int, int]) -> None:
    """Refuse series whose images lie in ever other directions, of which none is a stack.

    Raises:
        SeriesError: `localizer`, a few images in each of three planes; `rotating_projections`,
            views of the head from all around.
    """
    sizes = Counter(cluster[id(header)] for header in headers)
    if sizes.pop(-1, 0) or len(sizes) < FEWEST_DIRECTIONS:
        return
    largest = max(sizes.values())
    few = f"{len(headers)} images in {len(sizes)} directions, at most {largest} of them parallel"
    normals = [
        slice_normal(next(h.orientation for h in headers if cluster[id(h)] == of and h.orientation))
        for of in sizes
    ]
    crossed = all(abs(a @ b) < CROSSED for a, b in itertools.combinations(normals, 2))
    if crossed and largest <= min(MOST_LOCALIZERS, LARGEST_SHARE * len(headers)):
        raise SeriesError(
            "localizer",
            f"the series has {few}: localizers of the head, no stack of slices through it",
        )
    more = len(sizes) > FEWEST_DIRECTIONS or largest == 1
    if FEWEST_DIRECTIONS * largest <= len(headers) and more:
        raise SeriesError(
            "rotating_projections",
            f"the series has {few}: views from all around, no stack of slices; use the series that "
            "they were computed from",
        )


def _depths(headers: Sequence[SliceHeader]) -> np.ndarray:
    """Mm along the normal of the first slice, float64 (n,)."""
    orientation = headers[0].orientation
    if orientation is None:
        raise ValueError("depth along the normal needs an orientation")
    places = np.array([header.position for header in headers], dtype=np.float64)
    depths: np.ndarray = places @ slice_normal(orientation)
    return depths


def _by_number(headers: list[SliceHeader], findings: Findings) -> Stack:
    """Order by InstanceNumber, natural file name and frame when positions cannot tell."""
    if is_told([header.tags[AT["study"]] for header in headers]):
        headers = _only(headers, lambda header: header.tags[AT["study"]], "study", findings)
    if any(is_magnitude(header.tags) for header in headers):
        headers = _only(headers, lambda h: is_magnitude(h.tags) or None, "component", findings)
    ordered = sorted(headers, key=numbered)
    keys = {(header.instance_number, header.frame) for header in ordered}
    told = all(header.instance_number is not None for header in ordered)
    by_number = told and len(keys) == len(ordered)
    findings.remarks.append("order_by_instance_number" if by_number else "order_by_file_name")
    return Stack(ordered, False)


def spacing_along(positions: np.ndarray, normal: np.ndarray) -> tuple[float, list[str]]:
    """Median slice spacing in mm, from positions only, and notes on its regularity.

    Args:
        positions: float64 (n, 3) mm in order along the normal, n at least 2.
        normal: unit slice normal (3,).

    Returns:
        The spacing, and `irregular_spacing:LOW-HIGH`, `gaps:COUNT:largest MM`,
        `gantry_tilt:DEGREES`, `shifted_in_plane:COUNT:largest MM`.
    """
    steps = np.abs(np.diff(positions @ normal))
    spacing = float(np.median(steps))
    notes = []
    if np.any(np.abs(steps - spacing) > SPACING_TOLERANCE * spacing):
        notes.append(f"irregular_spacing:{steps.min():.2f}-{steps.max():.2f} mm")
    gaps = steps > 1.5 * spacing
    if gaps.any():
        notes.append(f"gaps:{int(gaps.sum())}:largest {steps.max():.2f} mm")
    across = np.diff(positions, axis=0) - np.outer(np.diff(positions @ normal), normal)
    usual = np.median(across, axis=0)
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(usual), spacing)))
    if tilt > TILT_TOLERANCE_DEGREES:
        notes.append(f"gantry_tilt:{tilt:.1f} degrees")
    # a gap is wider in proportion, and tilted in the same way
    expected = np.outer(steps / spacing, usual) if spacing else np.zeros_like(across)
    jumps = np.linalg.norm(across - expected, axis=1)
    if jumps.max() > LARGEST_JUMP_MM:
        notes.append(
            f"shifted_in_plane:{int((jumps > LARGEST_JUMP_MM).sum())}:largest {jumps.max():.1f} mm"
        )
    return spacing, notes


def variation(headers: Sequence[SliceHeader]) -> list[str]:
    """Notes on what should be equal in all slices of a stack, and differs by little.

    Returns:
        `pixel_spacing_varies:LOW-HIGH mm`, `orientation_varies:DEGREES`.
    """
    notes = []
    spacings = {h.pixel_spacing for h in headers if h.pixel_spacing is not None}
    if len(spacings) > 1:
        pairs = np.array(sorted(spacings))
        low, high = pairs.min(axis=0), pairs.max(axis=0)
        axis = int(np.argmax(high / low))
        if high[axis] > (1 + SPACING_NOTED) * low[axis]:
            notes.append(f"pixel_spacing_varies:{low[axis]:.4g}-{high[axis]:.4g} mm")
    directions = {h.orientation for h in headers if h.orientation is not None}
    if len(directions) > 1:
        axes = np.array(sorted(directions)).reshape(-1, 2, 3)
        some = axes[:: max(len(axes) // MOST_COMPARED, 1)]
        cosines = np.einsum("kad,lad->kla", axes, some).clip(-1, 1)
        degrees = float(np.degrees(np.arccos(cosines)).max())
        if degrees > ORIENTATION_NOTED_DEGREES:
            notes.append(f"orientation_varies:{degrees:.2f} degrees")
    return notes
