"""How the series of a training were read and cached, as stage 1's sidecar tells it."""

from dataclasses import dataclass

from intracranial.imaging.cache import CacheOptions
from intracranial.imaging.intensity import MrWindow
from intracranial.imaging.rescale import Policy
from intracranial.imaging.scans import Phase
from intracranial.imaging.series import Orient, ReadOptions
from intracranial.options.preprocess import LARGEST_SIZE, SMALLEST_SIZE


@dataclass(frozen=True)
class Preprocessing:
    """The options of preprocess_data.py of the same names; see `PreprocessOptions`."""

    size: int
    mr_window: MrWindow
    orient: Orient
    rescale: Policy = "auto"
    """Sidecars written before the option existed have none."""

    phase: Phase = "first"
    """As above."""

    def __post_init__(self) -> None:
        """Check what the types leave open.

        Raises:
            ValueError: no cache has this size.
        """
        if not SMALLEST_SIZE <= self.size <= LARGEST_SIZE:
            raise ValueError(f"a size of {SMALLEST_SIZE} to {LARGEST_SIZE} is expected")

    def reading(self, max_gib: float) -> ReadOptions:
        """How a series is read; larger ones are rejected."""
        return ReadOptions(
            orient=self.orient, max_gib=max_gib, rescale=self.rescale, phase=self.phase
        )

    def caching(self) -> CacheOptions:
        """How it becomes the array that the networks see."""
        return CacheOptions(size=self.size, mr_window=self.mr_window)
