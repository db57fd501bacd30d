"""Whether two groups of parallel slices are one volume, by where they lie.

Two scans of one head lie at the same positions, or between each other's slices, hundredths or half
a step apart. Pieces of one scan follow each other (a table that moves), fill each other's gaps (a
slice whose header has a value of its own), or are packages of it (every second slice).
"""

from dataclasses import dataclass

import numpy as np

SAME_POSITION_MM = 0.01
"""Slices nearer than this along the normal lie at one position; no scan is that thin."""

NEAR = 0.25
"""Share of a step within which slices of two groups lie at one position."""

OVERLAP = 0.25
"""Share of the smaller group that may lie among the slices of one that it continues."""

REGULAR = 0.8
"""Share of the steps of a scan by itself that are about its median."""

FEWEST = 3
"""Slices that make a group a scan of its own where only the values of a tag tell."""

STRAYS = 0.1
"""Share of the larger group below which a few slices of another value are a slip of the header."""

HOLE = 1.5
"""Steps between two slices where one is missing between them."""

UNION_REGULAR = 0.9
"""Share of the steps of two groups together that are about their median, if they are one."""

FITS = 0.75
"""Share of its own thickness that a slice keeps from those of its scan."""

PACKAGE = 0.6
"""Share of the nominal distance that slices of two packages keep."""


@dataclass(frozen=True, eq=False)
class Positions:
    """Where the slices of a group lie.

    Attributes:
        depth: mm along the normal, ascending, float64 (n,), n at least 1.
        numbers: InstanceNumber of each, float64 (n,), NaN where there is none.
        nominal: distance between slices that the headers state (SpacingBetweenSlices, or else
            SliceThickness), mm; NaN where they do not.
    """

    depth: np.ndarray
    numbers: np.ndarray
    nominal: float

    @property
    def step(self) -> float:
        """Median distance between neighbours at different positions, mm; inf where all are one."""
        return step_of(self.depth)


def step_of(depth: np.ndarray) -> float:
    """As `Positions.step`."""
    steps = np.diff(depth)
    steps = steps[steps > SAME_POSITION_MM]
    return float(np.median(steps)) if steps.size else float("inf")


def is_regular(depth: np.ndarray, share: float) -> bool:
    """Whether so large a share of the steps is within a quarter of their median."""
    steps = np.diff(depth)
    steps = steps[steps > SAME_POSITION_MM]
    if not steps.size:
        return False
    median = np.median(steps)
    return bool(np.mean(np.abs(steps - median) <= NEAR * median) >= share)


def distances(depth: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mm from each position to the nearest of others, both ascending, float64 (n,)."""
    after = np.clip(np.searchsorted(others, depth), 1, len(others) - 1) if len(others) > 1 else 0
    before = np.maximum(np.asarray(after) - 1, 0)
    near: np.ndarray = np.minimum(np.abs(depth - others[after]), np.abs(depth - others[before]))
    return near


def covered(depth: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """Which positions lie at slices of a scan or between neighbours of it, bool (n,)."""
    step = step_of(scan)
    reach = 0.75 * step if np.isfinite(step) else SAME_POSITION_MM
    near: np.ndarray = distances(depth, scan) <= reach
    return near


def in_order(numbers: np.ndarray) -> bool:
    """Whether InstanceNumber grows or falls from slice to slice; never with NaN."""
    changes = np.diff(numbers)
    return bool((changes > 0).all() or (changes < 0).all())


@dataclass(frozen=True)
class Whole:
    """What all groups of a series are together."""

    settled: bool
    """They are one stack, as `is_one_stack` has it."""

    usual: float
    """Usual distance between neighbours, mm: of 0.03 and 0.97 in turn the latter."""


def whole_of(group: Positions, picture: bool) -> Whole:
    """What a series is, before its groups are compared; arguments as for `is_one_stack`."""
    return Whole(is_one_stack(group, picture), usual_step(group.depth))


def usual_step(depth: np.ndarray) -> float:
    """The upper quartile of the distances between neighbours at different positions, else 0."""
    steps = np.diff(depth)
    steps = steps[steps > SAME_POSITION_MM]
    return float(np.percentile(steps, 75)) if steps.size else 0.0


def is_one_stack(group: Positions, picture: bool) -> bool:
    """Whether slices lie as one scan lays them: evenly, and as far apart as their headers state.

    Args:
        group: the slices.
        picture: whether some of them may show the tissue otherwise than the rest. Then numbers in
            the order of the positions say nothing: some archives number all slices anew.
    """
    steps = np.diff(group.depth)
    if not steps.size or steps.min() < (1 - NEAR) * group.step:  # a gap may be, no slice too many
        return False
    if not is_regular(group.depth, UNION_REGULAR):
        return False
    if group.nominal <= HOLE * group.step:
        return True
    return in_order(group.numbers) and (np.isnan(group.nominal) or not picture)


def are_one_volume(
    one: Positions, other: Positions, contrast: bool, picture: bool, whole: Whole
) -> bool:
    """Whether two groups of slices, which differ in some value, are still one scan.

    Args:
        one: a group.
        other: another group.
        contrast: whether their values make two different pictures of the same tissue for sure.
        picture: whether their values may make two different pictures.
        whole: what they and all other groups are together.
    """
    small, large = sorted((one, other), key=lambda group: len(group.depth))
    few, many = len(small.depth), len(large.depth)
    step = min(small.step, large.step, whole.usual)
    reach = SAME_POSITION_MM if whole.settled else max(NEAR * step, SAME_POSITION_MM)
    apart = distances(small.depth, large.depth)
    together = int((apart <= reach).sum())
    if 2 * together >= few:
        return False
    if min(_among(small, large, reach), _among(large, small, reach)) <= OVERLAP * few:
        within = large.depth[0] < small.depth[0] and small.depth[-1] < large.depth[-1]
        if within and not whole.settled and _lacks_nothing(large):
            return _fills(small.depth, large) or bool(apart.min() >= FITS * small.nominal)
        return not contrast or few < max(FEWEST, STRAYS * many)
    if together > OVERLAP * few:
        return False
    return whole.settled or _interleave(small, large, float(apart.min()), picture)


def _among(group: Positions, other: Positions, reach: float) -> int:
    """How many slices of a group lie between the first and the last one of another."""
    first, last = other.depth[0] - reach, other.depth[-1] + reach
    return int(((group.depth >= first) & (group.depth <= last)).sum())


def _interleave(small: Positions, large: Positions, closest: float, picture: bool) -> bool:
    """Whether groups that lie between each other's slices are one scan.

    They are, unless both are scans by themselves, or the large one is and lacks nothing where the
    small one's slices lie; and then unless the headers state the distance that they have together.
    """
    ratio = max(small.step, large.step) / min(small.step, large.step)
    both = _lacks_nothing(small) and ratio < HOLE
    if not _lacks_nothing(large) or (not both and _fills(small.depth, large)):
        return True
    nominal = small.nominal if np.isnan(large.nominal) else large.nominal
    if np.isnan(nominal):
        return True
    union = np.concatenate([small.depth, large.depth])
    order = np.argsort(union, kind="stable")
    union = union[order]
    even = is_regular(union, UNION_REGULAR)
    if HOLE * nominal <= large.step and closest >= PACKAGE * nominal:
        return True
    if even and nominal <= HOLE * step_of(union):
        return True
    numbers = np.concatenate([small.numbers, large.numbers])[order]
    return even and not picture and in_order(numbers)


def _lacks_nothing(group: Positions) -> bool:
    """Whether slices are a scan by themselves."""
    return len(group.depth) >= FEWEST and is_regular(group.depth, REGULAR)


def _fills(depth: np.ndarray, scan: Positions) -> bool:
    """Whether most positions lie where the scan lacks a slice, or beyond its ends."""
    after = np.searchsorted(scan.depth, depth)
    inside = (after > 0) & (after < len(scan.depth))
    bounded = np.clip(after, 1, len(scan.depth) - 1)
    gaps = scan.depth[bounded] - scan.depth[bounded - 1]
    return bool(np.mean(~inside | (gaps >= HOLE * scan.step)) >= 0.5)
