"""The scans that one series holds, and which of them is kept: whole, never a mixture.

Slices are separated by the values in which the slices of a scan agree (`imaging.dicom.tags`), then
by their numbers. A value that differs within one scan (a table that moves, a slip of one header)
separates nothing: `imaging.continuity` tells the two apart by where the slices lie.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from intracranial.imaging.continuity import (
    FEWEST,
    REGULAR,
    SAME_POSITION_MM,
    Positions,
    are_one_volume,
    covered,
    in_order,
    usual_step,
    whole_of,
)
from intracranial.imaging.copies import SamePixels, preference
from intracranial.imaging.dicom.headers import SliceHeader
from intracranial.imaging.dicom.tags import AT, TAGS, is_magnitude, is_original
from intracranial.imaging.folder import natural_key
from intracranial.imaging.outcome import Findings
from intracranial.imaging.pixels import Phase
from intracranial.imaging.scan_keys import Key, all_keys, instance_numbers, keys_of_names

WHOLE = 0.9
"""Share of the positions that a scan fills, of all that it is separated from, to be whole."""

PART = 0.5
"""The same for a scan that is at least the larger part of it."""

JITTER = 0.1
"""Share of a usual step within which slices of two scans lie at one place."""

MOST_COPIES = 4
"""Slices that share a place and all values, up to which they may be copies and not time points."""

DEGENERATE_SHARE = 0.5
"""Share of the slices at one position above which positions cannot tell the order."""

FEWEST_DEGENERATE = 4
"""Slices below which a shared position is a duplicate, not a sign of useless positions."""


@dataclass(frozen=True, eq=False)
class Scan:
    """Slices that make one scan.

    Attributes:
        members: indices of its headers, in order of depth, int64 (n,).
        path: what it was separated by, and which part it became, from the first separation on.
    """

    members: np.ndarray
    path: tuple[tuple[str, int], ...]


def one_scan(
    headers: list[SliceHeader],
    depth: np.ndarray,
    same_pixels: SamePixels,
    findings: Findings,
    phase: Phase = "first",
) -> list[SliceHeader] | None:
    """One slice per position, all of one scan.

    Args:
        headers: parallel slices in order of `depth`.
        depth: mm along the normal, ascending, (n,).
        same_pixels: whether two slices have the same values.
        findings: gets `volumes_dropped:COUNT slices:by TAG`, `volume_incomplete` likewise,
            `duplicate_slice`, `overlapping_slice` or `duplicate_position`.
        phase: which of several that are alike is kept.

    Returns:
        The volume; None when most slices share one position, so that positions say nothing.
    """
    headers, depth = _without_exact_copies(headers, depth, same_pixels, findings)
    places = np.concatenate([[0], np.cumsum(np.diff(depth) > SAME_POSITION_MM)])
    if len(headers) > 1 and places[-1] == 0:
        return None
    scans = _Separation(headers, depth, places).scans()
    near = near_places(depth)
    if len({header.tags[AT["patient"]] for header in headers} - {""}) > 1 and len(scans) == 1:
        findings.remarks.append("several_patient_ids")
    if len(scans) == 1 and near[-1] + 1 == len(headers):
        return headers
    sizes = {id(scan): len(np.unique(places[scan.members])) for scan in scans}
    half = max(sizes.values()) / 2
    best = min(
        scans,
        key=lambda scan: (
            sizes[id(scan)] < half,
            *_rank(scan, sizes[id(scan)], headers, depth, phase),
        ),
    )
    crowd = int(np.bincount(places[best.members]).max())
    if len(best.members) >= FEWEST_DEGENERATE and crowd > DEGENERATE_SHARE * len(best.members):
        return None
    _leave_out_others(best, scans, headers, depth, findings)
    kept = [headers[i] for i in best.members]
    where = {id(headers[i]): int(near[i]) for i in best.members}
    first: dict[int, SliceHeader] = {}
    for header in sorted(kept, key=preference):
        standing = first.setdefault(where[id(header)], header)
        if standing is not header:
            findings.leave_out(_copy(standing, header, same_pixels), header.file, header.frame)
    return [first[place] for place in sorted(first)]


def _without_exact_copies(
    headers: list[SliceHeader], depth: np.ndarray, same_pixels: SamePixels, findings: Findings
) -> tuple[list[SliceHeader], np.ndarray]:
    """Without copies under another SOPInstanceUID, where slices of one scan share a place."""
    alike: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        alike[header.position, header.tags].append(header)
    copies: set[int] = set()
    for group in alike.values():
        if 1 < len(group) <= MOST_COPIES:
            first, *others = sorted(group, key=preference)
            copies |= {id(header) for header in others if same_pixels(first, header)}
    for header in headers:
        if id(header) in copies:
            findings.leave_out("duplicate_slice", header.file, header.frame)
    kept = [k for k, header in enumerate(headers) if id(header) not in copies]
    return [headers[k] for k in kept], depth[kept]


def _copy(standing: SliceHeader, header: SliceHeader, same_pixels: SamePixels) -> str:
    """Why a second slice at a position is left out."""
    if same_pixels(standing, header):
        return "duplicate_slice"
    return "overlapping_slice" if standing.tags != header.tags else "duplicate_position"


def _leave_out_others(
    best: Scan,
    scans: Sequence[Scan],
    headers: Sequence[SliceHeader],
    depth: np.ndarray,
    findings: Findings,
) -> None:
    """Leave out all other scans; a slice is lost where the kept one does not reach."""
    counts: Counter[tuple[str, str]] = Counter()
    for scan in scans:
        if scan is best:
            continue
        pairs = zip(scan.path, best.path, strict=False)
        name = next(one[0] for one, other in pairs if one != other)
        for i, filled in zip(
            scan.members, covered(depth[scan.members], depth[best.members]), strict=True
        ):
            code = "volumes_dropped" if filled else "volume_incomplete"
            findings.leave_out(code, headers[i].file, headers[i].frame)
            counts[code, name] += 1
    for (code, name), count in counts.items():
        findings.remarks.append(f"{code}:{count} slices:by {name}")


def _rank(
    scan: Scan, size: int, headers: Sequence[SliceHeader], depth: np.ndarray, phase: Phase
) -> tuple[object, ...]:
    """Order of preference: original, magnitude, more slices, then the first or last that was made.

    Names decide only where nothing else does, so that the choice is the same every time.
    """
    members = [headers[i] for i in scan.members]
    made: list[float] = []
    for place, tag in enumerate(TAGS):
        if tag.ordered or tag.contrast:
            found = [h.tags[place] for h in members if isinstance(h.tags[place], float)]
            value = float(np.median(np.array(found))) if found else float("inf")
            made.append(-value if phase == "last" and tag.ordered and found else value)
    numbers = [h.instance_number for h in members if h.instance_number is not None]
    number = min(numbers, default=0)
    return (
        2 * sum(is_original(header.tags) for header in members) <= len(members),
        2 * sum(is_magnitude(header.tags) for header in members) <= len(members),
        -size,
        2 * sum(header.lossy for header in members) > len(members),
        *made,
        -number if phase == "last" else number,
        float(depth[scan.members[0]]),
        min(natural_key(header.sop_uid) for header in members),
        min(natural_key(header.file) for header in members),
    )


class _Separation:
    """Separates the slices of a series into scans."""

    def __init__(
        self, headers: Sequence[SliceHeader], depth: np.ndarray, places: np.ndarray
    ) -> None:
        self._headers, self._depth, self._places = headers, depth, places
        self._numbers = instance_numbers(headers)
        self._nominal = np.array([h.nominal_step or np.nan for h in headers], dtype=np.float64)
        self._near = near_places(depth)
        count = int(self._near[-1]) + 1
        keys = list(all_keys(headers, depth, count))
        if count < len(headers):
            keys += keys_of_names(headers, depth, count)
        self._keys = [key for key in keys if key.groups.max() > 0]

    def scans(self) -> list[Scan]:
        """All scans, in no particular order."""
        return self._separated(np.arange(len(self._headers)), ())

    def _separated(self, members: np.ndarray, path: tuple[tuple[str, int], ...]) -> list[Scan]:
        for name, parts in self._candidates(members):
            return [
                scan
                for number, part in enumerate(parts)
                for scan in self._separated(part, (*path, (name, number)))
            ]
        return [Scan(members, path)]

    def _candidates(self, members: np.ndarray) -> Iterator[tuple[str, list[np.ndarray]]]:
        """Ways to separate slices, the most convincing first.

        That is a tag after which a scan is whole and has one slice per position, or all scans are
        whole; then a number that does the former; then what leaves at least the larger part of
        the positions filled.
        """
        separated = []
        for key in self._keys:
            parts = self._parts(members, key)
            shares = sorted(self._share(part, members) for part in parts)
            if len(parts) > 1 and (not key.derived or shares[-2] >= PART):
                separated.append((key, parts, shares))
        for parts in (self._by_rank(members), self._by_remainder(members)):
            if not parts:
                continue
            shares = sorted(self._share(part, members) for part in parts)
            separated.append((Key("instance_number", np.empty(0), derived=True), parts, shares))

        def has_whole(parts: list[np.ndarray]) -> bool:
            clean = [part for part in parts if len(np.unique(self._near[part])) == len(part)]
            return any(self._share(part, members) >= WHOLE for part in clean)

        for wanted in (
            lambda key, parts, shares: key.always,
            lambda key, parts, shares: not key.derived and has_whole(parts),
            lambda key, parts, shares: not key.derived and shares[0] >= WHOLE,
            lambda key, parts, shares: key.derived and has_whole(parts),
            lambda key, parts, shares: shares[-1] >= PART,
        ):
            yield from (
                (key.name, parts) for key, parts, shares in separated if wanted(key, parts, shares)
            )

    def _share(self, part: np.ndarray, members: np.ndarray) -> float:
        """Share of the positions that a part fills."""
        return float(covered(self._depth[members], self._depth[part]).mean())

    def _parts(self, members: np.ndarray, key: Key) -> list[np.ndarray]:
        """Groups of one value, those that are one scan in spite of it joined."""
        groups = key.groups[members]
        values = np.unique(groups)
        if not 1 < len(values) <= max(len(members) / 2, FEWEST_DEGENERATE):
            return []
        parts = [(int(value), members[groups == value]) for value in values]
        if key.always:
            return [part for _, part in parts]
        whole = whole_of(self._positions(members), key.picture)
        parts.sort(key=lambda entry: len(entry[1]) < FEWEST)
        joined: list[tuple[list[int], np.ndarray]] = []
        masks = np.zeros((0, int(self._places[members].max()) + 1), dtype=np.int32)
        for value, part in parts:
            mask = np.zeros(masks.shape[1], dtype=np.int32)
            mask[self._places[part]] = 1
            for at in np.flatnonzero(2 * (masks @ mask) < len(part)):
                of, own = joined[at]
                both = np.sort(np.concatenate([own, part]))
                contrast = any(key.apart(value, other) for other in of)
                contrast &= not (key.unless_in_order and in_order(self._numbers[both]))
                one, other = self._positions(own), self._positions(part)
                if are_one_volume(one, other, contrast, key.picture, whole):
                    joined[at] = ([*of, value], both)
                    masks[at] |= mask
                    break
            else:
                joined.append(([value], part))
                masks = np.vstack([masks, mask])
        return [part for _, part in joined]

    def _by_remainder(self, members: np.ndarray) -> list[np.ndarray]:
        """Volumes whose slices were numbered position by position, where some are missing."""
        numbers, counts = self._numbers[members], np.bincount(self._near[members])
        count = int(counts.max())
        full = np.mean(counts[counts > 0] == count)
        if count == 1 or full < REGULAR or len(np.unique(numbers)) < len(numbers):
            return []
        if np.isnan(numbers).any():
            return []
        rounds = (numbers - numbers.min()) // count
        places = np.unique(self._near[members], return_inverse=True)[1]
        if (rounds != places).any() and (rounds != places.max() - places).any():
            return []
        remainders = (numbers - numbers.min()) % count
        parts = [members[remainders == value] for value in range(count)]
        clean = all(len(np.unique(self._near[part])) == len(part) > 0 for part in parts)
        return parts if clean else []

    def _positions(self, members: np.ndarray) -> Positions:
        stated = self._nominal[members]
        stated = stated[~np.isnan(stated)]
        nominal = float(np.median(stated)) if stated.size else float("nan")
        return Positions(self._depth[members], self._numbers[members], nominal)

    def _by_rank(self, members: np.ndarray) -> list[np.ndarray]:
        """Volumes by the rank of InstanceNumber among the slices at one place.

        That tells where every place has equally many slices, each with a number of its own.
        """
        numbers = self._numbers[members]
        counts = np.bincount(self._near[members])
        counts = counts[counts > 0]
        if (
            len(counts) == len(members)
            or np.isnan(numbers).any()
            or len(np.unique(numbers)) < len(numbers)
        ):
            return []
        if (counts != counts[0]).any():
            return []
        order = members[np.lexsort((numbers, self._near[members]))]
        return [np.sort(order[rank :: counts[0]]) for rank in range(counts[0])]


def near_places(depth: np.ndarray) -> np.ndarray:
    """Number of the place of each slice, where those nearer than a fraction of a step share one.

    Slices that are close over a long way are thin ones beside thick ones, not several at a place.
    """
    steps = np.diff(depth)
    usual = usual_step(depth)
    exact = np.concatenate([[0], np.cumsum(steps > SAME_POSITION_MM)])
    near = np.concatenate([[0], np.cumsum(steps > max(SAME_POSITION_MM, JITTER * usual))])
    first = np.searchsorted(near, near)
    return exact if (depth - depth[first]).max() > usual / 2 else near
