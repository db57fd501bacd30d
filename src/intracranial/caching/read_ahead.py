"""Series prepared for the networks, read ahead by other processes while the networks run."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from intracranial.caching.job import Failure, attempt
from intracranial.caching.jobs import in_workers
from intracranial.imaging.cache import CacheDigest, to_cache
from intracranial.imaging.geometry import Geometry
from intracranial.imaging.linkage import Linkage
from intracranial.imaging.outcome import Status
from intracranial.imaging.pixels import Pixels
from intracranial.imaging.series import ReadLimits, Series, read_series
from intracranial.runlog import log


@dataclass(frozen=True, eq=False)
class PreparedSeries:
    """A series as the networks take it: `volume` float16 (n, size, size), and what it came from."""

    folder: Path
    uid: str
    modality: str
    volume: np.ndarray
    geometry: Geometry
    thickness: float | None
    sop_uids: tuple[str, ...]
    frames: np.ndarray
    positions: np.ndarray
    status: Status
    notes: tuple[str, ...]
    linkage: Linkage
    seconds: float
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """A folder that could not be used: reason code and words."""

    folder: Path
    code: str
    message: str


def prepare_series(folder: Path, pixels: Pixels, limits: ReadLimits) -> PreparedSeries | Rejected:
    """Read one folder exactly as preprocess_data.py does; no damaged file raises."""
    start = time.perf_counter()
    read = attempt(lambda: _read(folder, pixels, limits))
    if isinstance(read, Failure):
        words = read.words if str(folder) in read.words else f"{folder}: {read.words}"
        return Rejected(folder, read.code, words)
    series, volume, digest = read
    return PreparedSeries(
        folder=folder,
        uid=series.uid,
        modality=series.modality,
        volume=volume,
        geometry=series.geometry,
        thickness=series.thickness,
        sop_uids=series.sop_uids,
        frames=series.frames,
        positions=series.positions,
        status=series.status,
        notes=series.notes,
        linkage=replace(series.linkage, pixels=digest.of_image),
        seconds=time.perf_counter() - start,
        messages=series.messages,
    )


def _read(
    folder: Path, pixels: Pixels, limits: ReadLimits
) -> tuple[Series, np.ndarray, CacheDigest]:
    series = read_series(folder, pixels, limits)
    volume = to_cache(series, pixels)
    digest = CacheDigest(volume.shape)
    for image in volume:
        digest.update(image)
    return series, volume, digest


def read_ahead(
    folders: Iterable[Path],
    pixels: Pixels,
    limits: ReadLimits,
    num_workers: int,
    seconds: float,
) -> Iterator[PreparedSeries | Rejected]:
    """Prepared series in the order of the folders.

    Args:
        folders: one per series.
        pixels: how they are read and prepared.
        limits: of each reading.
        num_workers: processes that read; 0 reads in this process, where no time limit holds.
        seconds: wall-clock limit of one series; what becomes of one that takes longer, or whose
            process dies, `in_workers` tells.
    """
    shared = pixels, limits
    found = in_workers(prepare_series, folders, shared, num_workers, seconds, _lost, in_order=True)
    with closing(found):  # with this generator, at once
        for prepared in found:
            yield _logged(prepared)


def _logged(prepared: PreparedSeries | Rejected) -> PreparedSeries | Rejected:
    """Log what decoders have said, which the processes that read do not."""
    if isinstance(prepared, PreparedSeries):
        for words in prepared.messages:
            log.warning("%s: a decoder says of %s", prepared.folder, words)
    return prepared


def _lost(folder: Path, code: str, words: str) -> Rejected:
    return Rejected(folder, code, f"{folder}: {words}")
