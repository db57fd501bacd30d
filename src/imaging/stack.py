"""Which slices of a series form its volume, and in what order.

The order is along the slice normal, the cross product of ImageOrientationPatient (PS3.3
C.7.6.2.1.1), never by file name, InstanceNumber or one coordinate.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from src.imaging.dicom import natural_key
from src.imaging.geometry import slice_normal
from src.imaging.headers import PHASE_NAMES, SliceHeader
from src.imaging.outcome import Findings

SAME_ORIENTATION = 0.999
"""Cosine between image axes above which two slices are parallel (2.6 degrees); files of one
stack differ by rounding only, scouts by 90 degrees."""

SAME_POSITION_MM = 0.01
"""Slices nearer than this along the normal lie at one position; no scan is that thin."""

SPACING_TOLERANCE = 0.1
"""Share of the median by which a step may differ before the spacing counts as irregular."""

TILT_TOLERANCE_DEGREES = 0.5
"""Angle between the slice step and the normal from which a gantry tilt is noted."""

PHASE_COVERAGE = 0.9
"""A volume of a 4-D series must fill this share of the positions to stand for it."""


@dataclass
class Stack:
    """The chosen slices in order along the normal, ascending."""

    headers: list[SliceHeader]
    known: bool
    """Whether positions gave the order; else InstanceNumber or the file name did."""


def choose_stack(headers: Sequence[SliceHeader], findings: Findings) -> Stack:
    """Keep the dominant stack of a series and put it in order.

    Args:
        headers: every grey slice of the series; not empty.
        findings: gets what is left out, and how the order was found.
    """
    chosen = _without_copies(headers, findings)
    chosen = _largest(chosen, lambda header: header.shape, "mixed_matrix", findings)
    cluster = _orientation_clusters(chosen)
    chosen = _largest(chosen, lambda header: cluster[id(header)], "mixed_orientation", findings)
    placed = [header for header in chosen if header.position is not None]
    if chosen[0].orientation is None or 2 * len(placed) <= len(chosen):
        what = "orientation_missing" if chosen[0].orientation is None else "position_missing"
        findings.remarks.append(what)
        return _by_number(chosen, findings)
    _leave_out([h for h in chosen if h.position is None], "position_missing", findings)
    depth = _depths(placed)
    if len(placed) > 1 and np.ptp(depth) < SAME_POSITION_MM:
        findings.remarks.append("single_position")
        return _by_number(placed, findings)
    order = np.argsort(depth, kind="stable")
    return Stack(_one_volume([placed[i] for i in order], depth[order], findings), True)


def _leave_out(headers: Iterable[SliceHeader], code: str, findings: Findings) -> None:
    for header in headers:
        findings.leave_out(code, header.file, header.frame)


def _preference(header: SliceHeader) -> tuple[object, ...]:
    """Order in which equals are taken, independent of file names as far as possible."""
    number = header.instance_number
    return (number is None, number or 0, natural_key(header.file), header.frame)


def _without_copies(headers: Sequence[SliceHeader], findings: Findings) -> list[SliceHeader]:
    """One header per SOPInstanceUID and frame; the first by InstanceNumber and name stays."""
    kept: dict[Hashable, SliceHeader] = {}
    for header in sorted(headers, key=_preference):
        name = header.sop_uid or f"file {header.file}"
        if kept.setdefault((name, header.frame), header) is not header:
            _leave_out([header], "duplicate_sop", findings)
    return list(kept.values())


def _largest(
    headers: list[SliceHeader],
    key: Callable[[SliceHeader], Hashable],
    code: str,
    findings: Findings,
) -> list[SliceHeader]:
    """The largest group of equal key; ties go to more pixels, then to the first in order."""
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    largest = max(groups.values(), key=lambda group: (len(group), group[0].shape))
    for group in groups.values():
        if group is not largest:
            _leave_out(group, code, findings)
    return largest


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


def _depths(headers: Sequence[SliceHeader]) -> np.ndarray:
    """Mm along the normal of the first slice, float64 (n,)."""
    orientation = headers[0].orientation
    if orientation is None:
        raise ValueError("depth along the normal needs an orientation")
    places = np.array([header.position for header in headers], dtype=np.float64)
    depths: np.ndarray = places @ slice_normal(orientation)
    return depths


def _by_number(headers: list[SliceHeader], findings: Findings) -> Stack:
    """Order by InstanceNumber, frame and natural file name when positions cannot tell."""
    ordered = sorted(headers, key=_preference)
    keys = {(header.instance_number, header.frame) for header in ordered}
    numbered = all(header.instance_number is not None for header in ordered)
    by_number = numbered and len(keys) == len(ordered)
    findings.remarks.append("order_by_instance_number" if by_number else "order_by_file_name")
    return Stack(ordered, False)


def _one_volume(
    headers: list[SliceHeader], depth: np.ndarray, findings: Findings
) -> list[SliceHeader]:
    """One slice per position; of a 4-D series, one whole volume and never a mixture.

    Args:
        headers: slices in order of `depth`.
        depth: mm along the normal, ascending, (n,).
        findings: gets `volumes_dropped:COUNT slices:by TAG` or `duplicate_position:COUNT`.
    """
    new_place = np.concatenate([[False], np.diff(depth) > SAME_POSITION_MM])
    place = np.cumsum(new_place)
    places = int(place[-1]) + 1
    if places == len(headers):
        return headers
    where = {id(header): int(p) for header, p in zip(headers, place, strict=True)}
    for tag, key in _phase_keys():
        volume = _first_whole_volume(headers, where, places, key)
        if volume is not None:
            kept = {id(header) for header in volume}
            dropped = [header for header in headers if id(header) not in kept]
            _leave_out(dropped, "volumes_dropped", findings)
            findings.remarks.append(f"volumes_dropped:{len(dropped)} slices:by {tag}")
            return volume
    first: dict[int, SliceHeader] = {}
    for header in sorted(headers, key=_preference):
        if first.setdefault(where[id(header)], header) is not header:
            _leave_out([header], "duplicate_position", findings)
    return [first[p] for p in range(places)]


def _phase_keys() -> list[tuple[str, Callable[[SliceHeader], tuple[object, ...]]]]:
    """Each phase tag alone, then all of them together."""

    def single(index: int) -> Callable[[SliceHeader], tuple[object, ...]]:
        return lambda header: (header.phase[index],)

    keys = [(name, single(index)) for index, name in enumerate(PHASE_NAMES)]
    return [*keys, ("all tags", lambda header: header.phase)]


def _first_whole_volume(
    headers: list[SliceHeader],
    where: dict[int, int],
    places: int,
    key: Callable[[SliceHeader], tuple[object, ...]],
) -> list[SliceHeader] | None:
    """The first volume (smallest key) of those that fill the most positions, if it will do."""
    volumes: dict[tuple[object, ...], list[SliceHeader]] = defaultdict(list)
    for header in headers:
        volumes[key(header)].append(header)
    whole = {
        name: volume
        for name, volume in volumes.items()
        if len({where[id(header)] for header in volume}) == len(volume)
        and len(volume) >= PHASE_COVERAGE * places
    }
    if not whole:
        return None
    return min(whole.items(), key=lambda entry: (-len(entry[1]), _sortable(entry[0])))[1]


def _sortable(key: tuple[object, ...]) -> tuple[tuple[int, float, str], ...]:
    return tuple((0, part, "") if isinstance(part, float) else (1, 0.0, str(part)) for part in key)


def spacing_along(positions: np.ndarray, normal: np.ndarray) -> tuple[float, list[str]]:
    """Median slice spacing in mm, from positions only, and notes on its regularity.

    Args:
        positions: float64 (n, 3) mm in order along the normal, n at least 2.
        normal: unit slice normal (3,).

    Returns:
        The spacing, and `irregular_spacing:LOW-HIGH`, `gaps:COUNT:largest MM`,
        `gantry_tilt:DEGREES`.
    """
    steps = np.abs(np.diff(positions @ normal))
    spacing = float(np.median(steps))
    notes = []
    if np.any(np.abs(steps - spacing) > SPACING_TOLERANCE * spacing):
        notes.append(f"irregular_spacing:{steps.min():.2f}-{steps.max():.2f} mm")
    gaps = steps > 1.5 * spacing
    if gaps.any():
        notes.append(f"gaps:{int(gaps.sum())}:largest {steps.max():.2f} mm")
    path = positions[-1] - positions[0]
    tilt = float(np.degrees(np.arccos(min(abs(path @ normal) / np.linalg.norm(path), 1.0))))
    if tilt > TILT_TOLERANCE_DEGREES:
        notes.append(f"gantry_tilt:{tilt:.1f} degrees")
    return spacing, notes
