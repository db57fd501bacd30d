"""How much a figure differs between runs that should be alike: the same recipe, other seeds.

An interval over patients says how the figure would change with other patients, not what another
seed of the training would have given. The two are reported apart.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Mean, standard deviation and extremes of the values that exist; None without any.

    The standard deviation (of a sample, N - 1) exists from two values on.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {
        "mean": float(np.mean(known)),
        "standard_deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "min": min(known),
        "max": max(known),
        "count": len(known),
    }
