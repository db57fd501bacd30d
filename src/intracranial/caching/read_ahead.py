"""Series prepared for the networks, read ahead by other processes while the networks run."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from intracranial.caching.job import read_failure
from intracranial.imaging.cache import CacheDigest, to_cache
from intracranial.imaging.geometry import Geometry
from intracranial.imaging.linkage import Linkage
from intracranial.imaging.outcome import Status
from intracranial.imaging.pixels import Pixels
from intracranial.imaging.series import ReadLimits, read_series
from intracranial.processes.pool import WorkerDied, WorkerPool
from intracranial.runlog import log

READ_AHEAD = 2
"""Series read before they are needed, per reading process: bounds memory."""


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
    try:
        series = read_series(folder, pixels, limits)
        volume = to_cache(series, pixels)
        digest = CacheDigest(volume.shape)
        for image in volume:
            digest.update(image)
    except Exception as error:  # whatever a damaged file provokes must not end the run
        code, words = read_failure(error)
        return Rejected(folder, code, words if str(folder) in words else f"{folder}: {words}")
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
        seconds: wall-clock limit of one series; a series that is ended by it is rejected as
            `timed_out`, one whose process dies otherwise, twice, as `worker_died`.
    """
    if num_workers == 0:
        yield from (_logged(prepare_series(folder, pixels, limits)) for folder in folders)
        return
    waiting: deque[tuple[Path, Future[PreparedSeries | Rejected]]] = deque()
    remaining = iter(folders)
    pool = WorkerPool(num_workers, seconds)

    def start() -> None:
        for folder in remaining:
            waiting.append((folder, pool.submit(prepare_series, folder, pixels, limits)))
            if len(waiting) >= READ_AHEAD * num_workers:
                return

    try:
        start()
        while waiting:
            folder, future = waiting.popleft()
            start()
            prepared = _result(folder, future, seconds)
            if isinstance(prepared, Rejected) and prepared.code == "worker_died":
                with WorkerPool(1, seconds) as alone:  # others may have taken its memory
                    future = alone.submit(prepare_series, folder, pixels, limits)
                    prepared = _result(folder, future, seconds)
            yield _logged(prepared)
    finally:
        pool.kill()


def _logged(prepared: PreparedSeries | Rejected) -> PreparedSeries | Rejected:
    """Log what decoders have said, which the processes that read do not."""
    if isinstance(prepared, PreparedSeries):
        for words in prepared.messages:
            log.warning("%s: a decoder says of %s", prepared.folder, words)
    return prepared


def _result(
    folder: Path, future: Future[PreparedSeries | Rejected], seconds: float
) -> PreparedSeries | Rejected:
    try:
        return future.result()
    except WorkerDied as death:
        if death.timed_out:
            words = f"{folder}: reading took more than {seconds:g} s (--max_series_seconds)"
            return Rejected(folder, "timed_out", words)
        return Rejected(folder, "worker_died", f"{folder}: the process that read it died twice")
