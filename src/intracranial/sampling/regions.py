"""What stage 1 sees of a slice: a rectangle in the plane, and the way of points into it and back.

A region is cut when slices are read from a cache. It comes from the pixels or from an option, never
from a label.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Region:
    """Columns x0 .. x1-1 and rows y0 .. y1-1 of every slice of a series, in cache pixels.

    It need not be square or in the middle; stretched to the network's square input it has a scale
    of its own along each axis.
    """

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        """Check that it holds a pixel.

        Raises:
            ValueError: it begins before the first pixel, or ends where it begins or before.
        """
        if not (0 <= self.x0 < self.x1 and 0 <= self.y0 < self.y1):
            raise ValueError(
                f"region x {self.x0} to {self.x1}, y {self.y0} to {self.y1} holds no pixel"
            )

    @property
    def width(self) -> int:
        """Columns."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Rows."""
        return self.y1 - self.y0

    @property
    def origin(self) -> np.ndarray:
        """First column and row, int64 (2,) as x, y."""
        return np.array([self.x0, self.y0])

    def of(self, image: np.ndarray) -> np.ndarray:
        """The part of an array (..., rows, columns) that lies in the region: a view of it.

        Raises:
            ValueError: the array ends before the region does.
        """
        rows, columns = image.shape[-2:]
        if self.x1 > columns or self.y1 > rows:
            raise ValueError(
                f"region x {self.x0} to {self.x1}, y {self.y0} to {self.y1} reaches beyond the "
                f"{columns} columns and {rows} rows of its slice"
            )
        return image[..., self.y0 : self.y1, self.x0 : self.x1]

    def scale(self, input_size: int) -> np.ndarray:
        """Input pixels per cache pixel, float64 (2,) along x and y.

        Args:
            input_size: edge in pixels of the square that the region becomes.
        """
        return input_size / np.array([self.width, self.height])


def centred(size: int, share: float) -> Region:
    """A square in the middle of slices.

    Args:
        size: rows and columns of a slice in cache pixels.
        share: its edge as a share of theirs, above 0 and at most 1.
    """
    edge = max(1, min(size, round(size * share)))
    offset = (size - edge) // 2
    return Region(offset, offset, offset + edge, offset + edge)


def cache_to_input(points: np.ndarray, region: Region, input_size: int) -> np.ndarray:
    """Points (..., 2) as x, y in cache pixels -> x, y in input pixels.

    Args:
        points: whole numbers are pixel centres.
        region: what the input shows.
        input_size: edge of the input in pixels.
    """
    return (points + 0.5 - region.origin) * region.scale(input_size) - 0.5


def input_to_cache(points: np.ndarray, region: Region, input_size: int) -> np.ndarray:
    """Points (..., 2) as x, y in input pixels -> x, y in cache pixels; see `cache_to_input`."""
    return (points + 0.5) / region.scale(input_size) + region.origin - 0.5
