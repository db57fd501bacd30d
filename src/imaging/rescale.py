"""Whether slope and intercept of a CT series are applied: `--rescale auto|always|never`.

The standard knows one reading: value = slope * stored + intercept (PS3.3 C.11.1.1.2), in
Hounsfield units for CT (C.8.2.1.1.2). Two kinds of public files break it: some hold Hounsfield
units already though an intercept of about -1024 is stated, and some hold 12-bit values with the
negative half wrapped to the top and no intercept. `decide` looks for both in the histogram of
stored values and believes the header in every case of doubt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Policy = Literal["auto", "always", "never"]

AXIS_HU = (-4096, 4096)
"""Range of the histograms that are compared; what lies outside is no tissue."""

SOFT_HU = (-150, 120)
"""Fat (-100), water, brain (35) and muscle (60)."""

AIR_HU = -1000

AIR_SPREAD_HU = 100
"""Air is looked for this far from AIR_HU: noise, and scanners that clip at -1024."""

CALIBRATION_HU = 10
"""Air outside of the patient lies this close to AIR_HU in a calibrated scanner."""

OBJECT_HU = 150
"""Contrast-filled vessels and bone lie above: a sign that something was scanned."""

SMALLEST_SHIFT_HU = 200
"""Readings that lie closer together cannot be told apart by where soft tissue lies."""

SMOOTHING_HU = 8.0
"""Standard deviation of the smoothing before peaks are sought."""

LOCAL_HU = 40
"""A peak is the highest value this far to both sides."""

REACH_HU = 300
"""A peak's height is compared with the lowest value this far to each side."""

POSSIBLE, CLEAR = 2.0, 4.0
"""Height of a peak over the higher of its two valleys. Broad bone stays below 2, soft tissue beside
it reaches 4 or more. What is possible is enough to believe the header."""

SMALLEST_SHARE = 0.01
"""Share of the pixels that makes air or an object; less may be artefacts."""

SMALLEST_SOFT_SHARE = 0.05
"""Share of the pixels in SOFT_HU below which a series shows no soft tissue as stored."""

BLUR = 32
"""Lossy compression spreads padding and saturation over about this many stored values."""

WRAP_BITS = 12
WRAP = 1 << WRAP_BITS
WRAP_LOWEST_HU = -1024
"""Lowest value of 12-bit CT. Noise reaches from air at -1000 down to it."""

WRAP_INTERCEPT = -100
"""Wrapped series state an intercept above this, usually 0."""

WRAPPED_FROM = 3000
"""Stored values above this are wrapped air (-1000 is stored as 3096), fat or metal."""

WRAP_VALLEY_FROM = 2000
"""Between this and wrapped air nearly nothing lies; honest metal tapers off from here."""

WRAP_SPREAD = 50
"""Stored values to both sides of the peak of wrapped air that its noise fills."""


@dataclass(frozen=True, eq=False)
class StoredValues:
    """Histogram of the stored values under one pair of slope and intercept.

    Attributes:
        slope: RescaleSlope, finite and not 0.
        intercept: RescaleIntercept, finite.
        first: stored value that counts[0] counts.
        counts: int64 (k,), sampled pixels per stored value after masking and sign extension,
            without padding.
    """

    slope: float
    intercept: float
    first: int
    counts: np.ndarray


@dataclass(frozen=True)
class Rescale:
    """How stored values of a series become Hounsfield units.

    Attributes:
        kind: "applied", slope and intercept as stated; "already_hu" and "never", stored values are
            HU; "unwrapped", see `unwrap`.
        notes: stable codes with the evidence, "code" or "code:detail".
    """

    kind: Literal["applied", "already_hu", "unwrapped", "never"]
    notes: tuple[str, ...] = ()


def decide(
    policy: Policy,
    samples: Sequence[StoredValues],
    bits_stored: int,
    signed: bool,
    padding: tuple[int, int] | None,
) -> Rescale:
    """Choose one reading for a CT series.

    Args:
        policy: `auto` looks at the values, `always` and `never` do not.
        samples: one per distinct pair of slope and intercept.
        bits_stored: BitsStored.
        signed: PixelRepresentation is 1.
        padding: lowest and highest stored value that mean "no pixel here", or None.
    """
    plain = all(sample.slope == 1 and sample.intercept == 0 for sample in samples)
    if policy == "never":
        return Rescale("never", () if plain else ("rescale_never",))
    if policy == "always":
        return Rescale("applied")
    if bits_stored == WRAP_BITS and not signed:
        wrapped = _wrapped_peak(samples)
        if wrapped:
            return Rescale("unwrapped", (f"rescale_unwrapped:{wrapped}",))
    if all(abs(sample.intercept) < SMALLEST_SHIFT_HU for sample in samples):
        return Rescale("applied")
    return _compare(samples, padding)


def unwrap(stored: np.ndarray) -> np.ndarray:
    """Hounsfield units of wrapped 12-bit values.

    Args:
        stored: integers 0..4095, any shape.

    Returns:
        The same values modulo 4096, int32, -1024..3071.
    """
    values = stored.astype(np.int32)
    values -= WRAP_LOWEST_HU
    values %= WRAP
    values += WRAP_LOWEST_HU
    return values


def _compare(samples: Sequence[StoredValues], padding: tuple[int, int] | None) -> Rescale:
    """Read the series both ways; as stored only if the stated reading shows no anatomy."""
    if not any(sample.counts.any() for sample in samples):
        return Rescale("applied", ("rescale_uncertain:no pixels to look at",))
    applied = _histogram(samples, applied=True)
    stored = _histogram(samples, applied=False)
    smoothing = max(SMOOTHING_HU, *(abs(sample.slope) for sample in samples))
    tissue, soft = _soft_peak(applied, smoothing), _soft_peak(stored, SMOOTHING_HU)
    if not soft.local or soft.height < CLEAR or _share(stored, SOFT_HU) < SMALLEST_SOFT_SHARE:
        found = tissue.height >= POSSIBLE
        return Rescale("applied", () if found else ("rescale_uncertain:no soft tissue peak",))

    main = max(samples, key=lambda sample: int(sample.counts.sum()))
    soft_applied = round(main.slope * soft.hu + main.intercept)
    evidence = f"soft tissue peak {soft.hu} as stored and {soft_applied} applied"
    may_be_air = abs(soft_applied - AIR_HU) <= CALIBRATION_HU
    air = _air_as_stored(samples, padding)
    if air >= SMALLEST_SHARE and not (may_be_air and tissue.height >= POSSIBLE):
        # With an intercept of -1024 applied it would lie near -2000, where nothing can be.
        return _already_hu(f"{evidence} and {air:.0%} air as stored")
    if tissue.height >= CLEAR:
        return Rescale("applied")
    objects = _share(stored, (OBJECT_HU, AXIS_HU[1]))
    below_air = _share(applied, (AXIS_HU[0], AIR_HU - AIR_SPREAD_HU // 2))
    if tissue.height < POSSIBLE and objects >= SMALLEST_SHARE:
        # Something was scanned, yet the stated reading has it float in air without soft tissue.
        if not may_be_air or below_air >= SMALLEST_SHARE:
            return _already_hu(f"{evidence} and {objects:.0%} contrast or bone as stored")
    return Rescale("applied", (f"rescale_uncertain:{evidence}",))


def _already_hu(evidence: str) -> Rescale:
    return Rescale("already_hu", (f"rescale_already_hu:{evidence}",))


def _histogram(samples: Sequence[StoredValues], applied: bool) -> np.ndarray:
    """Shares float64 (k,) of all pixels per HU of AXIS_HU, in one of the two readings.

    The lowest stored value is left out: clipped air or undeclared padding piles up there.
    """
    low, high = AXIS_HU
    shares = np.zeros(high - low + 1)
    total = sum(int(sample.counts.sum()) for sample in samples)
    for sample in samples:
        at = np.flatnonzero(sample.counts)[1:]
        hu = at + sample.first
        if applied:
            hu = np.rint(sample.slope * hu + sample.intercept)
        within = (hu >= low) & (hu <= high)
        index = hu[within].astype(np.int64) - low
        shares += np.bincount(index, sample.counts[at][within], len(shares)) / total
    return shares


def _share(shares: np.ndarray, hu: tuple[int, int]) -> float:
    return float(shares[hu[0] - AXIS_HU[0] : hu[1] - AXIS_HU[0] + 1].sum())


def _smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    reach = int(3 * deviation)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    return np.convolve(values, kernel / kernel.sum(), "same")


@dataclass(frozen=True)
class _Peak:
    """The highest place of SOFT_HU in one reading."""

    hu: int
    height: float
    """Over the higher of the lowest places within REACH_HU to its left and right; 0 for none."""

    local: bool
    """Nothing within LOCAL_HU is higher."""


def _soft_peak(shares: np.ndarray, deviation: float) -> _Peak:
    if _share(shares, SOFT_HU) < SMALLEST_SHARE:
        return _Peak(0, 0.0, False)
    density = _smooth(shares, deviation)
    first = SOFT_HU[0] - AXIS_HU[0]
    at = first + int(np.argmax(density[first : SOFT_HU[1] - AXIS_HU[0] + 1]))
    valley = max(density[at - REACH_HU : at + 1].min(), density[at : at + REACH_HU + 1].min())
    height = float(density[at] / max(valley, np.finfo(float).tiny))
    local = bool(density[at] >= density[at - LOCAL_HU : at + LOCAL_HU + 1].max())
    return _Peak(at + AXIS_HU[0], height, local)


def _air_as_stored(samples: Sequence[StoredValues], padding: tuple[int, int] | None) -> float:
    """Share of the pixels with stored values about -1000 that are not padding.

    Undeclared padding is one value, often -1024, and air has noise; only a value that is air's own
    counts without it.
    """
    counts = np.zeros(2 * AIR_SPREAD_HU + 1, dtype=np.int64)
    first = AIR_HU - AIR_SPREAD_HU
    for sample in samples:
        offset = sample.first - first
        part = sample.counts[max(0, -offset) : max(0, len(counts) - offset)]
        counts[max(0, offset) : max(0, offset) + len(part)] += part
    if padding is not None:
        start, stop = padding[0] - BLUR - first, padding[1] + BLUR + 1 - first
        counts[max(0, start) : max(0, stop)] = 0
    commonest = int(np.argmax(counts))
    if abs(first + commonest - AIR_HU) > CALIBRATION_HU:
        counts[commonest] = 0
    return float(counts.sum()) / sum(int(sample.counts.sum()) for sample in samples)


def _wrapped_peak(samples: Sequence[StoredValues]) -> str:
    """Evidence of wrapped values in unsigned 12-bit CT, '' without."""
    if not all(s.slope == 1 and s.intercept > WRAP_INTERCEPT for s in samples):
        return ""
    counts = np.zeros(WRAP, dtype=np.int64)
    for sample in samples:
        counts[sample.first : sample.first + len(sample.counts)] += sample.counts[
            : WRAP - sample.first
        ]
    total = counts.sum()
    if total == 0:
        return ""
    density = _smooth(counts / total, SMOOTHING_HU)[: WRAP - BLUR]  # above is saturated metal
    at = WRAPPED_FROM + 1 + int(np.argmax(density[WRAPPED_FROM + 1 :]))
    share = float(counts[at - WRAP_SPREAD : min(at + WRAP_SPREAD, WRAP - BLUR)].sum() / total)
    if share < SMALLEST_SHARE or density[at] < CLEAR * density[WRAP_VALLEY_FROM:at].min():
        return ""
    return f"{share:.0%} of the pixels in a peak at {at} of 12 bits"
