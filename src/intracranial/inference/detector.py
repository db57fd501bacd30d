"""A folder of DICOM files -> probabilities and points: both stages behind one call.

    detector = AneurysmDetector("model/demo")
    result = detector.predict("path/to/series")
    result.probability("Aneurysm Present"), result.points[0].mm

`Detector` is one fold; `AneurysmDetector` opens a run and averages its folds.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from intracranial.artifacts import FINAL_FOLD, FoldPaths, read_json
from intracranial.caching.read_ahead import PreparedSeries, Rejected, read_ahead
from intracranial.compute import choose_compute
from intracranial.errors import InputError, MissingArtifact, UsageError
from intracranial.imaging.geometry import Geometry
from intracranial.imaging.outcome import SeriesError, Status
from intracranial.inference.encoder import Encoder, SeriesFeatures
from intracranial.inference.points import Point, find_points
from intracranial.inference.preprocessing import Preprocessing
from intracranial.inference.sequence_detector import SequenceDetector
from intracranial.inference.series_prediction import SeriesPrediction
from intracranial.inference.views import PLAIN, VIEWS, check_views, views_of
from intracranial.lineage import open_weights, task_of
from intracranial.options.common import check_above_zero
from intracranial.provenance import MADE_BY, digest
from intracranial.runlog import log
from intracranial.sampling.features import FeatureSet
from intracranial.sampling.series_info import flip_axis, slice_mm
from intracranial.sidecar import part
from intracranial.task import Task

STAGES = ("stage1", "stage2")

NOT_FINITE = "not_finite"
"""Reason code of a series for which a network gave a value that is no number: with sound weights,
an overflow of half precision."""


@dataclass(frozen=True, eq=False)
class Detection:
    """Result for one series.

    `probabilities` float64 (L,); `slice_probabilities` float64 (n, L) from stage 2;
    `stage1_probabilities` float64 (n, L), averaged over the steps; `peaks` float64 (S, n, L, 3),
    for every step (of every view and fold) x and y in cache pixels and heat-map probability;
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


class Detector:
    """Both stages of one fold."""

    def __init__(
        self,
        paths: FoldPaths,
        stage1: dict[str, Any],
        stage2: dict[str, Any],
        device: str,
        precision: str,
        max_gib: float,
        views: Sequence[str] = (),
        compiled: bool = False,
        steps: Sequence[int] = (),
    ) -> None:
        """Load both networks.

        Args:
            paths: the fold's paths.
            stage1: its manifest.
            stage2: its manifest.
            device: see `choose_compute`.
            precision: of stage 1; stage 2 runs as it was trained.
            max_gib: largest series to read.
            views: ways of `VIEWS` to see a series in, beside the plain one.
            compiled: compile stage 1, which pays for many series.
            steps: of stage 1 to use; all that it was trained with when empty.

        Raises:
            UsageError: there is no such view, step or device.
            InputError: a manifest does not tell the task or is damaged, or labels lack the partner
                that a flip exchanges them with.
        """
        check_views(views)
        sidecar = paths.manifest("stage1")
        self.task = task_of(sidecar, stage1)
        self.views = tuple(name for name in VIEWS if name in views)
        if "flip" in views:
            self.task.mirrored()  # can it?
        preprocessing = part(sidecar, stage1, "preprocessing", Preprocessing)
        self.read, self.cache = preprocessing.reading(max_gib), preprocessing.caching()
        self.compute = choose_compute(device, precision)
        self.encoder = Encoder(paths, stage1, self.compute, compiled)
        if steps:
            self.encoder.steps = _chosen_steps(steps, self.encoder.steps)
        self.detector = SequenceDetector(paths, stage2, device)

    def detect(self, series: PreparedSeries) -> Detection:
        """Run both stages on one prepared series, in every view that it has.

        Raises:
            SeriesError: `not_finite`, a network gave a value that is no number.
        """
        geometry, size = series.geometry, series.volume.shape[-1]
        views = views_of(self.views, flip_axis(geometry))
        by_view: dict[str, np.ndarray] = {}
        at_slices, at_stage1, peaks = [], [], []
        seconds = {"read and prepare": series.seconds, "stage 1": 0.0, "stage 2": 0.0}
        for name, view in views.items():
            start = time.perf_counter()
            found = self.encoder.encode(series.volume, None if view is PLAIN else view.transform)
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
                view.restore_peaks(f.peaks, self.task, size, self.encoder.inputs)
                for f in found.values()
            ]
            seconds["stage 1"] += encoded - start
            seconds["stage 2"] += time.perf_counter() - encoded
        start = time.perf_counter()
        probabilities = np.mean([steps.mean(axis=0) for steps in by_view.values()], axis=0)
        slice_probabilities = np.mean(at_slices, axis=0)
        every_peak = np.stack(peaks)
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

    def _stage2(self, found: SeriesFeatures, geometry: Geometry) -> SeriesPrediction:
        """Probabilities from the stage-1 output of one step."""
        sets = {(0, 0): FeatureSet(found.features, found.logits, found.peaks)}
        return self.detector.predict(sets, slice_mm(geometry), geometry.geometry_known)

    def detect_folders(
        self, folders: Iterable[Path], num_workers: int, max_seconds: float
    ) -> Iterator[Detection | Rejected]:
        """Results in the order of the folders; reading overlaps with computing.

        A folder that cannot be read, that ends the process reading it, or that takes it more than
        `max_seconds`, gives a `Rejected`; the others go on.
        """
        for item in read_ahead(folders, self.read, self.cache, num_workers, max_seconds):
            yield item if isinstance(item, Rejected) else _or_rejected(self.detect, item)


def _or_rejected(
    detect: Callable[[PreparedSeries], Detection], series: PreparedSeries
) -> Detection | Rejected:
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


@dataclass(frozen=True, eq=False)
class Prediction:
    """What `AneurysmDetector` says of one series.

    Attributes:
        folder: where the series lies.
        uid: SeriesInstanceUID.
        modality: DICOM Modality, "CT" or "MR".
        status: "read", or "partial" when image data of the series could not be used.
        notes: stable codes of what the reader noticed, see `imaging.outcome.CODES`.
        labels: names, in the order of the probabilities.
        probabilities: float64 (L,).
        slice_probabilities: float64 (n, L): the curve of each label over the slices.
        sop_uids: SOPInstanceUID of each slice, in the order of the curve.
        frames: int64 (n,), the frame of each slice in its file, counted from 0.
        points: where, the most probable first, see `inference.points`.
        seconds: time per part of the work.
    """

    folder: Path
    uid: str
    modality: str
    status: Status
    notes: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    slice_probabilities: np.ndarray
    sop_uids: tuple[str, ...]
    frames: np.ndarray
    points: tuple[Point, ...]
    seconds: dict[str, float]

    def probability(self, label: str) -> float:
        """Probability of one label; KeyError for a name that is none of `labels`."""
        return dict(zip(self.labels, self.probabilities.tolist(), strict=True))[label]


class AneurysmDetector:
    """A trained run, ready for series of any origin.

    The run's folder alone is enough: how series are read and prepared, sizes, labels and networks
    come from the files beside the weights. Probabilities are the mean over the folds.

    Attributes:
        run: its name.
        task: labels and locations that it was trained for.
        folds: the folds that are averaged.
        manifests: of stage 1 and stage 2, by fold.
        labels: names, in the order of every probability vector.
        compute: device and precision, with the reason for them.
        identity: changes whenever the same series could give other numbers.
    """

    def __init__(
        self,
        run: str | Path,
        folds: int | str | Iterable[int | str] | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        num_workers: int = 0,
        max_series_gib: float = 8.0,
        max_series_seconds: float = 600.0,
        views: Sequence[str] = (),
        steps: Sequence[int] = (),
    ) -> None:
        """Open a run and load its networks.

        Args:
            run: its folder, `model/<run>`.
            folds: which folds, one or several, numbers or "final"; by default all numbered folds
                that are trained, or "final" where there are none.
            device: "auto", "cpu", "cuda" or "cuda:INDEX".
            precision: of stage 1: "auto", "bf16", "fp16" or "fp32".
            num_workers: processes that read series ahead. With 0 this process reads series
                itself: then no time limit holds, and a decoder that crashes takes the program
                along.
            max_series_gib: largest series in GiB of decoded pixels; larger ones are rejected.
            max_series_seconds: time that a process may take to read one series.
            views: test-time augmentation, see `inference.views`: "flip", "reverse", "crop",
                "crop90".
            steps: of stage 1 to use, of those it was trained with; all of them when empty.

        Raises:
            MissingArtifact: no such run, or a fold's weights are gone.
            StaleArtifact: stage 2 was trained on another stage 1.
            InputError: a file is damaged or does not tell the task, or the folds are of different
                tasks or were trained on differently prepared series.
            UsageError: no such fold, device, precision, view or step, or a limit that nothing
                keeps.
        """
        check_views(views)
        if not isinstance(num_workers, int) or num_workers < 0:
            raise UsageError(f"num_workers {num_workers!r}: give 0 or more")
        check_above_zero("max_series_gib", max_series_gib)
        check_above_zero("max_series_seconds", max_series_seconds)
        self.num_workers, self.max_series_seconds = num_workers, max_series_seconds
        root = Path(run).absolute()
        chosen = chosen_folds(root, folds)
        manifests: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        tasks: dict[str, Task] = {}
        for fold in chosen:
            stage1, stage2, task = open_weights(FoldPaths(root.parent, root.name, fold))
            manifests[fold], tasks[fold] = (stage1, stage2), task
        _check_alike(root, {fold: stage1 for fold, (stage1, _) in manifests.items()}, tasks)
        self.task = tasks[chosen[0]]
        self.labels = self.task.labels
        self.run, self.folds, self.manifests = root.name, tuple(manifests), manifests
        made_from = [[one["identity"] for one in pair] for pair in manifests.values()]
        self.identity = digest([made_from, sorted(set(views)), sorted(set(steps))])
        self.detectors = tuple(
            Detector(
                FoldPaths(root.parent, root.name, fold),
                stage1,
                stage2,
                device,
                precision,
                max_series_gib,
                views,
                steps=steps,
            )
            for fold, (stage1, stage2) in manifests.items()
        )
        self.compute = self.detectors[0].compute

    def predict(self, folder: str | Path) -> Prediction:
        """Read one series folder and predict.

        Raises:
            SeriesError: the folder holds no usable series, or the networks gave no numbers for it;
                `code` says why, see `read_series` and `NOT_FINITE`.
        """
        outcome = next(self.predict_many([folder]))
        if isinstance(outcome, Rejected):
            raise SeriesError(outcome.code, outcome.message)
        return outcome

    def predict_many(self, folders: Iterable[str | Path]) -> Iterator[Prediction | Rejected]:
        """Predictions in the order of the folders, each as soon as it is ready.

        A folder without a usable series gives a `Rejected` with code and words, and the others go
        on. Only a few series are in memory at a time, however many there are; with `num_workers`
        the next ones are read while the networks run.

        Raises:
            UsageError: it is one folder rather than several.
        """
        return (
            outcome if isinstance(outcome, Rejected) else self.summary(outcome)
            for outcome in self.detect_many(folders)
        )

    def detect_many(self, folders: Iterable[str | Path]) -> Iterator[Detection | Rejected]:
        """As `predict_many`, with the prepared pixels: for those who draw them."""
        if isinstance(folders, str | PathLike):
            raise UsageError(
                f"{folders} is one folder, not several: give a list, or use predict for one series"
            )
        first = self.detectors[0]
        prepared = read_ahead(
            map(Path, folders), first.read, first.cache, self.num_workers, self.max_series_seconds
        )
        return (
            item if isinstance(item, Rejected) else _or_rejected(self._detect, item)
            for item in prepared
        )

    def _detect(self, series: PreparedSeries) -> Detection:
        return average(self.task, [one.detect(series) for one in self.detectors])

    def summary(self, found: Detection) -> Prediction:
        """A detection without its pixels."""
        series = found.series
        return Prediction(
            folder=series.folder,
            uid=series.uid,
            modality=series.modality,
            status=series.status,
            notes=series.notes,
            labels=self.labels,
            probabilities=found.probabilities,
            slice_probabilities=found.slice_probabilities,
            sop_uids=series.sop_uids,
            frames=series.frames,
            points=found.points,
            seconds=found.seconds,
        )


def chosen_folds(run: Path, folds: int | str | Iterable[int | str] | None) -> tuple[str, ...]:
    """The folds to use, as text: those that were named, or else the trained ones.

    Args:
        run: the run's folder.
        folds: one or several, numbers or "final"; None for `trained_folds`.

    Raises:
        UsageError: none are named, or something that is no fold; whether a run has the fold is
            seen where it is opened.
        MissingArtifact: as `trained_folds`.
    """
    if folds is None:
        return trained_folds(run)
    given: tuple[int | str, ...]
    if isinstance(folds, str) or not isinstance(folds, Iterable):
        given = (folds,)
    else:
        given = tuple(folds)
    chosen = tuple(str(fold) for fold in given)
    for fold, text in zip(given, chosen, strict=True):
        number = isinstance(fold, str | Integral) and text.isdecimal()
        if not (number or fold == FINAL_FOLD):
            raise UsageError(
                f"folds {folds!r}: give numbers or {FINAL_FOLD!r}, one of them or a list"
            )
    if not chosen:
        raise UsageError("folds is empty: name at least one, or leave it out for all")
    return chosen


def trained_folds(run: Path) -> tuple[str, ...]:
    """Numbered folds of a run of which both stages are trained, in order, or else `final`.

    Raises:
        MissingArtifact: there is no such run, or neither.
    """
    if not run.is_dir():
        raise MissingArtifact(f"{run} is not a folder: give the folder of a run, model/<run>")
    numbers = sorted(
        int(folder.name.removeprefix("fold-"))
        for folder in run.glob("fold-*")
        if folder.name.removeprefix("fold-").isdigit()
    )
    missing = []
    found: list[str] = []
    for fold in (*map(str, numbers), FINAL_FOLD):
        paths = FoldPaths(run.parent, run.name, fold)
        open_ones = [stage for stage in STAGES if not _finished(paths.manifest(stage), stage)]
        if not open_ones:
            found.append(fold)
        elif fold != FINAL_FOLD:
            missing.append(f"fold {fold}: {MADE_BY[open_ones[0]]}")
    numbered = tuple(fold for fold in found if fold != FINAL_FOLD)
    if not found:
        wanted = "; ".join(missing) or "no fold-<k> in it"
        raise MissingArtifact(f"{run} has no trained fold ({wanted}): run the training stages")
    if missing and numbered:
        log.warning("%s: left out, not trained to the end: %s", run, "; ".join(missing))
    return numbered or (FINAL_FOLD,)


def _finished(manifest: Path, stage: str) -> bool:
    return manifest.exists() and bool(read_json(manifest, MADE_BY[stage]).get("complete"))


def _check_alike(run: Path, manifests: dict[str, dict[str, Any]], tasks: dict[str, Task]) -> None:
    """Refuse folds that predict different labels, or whose series cannot share one volume."""
    (first, one), *others = manifests.items()
    for fold, other in others:
        if tasks[fold] != tasks[first]:
            raise InputError(
                f"{run}: fold {first} predicts {len(tasks[first].labels)} labels of the task "
                f"{tasks[first].name!r}, fold {fold} {len(tasks[fold].labels)} of "
                f"{tasks[fold].name!r}, or others; name folds that belong together"
            )
        if other["preprocessing"] != one["preprocessing"]:
            raise InputError(
                f"{run}: fold {first} was trained on series prepared with {one['preprocessing']}, "
                f"fold {fold} with {other['preprocessing']}; name folds that belong together"
            )
