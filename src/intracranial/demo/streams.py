"""Independent random streams, one per purpose.

What decides the labels shares no random number with anatomy, protocol or noise, so that nothing
but the sac itself tells a positive head from a negative one.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for; the number is part of the seed and must never change."""

    ANATOMY = 1
    VESSELS = 2
    LABELS = 3
    SACS = 4
    MIMICS = 5
    PROTOCOL = 6
    NOISE = 7
    CONTRAST = 8
    DEMOGRAPHICS = 9
    PAIRING = 10
    IDENTITY = 11
    ENCODING = 12


def stream(seed: int, index: int, purpose: Purpose) -> np.random.Generator:
    """Generator that depends on (seed, index, purpose) alone.

    Args:
        seed: seed of the data set, non-negative.
        index: number of the patient or series, non-negative.
        purpose: what the numbers are for.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, index, int(purpose)]))
