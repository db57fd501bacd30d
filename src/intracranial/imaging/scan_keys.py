"""By what the slices of a series are told apart: their tags, then their numbers and names."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intracranial.imaging.continuity import SAME_POSITION_MM
from intracranial.imaging.dicom.headers import SliceHeader
from intracranial.imaging.dicom.tags import MAGNITUDE, SAME_VALUE, TAGS, Value
from intracranial.imaging.folder import natural_key

SAME_SPACING = 0.01
"""Share by which PixelSpacing may differ within a scan: half a pixel at the edge of 100."""

OTHER_CONTRAST = 1.2
"""Ratio of two echo times, or b-values, from which they show another contrast."""

FEW_VALUES = 3
"""Slices for each distinct time from which on every time is a scan's, not a slice's."""

LONG_PAUSE = 5
"""Usual pauses between the times of neighbouring slices that separate two acquisitions."""

JUMP = 0.5
"""Share of the extent by which slices in the order of their numbers go back to a new scan."""

MOST_RUNS = 2
"""Runs for each scan that could fill all positions; an order that is none has more."""

NUMBER_TOLERANCE = 0.2
"""Share of a step by which a position may leave the line over InstanceNumber."""


@dataclass(frozen=True, eq=False)
class Key:
    """A value of every slice, as a group's number; -1 for none."""

    name: str
    groups: np.ndarray
    apart: Callable[[int, int], bool] = lambda one, other: False
    """Whether two groups show another contrast."""

    picture: bool = False
    """Two groups may show another picture, see `imaging.dicom.tags.Tag`."""

    unless_in_order: bool = False
    """Groups whose slices are numbered on from one to the other show no other contrast."""

    always: bool = False
    """Two groups are never one scan."""

    derived: bool = False
    """From numbers and names, not from what was scanned: it separates scans that each fill at
    least the larger part of the positions, not single slices."""


def instance_numbers(headers: Sequence[SliceHeader]) -> np.ndarray:
    """InstanceNumber of every slice, float64 (n,), NaN where there is none."""
    given = [header.instance_number for header in headers]
    return np.array([np.nan if number is None else number for number in given], dtype=np.float64)


def all_keys(headers: Sequence[SliceHeader], depth: np.ndarray, places: int) -> Iterator[Key]:
    """Everything by which slices are told apart, the most telling first.

    Args:
        headers: parallel slices in order of `depth`.
        depth: mm along the normal, ascending, float64 (n,).
        places: number of different positions.
    """
    spacing = [header.pixel_spacing or (0.0, 0.0) for header in headers]
    if len(set(spacing)) > 1:
        axes = (_clusters([pair[axis] for pair in spacing], SAME_SPACING) for axis in (0, 1))
        yield Key("pixel_spacing", _numbered(zip(*axes, strict=True)), always=True)
    for tag, values in zip(
        TAGS, zip(*(header.tags for header in headers), strict=True), strict=True
    ):
        if len(set(values)) == 1:
            continue
        if tag.name == "study":
            if is_told(values):
                yield Key(tag.name, _numbered(values), always=True)
        elif tag.name == "component":
            yield Key(tag.name, _numbered(value or MAGNITUDE for value in values), always=True)
        elif tag.name == "acquisition_time":
            yield Key(tag.name, _by_pauses(values))
        elif tag.name == "dimension":
            indices = [str(value).split("\\") for value in values]
            for index in range(min(map(len, indices))):
                yield Key(tag.name, _numbered(each[index] for each in indices))
        else:
            found = _clusters(values, SAME_VALUE)
            yield Key(
                tag.name,
                found,
                _contrast(values, found) if tag.contrast else _never,
                picture=tag.picture or tag.contrast,
                unless_in_order=tag.name == "patient",
            )
    frames = Counter(header.file for header in headers)
    if 1 < len(frames) < len(headers):
        objects = [header.sop_uid if frames[header.file] > 1 else "" for header in headers]
        yield Key("object", _numbered(objects))
    numbers = instance_numbers(headers)
    changes = np.diff(numbers)
    if not (changes > 0).all() and not (changes < 0).all():  # or with NaN
        yield Key("instance_number", _by_line(numbers, depth), derived=True)
        yield Key("instance_number", _runs(numbers.tolist(), depth, places), derived=True)


def is_told(studies: Sequence[Value]) -> bool:
    """Whether slices are of several studies: several days, or several patients.

    Where every slice has a StudyInstanceUID of its own, an anonymiser made them up.
    """
    return 1 < len(set(studies)) < len(studies) and "" not in studies


def keys_of_names(headers: Sequence[SliceHeader], depth: np.ndarray, places: int) -> Iterator[Key]:
    """The same where nothing in the headers tells slices at one position apart."""
    for name, words in (
        ("sop_uid", [header.sop_uid for header in headers]),
        ("file_name", [header.file for header in headers]),
    ):
        runs = _runs([natural_key(word) for word in words], depth, places)
        yield Key(name, runs, derived=True)


def _runs(keys: Sequence[Any], depth: np.ndarray, places: int) -> np.ndarray:
    """Runs through the head in an order; a new one begins where the positions jump back."""
    none = np.zeros(len(keys), dtype=np.int64)
    if len(set(keys)) < len(keys) or any(key != key for key in keys):
        return none
    order = np.array(sorted(range(len(keys)), key=lambda i: keys[i]))
    moves = np.diff(depth[order])
    if not moves.size:
        return none
    extent = depth[-1] - depth[0]
    moves *= np.sign(np.median(moves))
    jumps = moves < -JUMP * extent
    if (moves[~jumps] <= 0).any() or (jumps.sum() + 1) * places > MOST_RUNS * len(keys):
        return none
    none[order] = np.concatenate([[0], np.cumsum(jumps)])
    return none


def _by_line(numbers: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Lines of positions over InstanceNumber, which restarts with every scan."""
    none = np.zeros(len(numbers), dtype=np.int64)
    values, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    if np.isnan(values).any() or not 2 < len(values) < len(inverse):
        return none
    if (counts == counts[0]).all():  # every number as often: the first of each, the second of each
        order = np.lexsort((depth, inverse))
        none[order] = np.tile(np.arange(counts[0]), len(values))
        return none
    middles = np.bincount(inverse, depth) / counts
    step = float(np.median(np.diff(middles) / np.diff(values)))
    if abs(step) < SAME_POSITION_MM:
        return none
    offsets = depth - step * numbers
    order = np.argsort(offsets, kind="stable")
    jumps = np.diff(offsets[order]) > NUMBER_TOLERANCE * abs(step)
    none[order] = np.concatenate([[0], np.cumsum(jumps)])
    return none


def _never(one: int, other: int) -> bool:
    return False


def _contrast(values: Sequence[Value], groups: np.ndarray) -> Callable[[int, int], bool]:
    """Whether the values of two groups are known and far apart."""
    of = {int(group): value for group, value in zip(groups, values, strict=True)}

    def apart(one: int, other: int) -> bool:
        a, b = of[one], of[other]
        if isinstance(a, str) or isinstance(b, str):
            return "" not in (a, b)
        low, high = sorted((abs(a), abs(b)))
        return high > OTHER_CONTRAST * low

    return apart


def _numbered(values: Iterable[Hashable]) -> np.ndarray:
    """Equal values as equal numbers, in order of their first appearance along the normal."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], dtype=np.int64)


def _clusters(values: Sequence[Value], tolerance: float) -> np.ndarray:
    """Numbers by clusters in which neighbours differ by a share at most; other values by name."""
    known = sorted({value for value in values if isinstance(value, float)})
    cluster: dict[Value, int] = {}
    count = 0
    for before, number in zip([None, *known], known, strict=False):
        near = before is not None and number - before <= tolerance * max(abs(number), abs(before))
        count += not near
        cluster[number] = count - 1
    for value in values:
        if value not in cluster:
            cluster[value] = count
            count += 1
    return np.array([cluster[value] for value in values], dtype=np.int64)


def _by_pauses(values: Sequence[Value]) -> np.ndarray:
    """Acquisitions by their times: each time for itself, or times without a long pause between."""
    seconds = sorted({value for value in values if isinstance(value, float)})
    if len(seconds) < 2 or FEW_VALUES * len(seconds) <= len(values):
        return _clusters(values, 0.0)
    pauses = np.diff(seconds)
    breaks = pauses > LONG_PAUSE * np.median(pauses)
    group: dict[Value, int] = {}
    group.update(zip(seconds, [0, *np.cumsum(breaks).tolist()], strict=True))
    return np.array([group.get(value, -1) for value in values], dtype=np.int64)
