"""What the parts of benchmarks/gpu_check.py are told, and where they leave what they find."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 2**30
SHARED_MEMORY = Path("/dev/shm")
ROOM = 16 * GIB
"""Free bytes in it from which on checkpoints go there: the disk's speed is no figure of a GPU."""

A_WORKER = GIB // 2
"""Bytes that a loader process needs there: the batches that it is ahead, and some more."""


def free_shared_memory() -> int:
    """Free bytes of what processes share, in which loaders hand over batches."""
    if not SHARED_MEMORY.is_dir():
        return 0
    found = os.statvfs(SHARED_MEMORY)
    return found.f_bavail * found.f_frsize


@dataclass(frozen=True)
class Sizes:
    """How large the work is."""

    model: str
    input_size: int
    cache_edge: int
    series: int
    slices: int
    batch_size: int
    warm: int
    steps: int
    width: int
    sequences: int
    sequence_steps: int
    dicom: str
    dicom_measured: int


FULL = Sizes("convnext_base", 448, 512, 8, 40, 32, 4, 20, 1024, 32, 24, "raw-512", 6)
SMALL = Sizes("test_convnext", 64, 64, 2, 12, 4, 1, 1, 32, 2, 1, "raw-64", 2)
SMALL_SHAPE = (8, 64, 3.5, 8.0)
"""Of the small form's DICOM series, see `generated_dicom.SHAPES`."""


@dataclass(frozen=True)
class Setting:
    """What a part is to do, and where."""

    part: str
    """Name of the part."""

    work_dir: Path
    """Generated data (kept for the next run) and scratch space."""

    result: Path
    """JSON file for the figures."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX."""

    small: bool = False
    """A network and data that a CPU does in seconds."""

    @property
    def sizes(self) -> Sizes:
        """Of the form that is asked for."""
        return SMALL if self.small else FULL

    @property
    def precision(self) -> str:
        """Of parts whose name does not say it; a tiny network in bf16 is too coarse to check."""
        return "fp32" if self.small else "auto"

    @property
    def cores(self) -> int:
        """Processors that this process may use."""
        return len(os.sched_getaffinity(0))

    @property
    def workers(self) -> int:
        """Loader processes: as many as a training takes beside a GPU, where their batches fit."""
        fitting = int(free_shared_memory() // A_WORKER)
        return 1 if self.small else max(1, min(8, self.cores, fitting))

    @property
    def scratch(self) -> Path:
        """Folder for what nobody reads again."""
        self.work_dir.mkdir(parents=True, exist_ok=True)
        return SHARED_MEMORY if free_shared_memory() > ROOM else self.work_dir


class Notes:
    """Figures of a part, on disk as soon as they are known."""

    def __init__(self, path: Path) -> None:
        """Begin without any."""
        self.path, self.figures = path, dict[str, Any]()

    def __call__(self, **figures: Any) -> None:  # noqa: ANN401
        """Add figures, JSON-ready."""
        self.figures |= figures
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.figures), encoding="utf-8")  # in the order of the notes
        new.replace(self.path)
        print(figures, flush=True)


def rounded(value: float) -> float:
    """Four significant digits: no figure here is known better."""
    return float(f"{value:.4g}")
