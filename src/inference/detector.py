"""A folder of DICOM files -> probabilities: both stages behind one call.

Reading and computing overlap: series are read in other processes while the networks run here.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from src.artifacts import FoldPaths
from src.compute import choose_compute
from src.imaging.cache import CacheOptions, to_cache
from src.imaging.geometry import Geometry
from src.imaging.linkage import Linkage
from src.imaging.selection import SeriesError
from src.imaging.series import ReadOptions, read_series
from src.inference.encoder import Encoder
from src.inference.sequence_detector import SequenceDetector
from src.sampling.features import FeatureSet
from src.sampling.series_info import slice_mm
from src.task import Task

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


@dataclass(frozen=True, eq=False)
class Detection:
    """Result for one series.

    `probabilities` float64 (L,); `slice_probabilities` float64 (n, P) from stage 2;
    `stage1_probabilities` float64 (n, L) and `peaks` float64 (n, P, 3), x and y in cache pixels
    and heat-map probability, averaged over the steps; `seconds` per part of the work.
    """

    series: PreparedSeries
    probabilities: np.ndarray
    slice_probabilities: np.ndarray
    stage1_probabilities: np.ndarray
    peaks: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)


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


class Detector:
    """Both stages of one fold."""

    def __init__(
        self,
        paths: FoldPaths,
        stage1: dict[str, Any],
        stage2: dict[str, Any],
        task: Task,
        device: str,
        precision: str,
        max_gib: float,
    ) -> None:
        """Load both networks.

        Args:
            paths: the fold's paths.
            stage1: its manifest.
            stage2: its manifest.
            task: labels and locations.
            device: see `choose_compute`.
            precision: of stage 1; stage 2 runs as it was trained.
            max_gib: largest series to read.
        """
        preprocessing = stage1["preprocessing"]
        self.task = task
        self.read = ReadOptions(orient=preprocessing["orient"], max_gib=max_gib)
        self.cache = CacheOptions(size=preprocessing["size"], mr_window=preprocessing["mr_window"])
        self.compute = choose_compute(device, precision)
        self.encoder = Encoder(paths, stage1, self.compute)
        self.detector = SequenceDetector(paths, stage2, device)

    def detect(self, series: PreparedSeries) -> Detection:
        """Run both stages on one prepared series."""
        start = time.perf_counter()
        found = self.encoder.encode(series.volume)
        encoded = time.perf_counter()
        sets = {(step, 0): FeatureSet(f.features, f.logits, f.peaks) for step, f in found.items()}
        geometry = series.geometry
        result = self.detector.predict(sets, slice_mm(geometry), geometry.geometry_known)
        logits = np.stack([f.logits for f in found.values()]).astype(np.float64)
        return Detection(
            series=series,
            probabilities=result.probabilities,
            slice_probabilities=result.slice_probabilities,
            stage1_probabilities=(1 / (1 + np.exp(-logits))).mean(axis=0),
            peaks=np.stack([f.peaks for f in found.values()]).astype(np.float64).mean(axis=0),
            seconds={
                "read and prepare": series.seconds,
                "stage 1": encoded - start,
                "stage 2": time.perf_counter() - encoded,
            },
        )

    def detect_folders(
        self, folders: Iterable[Path], num_workers: int
    ) -> Iterator[Detection | Rejected]:
        """Results in the order of the folders; reading overlaps with computing.

        A folder that cannot be read, or that ends the process reading it, gives a `Rejected`; the
        others go on.
        """
        for item in read_ahead(folders, self.read, self.cache, num_workers):
            yield item if isinstance(item, Rejected) else self.detect(item)


def read_ahead(
    folders: Iterable[Path], read: ReadOptions, cache: CacheOptions, num_workers: int
) -> Iterator[PreparedSeries | Rejected]:
    """Prepared series in the order of the folders, read by `num_workers` processes (0: here)."""
    if num_workers == 0:
        yield from (prepare_series(folder, read, cache) for folder in folders)
        return
    waiting: deque[tuple[Path, Future[PreparedSeries | Rejected]]] = deque()
    remaining = deque(folders)
    pool = _pool(num_workers)
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
                pool = _pool(num_workers)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pool(num_workers: int) -> ProcessPoolExecutor:
    # forkserver: a fork of a process that runs torch threads or CUDA can hang
    return ProcessPoolExecutor(num_workers, mp_context=get_context("forkserver"))


def _alone(folder: Path, read: ReadOptions, cache: CacheOptions) -> PreparedSeries | Rejected:
    with _pool(1) as pool:
        try:
            return pool.submit(prepare_series, folder, read, cache).result()
        except BrokenProcessPool:
            return Rejected(folder, "reader_died", f"{folder}: the process that read it died")
