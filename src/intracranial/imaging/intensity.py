"""Values of a series -> 0..5, the one scale that every model sees.

What steers is DICOM Modality (CT or MR) and nothing that is absent at inference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np

from intracranial.imaging.pixels import MrWindow
from intracranial.imaging.values import Image

TOP = 5.0
"""Upper end of the scale; the recipes' input mean of 2.5 is its middle."""

CT_WINDOW_HU = (0.0, 600.0)
"""Contrast-filled arteries lie at 150 to 500 HU, calcifications and bone above."""

FIXED_MR_WINDOW = (-1200.0, 4000.0)
"""The original solution's window for MR: 5200 values divided by 1040."""

FOREGROUND_PERCENTILE = 99.9
"""Percentile of the foreground that the MR window's upper end must at least reach; vessels are
often less than 1 % of the voxels, so lower ones clip them."""

MARGIN = 1.1
"""Head room above the percentile."""

LARGEST_STRETCH = 3.0
"""The upper end follows bright spots up to this multiple of the percentile, no further: one metal
artefact must not darken the whole head."""

BACKGROUND_PERCENTILE = 1.0
"""Percentile of all voxels that becomes 0."""

HISTOGRAM_BINS = 65536
OTSU_BINS = 256
SPOT_KERNEL = 3
"""Pixels; a bright spot counts for the upper end when it fills most of a square of this side, which
a 2 mm sac does and a hot pixel does not."""


@dataclass(frozen=True)
class Window:
    """Values that become 0 and `TOP`."""

    low: float
    high: float

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Clip to the window and scale to 0..5, float32, any shape."""
        scaled = np.clip(values, self.low, self.high, dtype=np.float32)
        scaled -= np.float32(self.low)
        scaled *= np.float32(TOP / (self.high - self.low))
        np.minimum(scaled, np.float32(TOP), out=scaled)
        return scaled

    def apply_to(self, image: Image) -> np.ndarray:
        """The same for one slice, float32 (rows, cols)."""
        if image.table is None:
            return self.apply(image.words)
        scaled: np.ndarray = cv2.LUT(image.words, self.apply(image.table))
        return scaled


def find_window(images: Sequence[Image], modality: str, mr_window: MrWindow = "robust") -> Window:
    """The window of one series.

    Args:
        images: slices of the series, HU for CT, modality values for MR.
        modality: DICOM Modality, "CT" or "MR".
        mr_window: "robust" over the foreground, or "fixed" as the original solution.

    Raises:
        ValueError: another modality or window.
    """
    if mr_window not in get_args(MrWindow):
        raise ValueError(f"mr_window {mr_window!r} is none of {', '.join(get_args(MrWindow))}")
    if modality == "CT":
        return Window(*CT_WINDOW_HU)
    if modality != "MR":
        raise ValueError(f"modality {modality!r} has no intensity window; CT and MR have")
    return Window(*FIXED_MR_WINDOW) if mr_window == "fixed" else _robust_window(images)


def _robust_window(images: Sequence[Image]) -> Window:
    """From the background to just above what is bright and more than a stray pixel."""
    values, weights = _weighted_values(images)
    lowest, highest = float(values.min()), float(values.max())
    if not highest > lowest:
        return Window(lowest, lowest + 1.0)
    counts = _histogram(values, weights, lowest, highest)
    width = (highest - lowest) / HISTOGRAM_BINS
    cumulative = np.cumsum(counts)
    low = lowest + width * float(
        np.searchsorted(cumulative, BACKGROUND_PERCENTILE / 100 * counts.sum())
    )
    threshold = _otsu(counts, cumulative)
    in_front = counts.copy()
    in_front[:threshold] = 0
    cumulative = np.cumsum(in_front)
    at = np.searchsorted(cumulative, FOREGROUND_PERCENTILE / 100 * cumulative[-1])
    percentile = lowest + width * float(at + 1)
    reach = max(percentile - low, width)
    spot = _brightest_spot(images) - low
    return Window(low, low + float(np.clip(spot * MARGIN, reach * MARGIN, reach * LARGEST_STRETCH)))


def _weighted_values(images: Sequence[Image]) -> tuple[np.ndarray, np.ndarray]:
    """Values that occur, float32 (k,), and how often, int64 (k,); a value may occur twice."""
    words: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    values, weights = [], []
    for image in images:
        if image.table is None:
            values.append(image.words.ravel())
            weights.append(np.ones(image.words.size, dtype=np.int64))
            continue
        found = np.bincount(image.words.ravel(), minlength=len(image.table))
        known = words.get(id(image.table))
        words[id(image.table)] = (image.table, found if known is None else known[1] + found)
    for table, counts in words.values():
        values.append(table[counts > 0])
        weights.append(counts[counts > 0])
    return np.concatenate(values), np.concatenate(weights)


def _histogram(
    values: np.ndarray, weights: np.ndarray, lowest: float, highest: float
) -> np.ndarray:
    """Counts, int64 (HISTOGRAM_BINS,)."""
    scale = (HISTOGRAM_BINS - 1) / (highest - lowest)
    bins = ((values - np.float32(lowest)) * np.float32(scale)).astype(np.int64)
    np.clip(bins, 0, HISTOGRAM_BINS - 1, out=bins)
    return np.bincount(bins, weights=weights, minlength=HISTOGRAM_BINS).astype(np.int64)


def _otsu(counts: np.ndarray, cumulative: np.ndarray) -> int:
    """First bin of the foreground: Otsu's threshold below the 99.9th percentile of all voxels.

    The long bright tail is left out, since it would draw the threshold up to the vessels.
    """
    end = int(np.searchsorted(cumulative, 0.999 * cumulative[-1])) + 1
    edges = np.linspace(0, end, min(OTSU_BINS, end) + 1).astype(np.int64)
    coarse = np.add.reduceat(counts[:end], edges[:-1]).astype(np.float64)
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(coarse)
    moment = np.cumsum(coarse * centres)
    below, above = weight, weight[-1] - weight
    usable = (below > 0) & (above > 0)
    if not usable.any():
        return 0
    mean_below = moment[usable] / below[usable]
    mean_above = (moment[-1] - moment[usable]) / above[usable]
    between = below[usable] * above[usable] * (mean_above - mean_below) ** 2
    return int(edges[1:][usable][int(np.argmax(between))])


def _brightest_spot(images: Sequence[Image]) -> float:
    """Highest value after a median filter in each slice, which removes stray pixels."""
    best = -np.inf
    for image in images:
        values = image.values()
        if values.max() > best:  # a median is never above the maximum
            best = max(best, float(cv2.medianBlur(values, SPOT_KERNEL).max()))
    return best
