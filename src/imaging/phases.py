"""Several volumes at the same positions: one is kept whole, never a mixture.

4-D series have a volume per time, echo, b-value or heart phase under one SeriesInstanceUID.
"""

from collections import defaultdict
from collections.abc import Callable

import numpy as np

from src.imaging.copies import SamePixels, preference
from src.imaging.headers import PHASE_NAMES, SliceHeader
from src.imaging.outcome import Findings

SAME_POSITION_MM = 0.01
"""Slices nearer than this along the normal lie at one position; no scan is that thin."""

PHASE_COVERAGE = 0.9
"""A volume of a 4-D series must fill this share of the positions to stand for it."""

DEGENERATE_SHARE = 0.5
"""Share of the slices at one position above which positions cannot tell the order."""

FEWEST_DEGENERATE = 4
"""Slices below which a shared position is a duplicate, not a sign of useless positions."""

PhaseKey = Callable[[SliceHeader], tuple[object, ...]]
"""What slices of one volume have in common."""


def one_volume(
    headers: list[SliceHeader], depth: np.ndarray, same_pixels: SamePixels, findings: Findings
) -> list[SliceHeader] | None:
    """One slice per position; of a 4-D series, one whole volume and never a mixture.

    Args:
        headers: slices in order of `depth`.
        depth: mm along the normal, ascending, (n,).
        same_pixels: whether two slices have the same values.
        findings: gets `volumes_dropped:COUNT slices:by TAG`, `volume_incomplete`,
            `duplicate_slice` or `duplicate_position`.

    Returns:
        The volume; None when most slices share one position, so that positions say nothing.
    """
    new_place = np.concatenate([[False], np.diff(depth) > SAME_POSITION_MM])
    place = np.cumsum(new_place)
    places = int(place[-1]) + 1
    if places == len(headers):
        return headers
    if places == 1:
        return None
    where = {id(header): int(p) for header, p in zip(headers, place, strict=True)}
    for tag, key in [*_phase_keys(), ("instance_number", _rank_by_number(headers, where))]:
        volume = _first_whole_volume(headers, where, places, key)
        if volume is not None:
            _drop_others(headers, volume, where, tag, findings)
            return volume
    crowd = int(np.bincount(place).max())
    if len(headers) >= FEWEST_DEGENERATE and crowd > DEGENERATE_SHARE * len(headers):
        return None
    first: dict[int, SliceHeader] = {}
    for header in sorted(headers, key=preference):
        standing = first.setdefault(where[id(header)], header)
        if standing is not header:
            code = "duplicate_slice" if same_pixels(standing, header) else "duplicate_position"
            findings.leave_out(code, header.file, header.frame)
    return [first[p] for p in range(places)]


def _drop_others(
    headers: list[SliceHeader],
    volume: list[SliceHeader],
    where: dict[int, int],
    tag: str,
    findings: Findings,
) -> None:
    """Leave out all but one volume; a slice is lost where that volume has none at its place."""
    kept, filled = {id(header) for header in volume}, {where[id(header)] for header in volume}
    dropped = 0
    for header in headers:
        if id(header) in kept:
            continue
        code = "volumes_dropped" if where[id(header)] in filled else "volume_incomplete"
        findings.leave_out(code, header.file, header.frame)
        dropped += code == "volumes_dropped"
    findings.remarks.append(f"volumes_dropped:{dropped} slices:by {tag}")


def _phase_keys() -> list[tuple[str, PhaseKey]]:
    """Each phase tag alone, then all of them together."""

    def single(index: int) -> PhaseKey:
        return lambda header: (header.phase[index],)

    keys = [(name, single(index)) for index, name in enumerate(PHASE_NAMES)]
    return [*keys, ("all tags", lambda header: header.phase)]


def _rank_by_number(headers: list[SliceHeader], where: dict[int, int]) -> PhaseKey:
    """Rank by InstanceNumber among the slices at one place.

    It tells volumes apart where every place has equally many slices, each with its own number;
    else all ranks are equal.
    """
    at: dict[int, list[SliceHeader]] = defaultdict(list)
    for header in sorted(headers, key=preference):
        at[where[id(header)]].append(header)
    given = {header.instance_number for header in headers} - {None}
    if len(given) < len(headers) or len({len(alike) for alike in at.values()}) > 1:
        return lambda header: ()
    rank = {id(header): k for alike in at.values() for k, header in enumerate(alike)}
    return lambda header: (float(rank[id(header)]),)


def _first_whole_volume(
    headers: list[SliceHeader],
    where: dict[int, int],
    places: int,
    key: PhaseKey,
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
