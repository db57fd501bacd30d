"""A series through what is trained of one fold: probabilities, curves and points."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from intracranial.caching.read_ahead import PreparedSeries, Rejected, read_ahead
from intracranial.compute import choose_compute
from intracranial.errors import UsageError
from intracranial.imaging.geometry import Geometry
from intracranial.imaging.outcome import SeriesError
from intracranial.imaging.series import ReadLimits
from intracranial.inference.encoder import Encoder
from intracranial.inference.points import Point, find_points
from intracranial.inference.sequence_predictor import SequencePredictor
from intracranial.inference.series_prediction import SeriesPrediction, of_stage1
from intracranial.inference.views import PLAIN, VIEWS, check_views, views_of
from intracranial.lineage import TrainedFold
from intracranial.sampling.features import FeatureSet
from intracranial.sampling.series_info import flip_axis, slice_mm
from intracranial.tasks import Task

NOT_FINITE = "not_finite"
"""Reason code of a series for which a network gave a value that is no number: with sound weights,
an overflow of half precision."""


@dataclass(frozen=True, eq=False)
class Detection:
    """Result for one series.

    `probabilities` float64 (L,); `slice_probabilities` float64 (n, L) from stage 2, or from stage 1
    where there is no other;
    `stage1_probabilities` float64 (n, L), averaged over the steps; `peaks` float64 (S, n, L, 3),
    for every step (of every view and fold) x and y in cache pixels and heat-map probability, S = 0
    where stage 1 has no heat maps;
    `points` as `find_points` orders them; `seconds` per part of the work; `by_view` float64 (S, L)
    for each view that the series has: what each step of stage 1 alone leads to, `probabilities`
    being the mean of all of them. It is empty for a mean over folds.
    """

    series: PreparedSeries
    probabilities: np.ndarray
    slice_probabilities: np.ndarray
    stage1_probabilities: np.ndarray
    peaks: np.ndarray
    points: tuple[Point, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    by_view: dict[str, np.ndarray] = field(default_factory=dict)


class FoldPredictor:
    """The trained stages of one fold: both, or stage 1 alone."""

    def __init__(
        self,
        trained: TrainedFold,
        device: str,
        precision: str,
        max_gib: float,
        views: Sequence[str] = (),
        compiled: bool = False,
        steps: Sequence[int] = (),
    ) -> None:
        """Load the networks.

        Args:
            trained: the fold; without stage 2 the answer is that of `of_stage1`.
            device: see `choose_compute`.
            precision: of stage 1; stage 2 runs as it was trained.
            max_gib: largest series to read.
            views: ways of `VIEWS` to see a series in, beside the plain one.
            compiled: compile stage 1, which pays for many series.
            steps: of stage 1 to use; all that it was trained with when empty.

        Raises:
            UsageError: there is no such view, step or device.
            InputError: a sidecar is damaged, or labels lack the partner that a flip exchanges them
                with.
        """
        check_views(views)
        paths, stage1, self.task = trained.paths, trained.stage1, trained.task
        self.views = tuple(name for name in VIEWS if name in views)
        if "flip" in views:
            if not self.task.flips:
                raise UsageError(
                    f"view 'flip': a left-right flip has no meaning for the task {self.task.name!r}"
                )
            self.task.mirrored()  # can it?
        self.pixels, self.limits = stage1.preprocessing, ReadLimits(max_gib)
        self.compute = choose_compute(device, precision)
        self.encoder = Encoder(paths, stage1, self.compute, compiled)
        if steps:
            self.encoder.steps = _chosen_steps(steps, self.encoder.steps)
        self.sequences = None
        if trained.stage2 is not None:
            self.sequences = SequencePredictor(paths, trained.stage2, device)

    def detect(self, series: PreparedSeries) -> Detection:
        """Run the networks on one prepared series, in every view that it has.

        Raises:
            SeriesError: `not_finite`, a network gave a value that is no number.
        """
        geometry, inputs = series.geometry, self.encoder.inputs
        region = inputs.region(series.volume.shape[-1])
        views = views_of(self.views, flip_axis(geometry))
        by_view: dict[str, np.ndarray] = {}
        at_slices, at_stage1, peaks = [], [], []
        seconds = {"read and prepare": series.seconds, "stage 1": 0.0, "stage 2": 0.0}
        for name, view in views.items():
            start = time.perf_counter()
            transform = None if view is PLAIN else view.transform
            found = self.encoder.encode(series.volume, region, transform)
            encoded = time.perf_counter()
            results = [self._stage2(found[step], geometry) for step in sorted(found)]
            slices = np.mean([result.slice_probabilities for result in results], axis=0)
            logits = np.stack([f.logits for f in found.values()]).astype(np.float64)
            stage1 = (1 / (1 + np.exp(-logits))).mean(axis=0)
            by_view[name] = np.stack(
                [view.restore_labels(result.probabilities, self.task) for result in results]
            )
            at_slices.append(view.restore_labels(slices, self.task))
            at_stage1.append(view.restore_labels(stage1, self.task))
            peaks += [
                view.restore_peaks(f.peaks, self.task, region, inputs.input_size)
                for f in found.values()
                if f.peaks is not None
            ]
            seconds["stage 1"] += encoded - start
            seconds["stage 2"] += time.perf_counter() - encoded
        start = time.perf_counter()
        probabilities = np.mean([steps.mean(axis=0) for steps in by_view.values()], axis=0)
        slice_probabilities = np.mean(at_slices, axis=0)
        n, labels = slice_probabilities.shape
        every_peak = np.stack(peaks) if peaks else np.zeros((0, n, labels, 3))
        numbers = (*by_view.values(), *at_slices, *at_stage1, every_peak)
        if not all(np.isfinite(given).all() for given in numbers):
            raise SeriesError(
                NOT_FINITE,
                f"{series.folder}: the networks gave a probability that is not finite "
                f"({self.compute.reason}); try --precision fp32",
            )
        points = find_points(self.task, series, every_peak, slice_probabilities, probabilities)
        return Detection(
            series=series,
            probabilities=probabilities,
            slice_probabilities=slice_probabilities,
            stage1_probabilities=np.mean(at_stage1, axis=0),
            peaks=every_peak,
            points=points,
            seconds={**seconds, "points": time.perf_counter() - start},
            by_view=by_view,
        )

    def _stage2(self, found: FeatureSet, geometry: Geometry) -> SeriesPrediction:
        """Probabilities from the stage-1 output of one step."""
        if self.sequences is None:
            return of_stage1(found)
        return self.sequences.predict({(0, 0): found}, slice_mm(geometry), geometry.geometry_known)

    def detect_folders(
        self, folders: Iterable[Path], num_workers: int, max_seconds: float
    ) -> Iterator[Detection | Rejected]:
        """Results in the order of the folders; reading overlaps with computing.

        A folder that cannot be read, that ends the process reading it, or that takes it more than
        `max_seconds`, gives a `Rejected`; the others continue.
        """
        for item in read_ahead(folders, self.pixels, self.limits, num_workers, max_seconds):
            yield item if isinstance(item, Rejected) else or_rejected(self.detect, item)


def or_rejected(
    detect: Callable[[PreparedSeries], Detection], series: PreparedSeries
) -> Detection | Rejected:
    """What `detect` finds, or why the networks gave no numbers for a series."""
    try:
        return detect(series)
    except SeriesError as error:
        return Rejected(series.folder, error.code, error.message)


def _chosen_steps(steps: Sequence[int], trained: Sequence[int]) -> tuple[int, ...]:
    if not set(steps) <= set(trained):
        raise UsageError(
            f"--steps {' '.join(map(str, steps))}: stage 1 was trained with steps "
            f"{', '.join(map(str, trained))}"
        )
    return tuple(step for step in trained if step in steps)


def average(task: Task, detections: Sequence[Detection]) -> Detection:
    """Mean probabilities of several folds on one series; their peaks vote for the points."""
    if len(detections) == 1:
        return detections[0]
    series = detections[0].series
    start = time.perf_counter()
    mean = {
        name: np.mean([getattr(found, name) for found in detections], axis=0)
        for name in ("probabilities", "slice_probabilities", "stage1_probabilities")
    }
    peaks = np.concatenate([found.peaks for found in detections])
    points = find_points(task, series, peaks, mean["slice_probabilities"], mean["probabilities"])
    seconds = {
        part: sum(found.seconds[part] for found in detections) for part in detections[0].seconds
    }
    seconds["read and prepare"] = series.seconds
    seconds["points"] += time.perf_counter() - start
    return Detection(series=series, peaks=peaks, points=points, seconds=seconds, **mean)
