"""Series -> the float16 array that training, feature extraction and evaluation all read.

preprocess_data.py writes what `to_cache` returns and eval_end_to_end.py feeds it straight to the
models, so both see the same bytes.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from src.imaging.intensity import MrWindow, find_window
from src.imaging.series import Series


@dataclass(frozen=True)
class CacheOptions:
    """How a series becomes a cache."""

    size: int = 512
    """Rows and columns of a cached slice."""

    mr_window: MrWindow = "robust"
    """Intensity window of MR series, see `src.imaging.intensity`."""


def to_cache(series: Series, options: CacheOptions) -> np.ndarray:
    """Window, resize and round one series.

    Both image axes are stretched to the same size; `geometry.cache_scale` gives the factors.

    Args:
        series: pixels float32 (n, rows, cols) in canonical order.
        options: size and window.

    Returns:
        float16 (n, size, size), values 0..5.
    """
    window = find_window(series.pixels, series.modality, options.mr_window)
    cached = np.empty((len(series.pixels), options.size, options.size), dtype=np.float16)
    for image, target in zip(series.pixels, cached, strict=True):
        target[...] = to_half(resize(window.apply(image), options.size))
    return cached


def to_half(values: np.ndarray) -> np.ndarray:
    """Float32 to float16, rounding to nearest even as `torch.Tensor.half` does."""
    return values.astype(np.float16)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Stretch one slice (rows, cols) to float32 (size, size).

    Each axis by area when it shrinks and linearly when it grows, so that a matrix of 384 x 640
    gets neither aliasing nor blocks. Pixel centres map as (x + 0.5) * scale - 0.5.
    """
    rows, columns = image.shape
    shrunk = (min(columns, size), min(rows, size))  # OpenCV wants (width, height)
    if shrunk != (columns, rows):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image
