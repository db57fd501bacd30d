"""How much a figure differs between runs that should be alike: the same recipe, other seeds.

An interval over patients says how the figure would change with other patients, not what another
seed of the training would have given. The two are reported apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """How much `count` figures differ.

    Attributes:
        mean: of the figures.
        standard_deviation: of a sample (N - 1); None of one figure.
        min: the smallest.
        max: the largest.
        count: of the figures that exist.
    """

    mean: float
    standard_deviation: float | None
    min: float
    max: float
    count: int


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean, standard deviation and extremes of the values that exist; None without any."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(
        mean=float(np.mean(known)),
        standard_deviation=float(np.std(known, ddof=1)) if len(known) > 1 else None,
        min=min(known),
        max=max(known),
        count=len(known),
    )
