"""From cached slices to the network's input: the only code that makes stacks.

Training, feature extraction and end-to-end evaluation all call `prepare_slices` and `neighbours`,
so that stage 1 is fed the same pixels everywhere.

A prepared slice has an axis of windows, of length 1 where there are none. The channels of a stack
run through all windows of its first slice, then through all of the next one (`as_channels`).
"""

import math
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
import torch

from intracranial.imaging import intensity
from intracranial.imaging.cache import resize
from intracranial.marks import Before
from intracranial.sampling.regions import Region, centred


@dataclass(frozen=True)
class Window:
    """A CT window: `centre` and `width` in HU, as radiologists give them."""

    centre: float
    width: float

    def __post_init__(self) -> None:
        """Check that it lets some values pass.

        Raises:
            ValueError: a number is not finite, or the width not above 0.
        """
        if not (math.isfinite(self.centre) and math.isfinite(self.width) and self.width > 0):
            raise ValueError(
                f"window of centre {self.centre} and width {self.width}: finite numbers are "
                "expected, and a width above 0"
            )

    def apply(self, values: np.ndarray) -> np.ndarray:
        """HU of any shape -> float32 0..5: clipped, centre - width / 2 becomes 0.

        That is the scale of cached values without a window, so that the input's mean and the drift
        of augmentation mean the same for both.
        """
        low = self.centre - self.width / 2
        return intensity.Window(low, low + self.width).apply(values)


@dataclass(frozen=True)
class StackSpec:
    """What stage 1 sees: how cached slices become the channels of one image.

    `crop` is the share of the field kept, centred, 0 < crop <= 1; `input_size` the edge of the
    square input in pixels; `mean` is subtracted (values run from 0 to 5); `slices` how many slices
    a stack has, an odd number with the stack's own in the middle (1: that one alone); `windows` in
    which each of them is shown, where caches hold HU. Without windows caches hold 0..5 and are
    shown as they are.
    """

    crop: float
    input_size: int
    mean: float
    slices: Annotated[int, Before(3)] = 3
    windows: Annotated[tuple[Window, ...], Before([])] = ()

    def __post_init__(self) -> None:
        """Check that there is something to see.

        Raises:
            ValueError: the crop or the input has no pixel, the crop is larger than the field, or
                the number of slices has no middle.
        """
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop {self.crop} is not above 0 and at most 1")
        if self.input_size < 1:
            raise ValueError(f"input_size {self.input_size} is below 1")
        if self.slices < 1 or self.slices % 2 == 0:
            raise ValueError(f"slices {self.slices} is not an odd number of 1 or more")

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return self.slices * max(1, len(self.windows))

    def region(self, size: int) -> Region:
        """What is seen of caches with `size` rows and columns."""
        return centred(size, self.crop)

    def reach(self, step: int) -> int:
        """Slices on either side of a stack's own that it reaches at this distance between them."""
        return self.slices // 2 * step


class Images(Protocol):
    """An array (n, size, size), or a file of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Images, rows and columns."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """One image."""
        ...


def neighbours(index: int, step: int, n: int, slices: int) -> list[int]:
    """Slices of the stack at `index`, ascending; the ends of the series repeat.

    Args:
        index: slice in the middle, 0..n-1.
        step: distance between the stack's slices.
        n: slices of the series.
        slices: slices of the stack, odd: 3 for index-step, index, index+step.
    """
    half = slices // 2
    return [min(max(index + i * step, 0), n - 1) for i in range(-half, half + 1)]


def prepare_slices(
    volume: Images, spec: StackSpec, region: Region, chosen: list[int] | None = None
) -> np.ndarray:
    """Cut, window and resample cached slices.

    Args:
        volume: float16 (n, size, size), values 0..5, or HU where there are windows; of a file only
            the chosen slices are read.
        spec: windows, size and mean of the input.
        region: what of each slice is seen.
        chosen: k slices, in their order; all of them by default.

    Returns:
        float32 (k, W, input_size, input_size), values minus the mean; W windows, 1 without any.
    """
    slices = resample_slices(volume, spec, region, chosen)
    return _float32(slices) - np.float32(spec.mean)


def resample_slices(
    volume: Images, spec: StackSpec, region: Region, chosen: list[int] | None = None
) -> np.ndarray:
    """`prepare_slices` before the mean is subtracted.

    Windows are made before anything is resampled: a mean of bone and soft tissue in HU would lie
    beyond a window that shows the soft tissue well.

    Returns:
        (k, W, input_size, input_size), float16 as cached where nothing is windowed or resampled,
        else float32; a copy in memory.
    """
    images = (
        region.of(volume[index]) for index in (range(volume.shape[0]) if chosen is None else chosen)
    )
    resampled = (region.width, region.height) != (spec.input_size, spec.input_size)
    if not spec.windows and not resampled:
        return np.stack(list(images))[:, None]
    shown = (one for image in images for one in _windowed(_float32(np.array(image)), spec.windows))
    found = np.stack([resize(one, spec.input_size) for one in shown])
    return found.reshape(-1, max(1, len(spec.windows)), *found.shape[1:])


def _windowed(image: np.ndarray, windows: tuple[Window, ...]) -> list[np.ndarray]:
    """A slice in every window; as it is where there is none."""
    return [window.apply(image) for window in windows] or [image]


def as_channels(stack: np.ndarray) -> np.ndarray:
    """The slices of one stack (k, W, S, S) as channels (k * W, S, S): slice by slice."""
    return stack.reshape(-1, *stack.shape[2:])


def _float32(values: np.ndarray) -> np.ndarray:
    """The same numbers as float32; numpy takes ten times as long over float16 as torch."""
    converted: np.ndarray = torch.from_numpy(values).float().numpy()
    return converted
