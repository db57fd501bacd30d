"""Options of preprocess_data.py."""

import os
from dataclasses import dataclass, field
from typing import Annotated, Literal

from intracranial.errors import UsageError
from intracranial.options.common import Before, DataOptions, Setting, check_above_zero

SMALLEST_SIZE = 16
LARGEST_SIZE = 4096


def usable_cores() -> int:
    """Cores that this process may use, an equal part of them if torchrun started several."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(cores // int(beside), 1) if beside.isdigit() and int(beside) else cores


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What a cached slice is."""

    size: int = 512
    """Rows and columns of a cached slice in pixels; both image axes are stretched to it."""

    mr_window: Literal["robust", "fixed"] = "robust"
    """Intensity window of MR: robust over the foreground of each series, or the original
    solution's fixed one (-1200..4000), for its published weights. CT is always 0..600 HU."""

    orient: Literal["canonical", "stored"] = "canonical"
    """canonical: one orientation for all axial, one for all coronal and one for all sagittal
    series; stored: rows and columns as in the files, for published weights."""

    rescale: Literal["auto", "always", "never"] = "auto"
    """Rescale of CT. auto: applies slope and intercept, but finds files that hold HU already or
    wrapped 12-bit values; always: as stated; never: stored values are HU. See the notes column."""

    phase: Annotated[Literal["first", "last"], Before("first")] = "first"
    """Which of several scans under one SeriesInstanceUID is kept where they are alike, such as the
    contrast phases of an angiogram: the first that was made, or the last."""

    def __post_init__(self) -> None:
        """Check the size."""
        if not SMALLEST_SIZE <= self.size <= LARGEST_SIZE:
            raise UsageError(f"--size {self.size}: give {SMALLEST_SIZE} to {LARGEST_SIZE}")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How series are read, and which are too large or too slow."""

    reader: Setting[Literal["scan", "pydicom"]] = "scan"
    """scan: a fast header scan for files that it can prove plain, pydicom for all others; pydicom:
    pydicom for every file. Both give the same bytes."""

    max_series_gib: Setting[float] = 8.0
    """Largest series in GiB of decoded pixels (4 bytes each); larger ones are rejected."""

    max_series_seconds: Setting[float] = 600.0
    """Seconds that one series may take; then its process is ended and the series is rejected."""

    def __post_init__(self) -> None:
        """Check the limits."""
        check_above_zero("--max_series_gib", self.max_series_gib)
        check_above_zero("--max_series_seconds", self.max_series_seconds)


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions(DataOptions):
    """Read DICOM series and write the caches and tables that all later stages use."""

    slices: Setting[bool] = True
    """Write each slice as a file of its own too (npy_slice, no later stage needs it). The sequence
    and the slice copies take 0.5 MiB each per slice of 512 x 512; --no_slices halves the disk."""

    num_workers: Setting[int] = field(default_factory=usable_cores)
    """Processes that read series (default: one per core, shared by the ranks of a machine); 0 reads
    in the main process, where no time limit holds and a crash ends the run."""

    limit: Setting[int | None] = None
    """Read only the first N series of train.csv; a later run without it goes on."""

    allow_rejected: Setting[bool] = False
    """Return 0 instead of 4 when series were rejected."""

    verify: Setting[bool] = False
    """Compare the content of finished caches with their recorded hash (XXH3-128)."""

    rank_patience: Setting[float] = 300.0
    """With torchrun or srun: seconds without a sign of life until a process counts as lost."""

    pixels: Pixels = Pixels()
    reading: Reading = Reading()

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        if self.num_workers < 0:
            raise UsageError(f"--num_workers {self.num_workers}: give 0 or more")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: give 1 or more")
        check_above_zero("--rank_patience", self.rank_patience)
