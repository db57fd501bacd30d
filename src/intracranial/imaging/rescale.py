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

from intracranial.imaging.pixels import Policy

AXIS_HU = (-4096, 4096)
"""Range of the histograms that are compared; what lies outside is no tissue."""

SOFT_HU = (-150, 120)
"""Fat (-100), water, brain (35) and muscle (60)."""

AIR_HU = -1000

AIR_SPREAD_HU = 100
"""Air is looked for this far from AIR_HU: noise, and scanners that clip at -1024."""

NO_TISSUE_HU = (-600, -400)
"""Between lung and fat lies little; values that fill this too are no air."""

CALIBRATION_HU = 10
"""Air in a calibrated scanner lies no further above AIR_HU."""

LOWEST_AIR_PEAK_HU = -1030
"""Noise and clipping at -1024 draw the peak of air down to about here."""

WING = 4
"""Half widths from a peak of noise beyond which nothing of it is left (4.7 standard deviations)."""

DENSE_HU = 200
"""Contrast-filled vessels and bone lie above: a sign that something was scanned."""

SMALLEST_SHIFT_HU = 200
"""Readings that lie closer together cannot be told apart by where soft tissue lies."""

SMOOTHING_HU = 8.0
"""Standard deviation of the smoothing before peaks are sought."""

HIGHEST_SOFT_PEAK_HU = 90
"""Peaks above are the foot of something denser, as stored of lung."""

NEAR_HU, FAR_HU = 100, 300
"""How far to each side a peak must stand out: near, where it is to disprove the header, so that
ramps and random values are no peaks; far, where it confirms it, so that noise does not hide it."""

POSSIBLE, CLEAR = 2.0, 4.0
"""Height of a peak over the higher of its two valleys: the slope of bone and contrast stays below
the first, soft tissue reaches the second unless noise and bone drown it. What is possible is enough
to believe the header."""

CHANCE_PIXELS = 4
"""As many pixels may lie together, or fail to, by chance; it matters in small series."""

ENOUGH_PIXELS = 10_000
"""With fewer, soft tissue may be missing from a histogram by chance."""

SMALLEST_SHARE = 0.01
"""Share of the pixels that makes a tissue, air or an object; less may be artefacts."""

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
    placed: bool = True,
) -> Rescale:
    """Choose one reading for a CT series.

    Args:
        policy: `auto` looks at the values, `always` and `never` do not.
        samples: one per distinct pair of slope and intercept.
        bits_stored: BitsStored.
        signed: PixelRepresentation is 1.
        padding: lowest and highest stored value that mean "no pixel here", or None.
        placed: whether a scanner has placed the images; white paper of a film looks like wrapped
            air.
    """
    plain = all(sample.slope == 1 and sample.intercept == 0 for sample in samples)
    if policy == "never":
        return Rescale("never", () if plain else ("rescale_never",))
    if policy == "always":
        return Rescale("applied")
    if bits_stored == WRAP_BITS and not signed and placed:
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
    pixels = sum(int(sample.counts.sum()) for sample in samples)
    tissue, soft = _soft_peak(applied, FAR_HU, pixels), _soft_peak(stored, NEAR_HU, pixels)
    looks_soft = soft.hu <= HIGHEST_SOFT_PEAK_HU and soft.height >= POSSIBLE
    main = max(samples, key=lambda sample: int(sample.counts.sum()))
    soft_applied = round(main.slope * soft.hu + main.intercept)
    may_be_air = LOWEST_AIR_PEAK_HU <= soft_applied <= AIR_HU + CALIBRATION_HU
    evidence = "no soft tissue peak as stored"
    if looks_soft:
        evidence = f"soft tissue peak {soft.hu} as stored and {soft_applied} applied"

    # Air as stored would lie near -2000 with an intercept of -1024 applied, where nothing can be.
    air, sure = _air_as_stored(samples, padding)
    anatomy = tissue.height >= POSSIBLE
    believable = looks_soft and (sure or not may_be_air) if anatomy else sure
    if air >= SMALLEST_SHARE and believable:
        return _already_hu(f"{evidence} and {air:.0%} air as stored")
    if tissue.height >= CLEAR:
        return Rescale("applied")
    if looks_soft and not anatomy:
        below = _share(stored, (AXIS_HU[0], soft.hu - WING * soft.half_width))
        if below >= SMALLEST_SHARE + CHANCE_PIXELS / pixels:
            return _already_hu(f"{evidence} and {below:.0%} fat or air as stored")
        dense = _share(stored, (DENSE_HU, AXIS_HU[1]))
        enough = pixels >= ENOUGH_PIXELS and dense >= SMALLEST_SHARE
        some = enough and not may_be_air and not soft.drawn
        if some and dense < _share(stored, SOFT_HU):
            return _already_hu(f"{evidence} and {dense:.0%} contrast or bone as stored")
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


def _smooth(values: np.ndarray) -> np.ndarray:
    reach = int(3 * SMOOTHING_HU)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTHING_HU) ** 2)
    return np.convolve(values, kernel / kernel.sum(), "same")


@dataclass(frozen=True)
class _Peak:
    """The highest place of SOFT_HU in one reading."""

    hu: int
    height: float
    """Over the higher of the lowest places within reach to its left and right; 0 for none."""

    half_width: int
    """HU to the left until half of the height, which noise widens."""

    drawn: bool
    """One value holds more of SOFT_HU than noise leaves it."""


def _soft_peak(shares: np.ndarray, reach: int, pixels: int) -> _Peak:
    first, last = (hu - AXIS_HU[0] for hu in SOFT_HU)
    within = shares[first : last + 1]
    if within.sum() < SMALLEST_SHARE:
        return _Peak(0, 0.0, 0, False)
    density = _smooth(shares)
    at = first + int(np.argmax(density[first : last + 1]))
    left, right = density[at - reach : at + 1], density[at : at + reach + 1]
    chance = CHANCE_PIXELS / pixels / (SMOOTHING_HU * np.sqrt(2 * np.pi))
    height = density[at] / (max(left.min(), right.min()) + chance)
    half_width = int(np.argmax(density[at::-1] < density[at] / 2))
    return _Peak(at + AXIS_HU[0], height, half_width, bool(within.max() > within.sum() / 4))


def _air_as_stored(
    samples: Sequence[StoredValues], padding: tuple[int, int] | None
) -> tuple[float, bool]:
    """Share of the pixels with stored values about -1000, and whether they must be air.

    Undeclared padding is one value, often -1024, or a blur of it: a single value counts only
    close to -1000, and what must be air has its peak there and spreads by noise.
    """
    first, last = AIR_HU - AIR_SPREAD_HU, AIR_HU + AIR_SPREAD_HU
    counts = np.sum([_between(sample, first, last) for sample in samples], axis=0)
    above = sum(int(_between(sample, *NO_TISSUE_HU).sum()) for sample in samples)
    if padding is not None:
        start, stop = padding[0] - BLUR - first, padding[1] + BLUR + 1 - first
        counts[max(0, start) : max(0, stop)] = 0
    commonest = int(np.argmax(counts))
    at_air = abs(first + commonest - AIR_HU) <= CALIBRATION_HU
    sure = at_air and int(counts[commonest]) < counts.sum() / 2
    if not at_air:
        counts[commonest] = 0
    if counts.sum() < CLEAR * above:
        return 0.0, False
    return float(counts.sum()) / sum(int(sample.counts.sum()) for sample in samples), sure


def _between(sample: StoredValues, first: int, last: int) -> np.ndarray:
    """Counts int64 of the stored values first..last."""
    found = np.zeros(last - first + 1, dtype=np.int64)
    start, stop = max(first, sample.first), min(last + 1, sample.first + len(sample.counts))
    if start < stop:
        found[start - first : stop - first] = sample.counts[
            start - sample.first : stop - sample.first
        ]
    return found


def _wrapped_peak(samples: Sequence[StoredValues]) -> str:
    """Evidence of wrapped values in unsigned 12-bit CT, '' without."""
    if not all(s.slope == 1 and s.intercept > WRAP_INTERCEPT for s in samples):
        return ""
    counts = np.sum([_between(sample, 0, WRAP - 1) for sample in samples], axis=0)
    total = counts.sum()
    if total == 0:
        return ""
    density = _smooth(counts / total)[: WRAP - BLUR]  # above is saturated metal
    at = WRAPPED_FROM + 1 + int(np.argmax(density[WRAPPED_FROM + 1 :]))
    share = float(counts[at - WRAP_SPREAD : min(at + WRAP_SPREAD, WRAP - BLUR)].sum() / total)
    if share < SMALLEST_SHARE or density[at] < CLEAR * density[WRAP_VALLEY_FROM:at].min():
        return ""
    return f"{share:.0%} of the pixels in a peak at {at} of 12 bits"
