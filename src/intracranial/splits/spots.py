"""Spots: the slices at which stage 1 is trained and evaluated, and the labels of a stack."""

import math
from collections.abc import Sequence

import numpy as np

from intracranial.tasks import SERIES_COLUMN, Task

POSITIVE = "positive"
NEGATIVE = "negative"
WHOLE = "whole"
"""Kinds of spots: the centre of a finding; a slice without one; and, where labels have no places, a
slice that has the labels of its series."""

SPOTS_PER_SERIES = 4
"""Spots of the last kind in each series, evenly spread."""

SPOT_COLUMNS = (
    SERIES_COLUMN,
    "index",
    "kind",
    "location",
    "x",
    "y",
    "x_mm",
    "y_mm",
    "z_mm",
    "group",
    "fold",
)
"""Columns of the spots table; x, y are cache pixels, x_mm, y_mm, z_mm patient LPS."""

EXCLUSION_SLICES = 5
"""Least distance in slices between a negative and a localizer: a finding of up to 10 mm is seen
in several slices on either side of the one in which it was marked."""

EXCLUSION_SHARE = 20
"""In long series of thin slices the distance is one slice in this many, 5 %."""


def exclusion_radius(n: int) -> int:
    """Slices on either side of a localizer that are no negatives, in a series of `n` slices."""
    return max(EXCLUSION_SLICES, -(-n // EXCLUSION_SHARE))


def eligible_negatives(n: int, positive_indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """Slices of one series that may be negatives: farther than the radius from every localizer.

    A series in which a positive location has no localizer has no such slices at all; leave it out
    by its `localized` column.

    Args:
        n: number of slices of the series.
        positive_indices: slice indices of its localizers, 0 .. n-1.

    Returns:
        int64 (m,), ascending slice indices.
    """
    allowed = np.ones(n, dtype=bool)
    radius = exclusion_radius(n)
    for index in positive_indices:
        allowed[max(0, int(index) - radius) : int(index) + radius + 1] = False
    return np.flatnonzero(allowed)


def slice_targets(
    indices: Sequence[int] | np.ndarray,
    locations: Sequence[str],
    t: int,
    reach: int,
    task: Task,
) -> np.ndarray:
    """Localized labels of the stack at t: all localizers in slices t-reach .. t+reach.

    The slices between those of the stack count too, and the ends of the series need no special
    case: a localizer in the last slice labels the stacks around it like any other.

    Args:
        indices: slice index of each localizer of the series.
        locations: location of each localizer, in the same order; '' where it is not known.
        t: centre slice of the stack.
        reach: slices on either side of t that the stack reaches; 0 where it is that slice alone.
        task: labels and their order.

    Returns:
        float32 (L,) of 0 and 1 in the order of `task.labels`, the overall label included.
    """
    targets = np.zeros(len(task.labels), dtype=np.float32)
    for index, location in zip(indices, locations, strict=True):
        if abs(int(index) - t) <= reach:
            for label in (location, task.overall):
                if label:
                    targets[task.labels.index(label)] = 1.0
    return targets


def spread_slices(n: int) -> list[int]:
    """Up to `SPOTS_PER_SERIES` different slices of a series of `n`, evenly spread."""
    count = min(n, SPOTS_PER_SERIES)
    return sorted({int((part + 0.5) * n / count) for part in range(count)})


def relative_position(index: int, n: int) -> float:
    """Position of a slice in its series, 0 for the first and 1 for the last slice."""
    return index / (n - 1) if n > 1 else 0.5


def slice_at(position: float, n: int) -> int:
    """The slice nearest to a relative position."""
    return min(n - 1, max(0, math.floor(position * (n - 1) + 0.5)))
