"""From cached slices to the network's input: the only code that makes stacks.

Training, feature extraction and end-to-end evaluation all call `prepare_slices` and `neighbours`,
so that stage 1 is fed the same pixels everywhere.
"""

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch


@dataclass(frozen=True)
class InputSpec:
    """How cached pixels become network input.

    `crop` is the share of the field kept, centred, 0 < crop <= 1; `input_size` the edge of the
    square input in pixels; `mean` is subtracted (cached values run from 0 to 5).
    """

    crop: float
    input_size: int
    mean: float

    def __post_init__(self) -> None:
        """Check that there is something to see.

        Raises:
            ValueError: the crop or the input has no pixel, or the crop is larger than the field.
        """
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop {self.crop} is not above 0 and at most 1")
        if self.input_size < 1:
            raise ValueError(f"input_size {self.input_size} is below 1")

    def crop_edge(self, size: int) -> int:
        """Edge of the crop in pixels of a cache with `size` pixels per edge."""
        return max(1, min(size, round(size * self.crop)))

    def offset(self, size: int) -> int:
        """First row and column of the crop."""
        return (size - self.crop_edge(size)) // 2

    def scale(self, size: int) -> float:
        """Input pixels per cache pixel."""
        return self.input_size / self.crop_edge(size)


class Images(Protocol):
    """An array (n, size, size), or a file of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, rows and columns."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """One image."""
        ...


def neighbours(index: int, step: int, n: int) -> list[int]:
    """Slices of the stack at `index`: index-step, index, index+step; the ends repeat."""
    return [min(max(i, 0), n - 1) for i in (index - step, index, index + step)]


def prepare_slices(volume: Images, spec: InputSpec, chosen: list[int] | None = None) -> np.ndarray:
    """Crop and resample cached slices.

    Args:
        volume: float16 (n, size, size), values 0..5; of a file only the chosen slices are read.
        spec: crop, size and mean of the input.
        chosen: k slices, in their order; all of them by default.

    Returns:
        float32 (k, input_size, input_size), values minus the mean.
    """
    slices = resample_slices(volume, spec, chosen)
    return _float32(slices) - np.float32(spec.mean)


def resample_slices(volume: Images, spec: InputSpec, chosen: list[int] | None = None) -> np.ndarray:
    """`prepare_slices` before the mean is subtracted.

    Returns:
        (k, input_size, input_size), float16 as cached where nothing is resampled, else float32; a
        copy in memory.
    """
    size = volume.shape[-1]
    edge, offset = spec.crop_edge(size), spec.offset(size)
    window = slice(offset, offset + edge)
    images = (
        volume[index][window, window]
        for index in (range(volume.shape[0]) if chosen is None else chosen)
    )
    if edge == spec.input_size:
        return np.stack(list(images))
    target = (spec.input_size, spec.input_size)
    method = cv2.INTER_AREA if spec.input_size < edge else cv2.INTER_LINEAR
    return np.stack(
        [cv2.resize(_float32(np.array(image)), target, interpolation=method) for image in images]
    )


def _float32(values: np.ndarray) -> np.ndarray:
    """The same numbers as float32; numpy takes ten times as long over float16 as torch."""
    converted: np.ndarray = torch.from_numpy(values).float().numpy()
    return converted


def cache_to_input(points: np.ndarray, size: int, spec: InputSpec) -> np.ndarray:
    """Points (..., 2) as x, y in cache pixels -> x, y in input pixels."""
    return (points + 0.5 - spec.offset(size)) * spec.scale(size) - 0.5


def input_to_cache(points: np.ndarray, size: int, spec: InputSpec) -> np.ndarray:
    """Points (..., 2) as x, y in input pixels -> x, y in cache pixels."""
    return (points + 0.5) / spec.scale(size) + spec.offset(size) - 0.5
