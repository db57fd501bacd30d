"""Series prepared for the networks, read ahead by other processes while the networks run."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.imaging.cache import CacheOptions, to_cache
from src.imaging.geometry import Geometry
from src.imaging.linkage import Linkage
from src.imaging.pool import worker_pool
from src.imaging.selection import SeriesError
from src.imaging.series import ReadOptions, read_series

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
    sop_uids: tuple[str, ...]
    frames: np.ndarray
    positions: np.ndarray
    notes: tuple[str, ...]
    linkage: Linkage
    seconds: float


@dataclass(frozen=True)
class Rejected:
    """A folder that could not be used: reason code and words."""

    folder: Path
    code: str
    message: str


def prepare_series(
    folder: Path, read: ReadOptions, cache: CacheOptions
) -> PreparedSeries | Rejected:
    """Read one folder exactly as preprocess_data.py does."""
    start = time.perf_counter()
    try:
        series = read_series(folder, read)
        volume = to_cache(series, cache)
    except SeriesError as error:
        return Rejected(folder, error.code, str(error))
    return PreparedSeries(
        folder=folder,
        uid=series.uid,
        modality=series.modality,
        volume=volume,
        geometry=series.geometry,
        sop_uids=series.sop_uids,
        frames=series.frames,
        positions=series.positions,
        notes=series.notes,
        linkage=series.linkage,
        seconds=time.perf_counter() - start,
    )


def read_ahead(
    folders: Iterable[Path], read: ReadOptions, cache: CacheOptions, num_workers: int
) -> Iterator[PreparedSeries | Rejected]:
    """Prepared series in the order of the folders, read by `num_workers` processes (0: here)."""
    if num_workers == 0:
        yield from (prepare_series(folder, read, cache) for folder in folders)
        return
    waiting: deque[tuple[Path, Future[PreparedSeries | Rejected]]] = deque()
    remaining = deque(folders)
    pool = worker_pool(num_workers)
    try:
        while waiting or remaining:
            while remaining and len(waiting) < READ_AHEAD * num_workers:
                folder = remaining.popleft()
                waiting.append((folder, pool.submit(prepare_series, folder, read, cache)))
            folder, future = waiting.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:
                # One of the series in flight ended its process: read each of them alone.
                pool.shutdown(wait=False, cancel_futures=True)
                for suspect in [folder, *(path for path, _ in waiting)]:
                    yield _alone(suspect, read, cache)
                waiting.clear()
                pool = worker_pool(num_workers)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _alone(folder: Path, read: ReadOptions, cache: CacheOptions) -> PreparedSeries | Rejected:
    with worker_pool(1) as pool:
        try:
            return pool.submit(prepare_series, folder, read, cache).result()
        except BrokenProcessPool:
            return Rejected(folder, "reader_died", f"{folder}: the process that read it died")
