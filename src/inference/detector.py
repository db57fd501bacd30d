"""A folder of DICOM files -> probabilities: both stages behind one call."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from src.artifacts import FoldPaths
from src.compute import choose_compute
from src.imaging.cache import CacheOptions
from src.imaging.prepare import PreparedSeries, Rejected, read_ahead
from src.imaging.series import ReadOptions
from src.inference.encoder import Encoder
from src.inference.sequence_detector import SequenceDetector
from src.sampling.features import FeatureSet
from src.sampling.series_info import slice_mm
from src.task import Task


@dataclass(frozen=True, eq=False)
class Detection:
    """Result for one series.

    `probabilities` float64 (L,); `slice_probabilities` float64 (n, L) from stage 2;
    `stage1_probabilities` float64 (n, L) and `peaks` float64 (n, L, 3), x and y in cache pixels
    and heat-map probability, averaged over the steps; `seconds` per part of the work.
    """

    series: PreparedSeries
    probabilities: np.ndarray
    slice_probabilities: np.ndarray
    stage1_probabilities: np.ndarray
    peaks: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)


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
        self.read = ReadOptions(
            orient=preprocessing["orient"],
            max_gib=max_gib,
            rescale=preprocessing.get("rescale", "auto"),  # models of before have none
        )
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
        self, folders: Iterable[Path], num_workers: int, max_seconds: float
    ) -> Iterator[Detection | Rejected]:
        """Results in the order of the folders; reading overlaps with computing.

        A folder that cannot be read, that ends the process reading it, or that takes it more than
        `max_seconds`, gives a `Rejected`; the others go on.
        """
        for item in read_ahead(folders, self.read, self.cache, num_workers, max_seconds):
            yield item if isinstance(item, Rejected) else self.detect(item)
