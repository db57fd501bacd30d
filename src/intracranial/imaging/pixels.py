"""`Pixels`: what a cached slice is, the same for the option, the worker and stage 1's sidecar."""

from dataclasses import dataclass
from typing import Annotated, Literal

from intracranial.errors import UsageError
from intracranial.marks import Before

SMALLEST_SIZE = 16
LARGEST_SIZE = 4096

MrWindow = Literal["robust", "fixed"]
Orient = Literal["canonical", "stored"]
Policy = Literal["auto", "always", "never"]
Phase = Literal["first", "last"]


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What a cached slice is."""

    # Every sidecar names what has no default here; a default is what older ones mean.

    size: int
    """Rows and columns of a cached slice in pixels; both image axes are stretched to it."""

    mr_window: MrWindow
    """Intensity window of MR: robust over the foreground of each series, or the original
    solution's fixed one (-1200..4000), for its published weights. CT is always 0..600 HU."""

    orient: Orient
    """canonical: one orientation for all axial, one for all coronal and one for all sagittal
    series; stored: rows and columns as in the files, for published weights."""

    rescale: Policy = "auto"
    """Rescale of CT. auto: applies slope and intercept, but finds files that hold HU already or
    wrapped 12-bit values; always: as stated; never: stored values are HU. See the notes column."""

    phase: Annotated[Phase, Before("first")] = "first"
    """Which of several scans under one SeriesInstanceUID is kept where they are alike, such as the
    contrast phases of an angiogram: the first that was made, or the last."""

    def __post_init__(self) -> None:
        """Check the size.

        Raises:
            UsageError: no cache has this size.
        """
        if not SMALLEST_SIZE <= self.size <= LARGEST_SIZE:
            raise UsageError(f"--size {self.size}: give {SMALLEST_SIZE} to {LARGEST_SIZE}")


STANDARD = Pixels(size=512, mr_window="robust", orient="canonical")
"""What preprocess_data.py makes unless it is told otherwise."""
