"""Options of preprocess_data.py."""

import os
from dataclasses import dataclass, field
from typing import Literal

from intracranial.errors import UsageError
from intracranial.imaging.pixels import STANDARD, Pixels
from intracranial.marks import Setting
from intracranial.options.common import DataOptions, check_above_zero


def usable_cores() -> int:
    """Cores that this process may use, an equal part of them if torchrun started several."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(cores // int(beside), 1) if beside.isdigit() and int(beside) else cores


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
    """Read only the first N series of train.csv; a later run without it continues."""

    allow_rejected: Setting[bool] = False
    """Return 0 instead of 4 when series were rejected."""

    verify: Setting[bool] = False
    """Compare the content of finished caches with their recorded hash (XXH3-128)."""

    rank_patience: Setting[float] = 300.0
    """With torchrun or srun: seconds without a sign of life until a process counts as lost."""

    pixels: Pixels = STANDARD
    reading: Reading = Reading()

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        if self.num_workers < 0:
            raise UsageError(f"--num_workers {self.num_workers}: give 0 or more")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: give 1 or more")
        check_above_zero("--rank_patience", self.rank_patience)
