"""Series -> the float16 array that training, feature extraction and evaluation all read.

preprocess_data.py writes what `to_cache` returns and eval_end_to_end.py feeds it straight to the
models, so both see the same bytes.
"""

import io
from collections.abc import Iterator

import cv2
import numpy as np
import xxhash

from intracranial.imaging.intensity import find_window
from intracranial.imaging.pixels import Pixels
from intracranial.imaging.series import Series
from intracranial.imaging.values import is_constant

OPENCV_CONVERTS = (
    getattr(cv2, "CV_16F", None) is not None and int(cv2.__version__.split(".")[0]) >= 5
)
"""OpenCV 5 converts to float16 ten times faster than numpy."""


def to_cache(series: Series, pixels: Pixels) -> np.ndarray:
    """Window, resize and round one series.

    Both image axes are stretched to the same size; `geometry.cache_scale` gives the factors.

    Args:
        series: n images in canonical order.
        pixels: the same that the series was read with.

    Returns:
        float16 (n, size, size), values 0..5.
    """
    cached = np.empty((len(series.images), pixels.size, pixels.size), dtype=np.float16)
    for target, image in zip(cached, cached_slices(series, pixels), strict=True):
        target[...] = image
    return cached


def cached_slices(series: Series, pixels: Pixels) -> Iterator[np.ndarray]:
    """The slices of `to_cache` one by one, each in the place of the one before.

    One buffer stays in the processor's cache while its slice is hashed and written.
    """
    window = find_window(series.images, series.modality, pixels.mr_window)
    size = pixels.size
    cached = np.empty((size, size), dtype=np.float16)
    halves: dict[int, np.ndarray] = {}
    for image in series.images:
        if image.table is not None and image.words.shape == (size, size):
            half = halves.get(id(image.table))
            if half is None:
                half = halves[id(image.table)] = to_half(window.apply(image.table))
            cv2.LUT(image.words, half.view(np.uint16), dst=cached.view(np.uint16))
        else:
            cached[...] = to_half(resize(window.apply_to(image), size))
        yield cached


class CacheDigest:
    """XXH3-128 of the npy file of a cache, slice by slice, and whether there is an image in it."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        """Begin the file of an array float16 (n, size, size)."""
        header = io.BytesIO()
        about = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, about)
        self.header = header.getvalue()
        self._digest = xxhash.xxh3_128(self.header)
        self._first: np.float16 | None = None
        self._varies = False

    def update(self, image: np.ndarray) -> None:
        """Add the next slice, float16 (size, size)."""
        self._digest.update(image.view(np.uint16).data)
        if self._first is None:
            self._first = image.flat[0]
        self._varies = self._varies or image.flat[0] != self._first or not is_constant(image)

    def hexdigest(self) -> str:
        """Digest of header and slices so far."""
        return self._digest.hexdigest()

    @property
    def of_image(self) -> str | None:
        """The digest, None for a constant array, which identifies nobody."""
        return self.hexdigest() if self._varies else None


def to_half(values: np.ndarray) -> np.ndarray:
    """Float32 to float16, any shape, rounding to nearest even as `torch.Tensor.half` does."""
    if not OPENCV_CONVERTS:
        return values.astype(np.float16)
    rows = np.ascontiguousarray(values).reshape(-1, values.shape[-1])
    half = np.asarray(cv2.add(rows, np.zeros(1), dtype=cv2.CV_16F))
    return half.reshape(values.shape)


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
