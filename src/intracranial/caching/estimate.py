"""What a run of preprocess_data.py will cost, said before it starts."""

from collections.abc import Iterable

from intracranial.caching.fingerprints import Source
from intracranial.errors import InputError

MIB = 2**20
GIB = 2**30

SECONDS_PER_MEGAPIXEL = 0.005
"""Measured: reading, resizing and writing both caches, per million cached pixels on one core, for
uncompressed files (benchmarks/preprocess.py)."""

FEATURES, STEPS = 1024, 2
"""Width of the usual encoder, and its steps."""

USUAL_FOLDS = 10

LARGEST_SINGLE_SLICE = 4 * MIB
"""Bytes; a larger file holds several frames."""

FRAME_BYTES = 512 * 512 * 2
"""Bytes taken for one frame of a multi-frame file."""


def slice_count(source: Source) -> int:
    """Slices that a series probably has, from the number and size of its files."""
    if source.files and source.size / source.files > LARGEST_SINGLE_SLICE:
        return max(round(source.size / FRAME_BYTES), source.files)
    return source.files


def describe(
    sources: Iterable[Source], size: int, slices: bool, workers: int, free_gib: float, labels: int
) -> list[str]:
    """Lines for the user: series, disk, time, and the size of the later features.

    Args:
        sources: the series that are still to be read.
        size: rows and columns of a cached slice.
        slices: whether slice copies are written too.
        workers: processes.
        free_gib: free space where the caches will lie.
        labels: of the task.

    Raises:
        InputError: the caches will not fit on the disk.
    """
    counts = [slice_count(source) for source in sources]
    total = sum(counts)
    one = total * size * size * 2 / GIB
    need = one * (2 if slices else 1)
    seconds = total * size * size / 1e6 * SECONDS_PER_MEGAPIXEL / max(workers, 1)
    # float16 features, float32 logits and float32 peaks (x, y, value)
    feature = total * STEPS * (FEATURES * 2 + labels * 4 + labels * 3 * 4) / GIB
    lines = [
        f"{len(counts)} series to read, about {total} slices",
        f"disk: about {one:.2f} GiB of sequences"
        + (f" and {one:.2f} GiB of slice copies" if slices else ", no slice copies")
        + f"; {free_gib:.1f} GiB free",
        f"time: about {seconds / 60:.0f} min with {max(workers, 1)} processes (an estimate "
        "for uncompressed files; JPEG lossless takes six times as long, JPEG 2000 thirty times)",
        f"later: features take about {feature:.2f} GiB a fold, {feature * USUAL_FOLDS:.2f} GiB for "
        f"{USUAL_FOLDS} folds ({FEATURES} values a slice, two steps)",
    ]
    if need > free_gib:
        raise InputError(
            f"the caches need about {need:.2f} GiB but only {free_gib:.2f} GiB are free: make room,"
            " choose another --data_dir, a smaller --size"
            + (", or --no_slices, which halves the need" if slices else ", or --limit")
        )
    return lines
