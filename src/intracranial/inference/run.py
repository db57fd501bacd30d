"""A folder of DICOM files -> probabilities and points: a run behind one call.

    predictor = Predictor("model/demo")
    result = predictor.predict("path/to/series")
    result.probability("Aneurysm Present"), result.points[0].mm

`Predictor` opens a run and averages its folds, each of which is a `FoldPredictor`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path

import numpy as np

from intracranial.artifacts import FINAL_FOLD, FoldPaths, read_json
from intracranial.caching.read_ahead import PreparedSeries, Rejected, read_ahead
from intracranial.errors import InputError, MissingArtifact, UsageError
from intracranial.imaging.outcome import SeriesError, Status
from intracranial.inference.fold import Detection, FoldPredictor, average, or_rejected
from intracranial.inference.points import Point
from intracranial.inference.views import check_views
from intracranial.lineage import TrainedFold, open_fold
from intracranial.options.common import check_above_zero
from intracranial.provenance import MADE_BY, digest
from intracranial.runlog import log

STAGES = ("stage1", "stage2")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What `Predictor` says of one series.

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


class Predictor:
    """A trained run, ready for series of any origin.

    The run's folder alone is enough: how series are read and prepared, sizes, labels and networks
    come from the files beside the weights. Probabilities are the mean over the folds.

    Attributes:
        run: its name.
        task: labels and locations that it was trained for.
        folds: the folds that are averaged.
        trained: the sidecars of each fold.
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
        # a fold that is named twice counts once
        chosen = tuple(dict.fromkeys(chosen_folds(root, folds)))
        trained = [open_fold(FoldPaths(root.parent, root.name, fold)) for fold in chosen]
        _check_alike(root, trained)
        self.task = trained[0].task
        self.labels = self.task.labels
        self.run, self.folds, self.trained = root.name, chosen, tuple(trained)
        made_from = [[one.identity for one in fold.sidecars.values()] for fold in trained]
        self.identity = digest([made_from, sorted(set(views)), sorted(set(steps))])
        self.fold_predictors = tuple(
            FoldPredictor(fold, device, precision, max_series_gib, views, steps=steps)
            for fold in trained
        )
        self.compute = self.fold_predictors[0].compute

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

        A folder without a usable series gives a `Rejected` with code and words, and the others
        continue. Only a few series are in memory at a time, however many there are; with
        `num_workers` the next ones are read while the networks run.

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
        first = self.fold_predictors[0]
        prepared = read_ahead(
            map(Path, folders),
            first.pixels,
            first.limits,
            self.num_workers,
            self.max_series_seconds,
        )
        return (
            item if isinstance(item, Rejected) else or_rejected(self._detect, item)
            for item in prepared
        )

    def _detect(self, series: PreparedSeries) -> Detection:
        return average(self.task, [one.detect(series) for one in self.fold_predictors])

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


def _check_alike(run: Path, trained: Sequence[TrainedFold]) -> None:
    """Refuse folds that predict different labels, or whose series cannot share one volume."""
    first, *others = trained
    for other in others:
        names = f"fold {first.paths.fold}", f"fold {other.paths.fold}"
        if other.task != first.task:
            raise InputError(
                f"{run}: {names[0]} predicts {len(first.task.labels)} labels of the task "
                f"{first.task.name!r}, {names[1]} {len(other.task.labels)} of "
                f"{other.task.name!r}, or others; name folds that belong together"
            )
        prepared = [one.stage1.preprocessing for one in (first, other)]
        if prepared[1] != prepared[0]:
            raise InputError(
                f"{run}: {names[0]} was trained on series prepared with {prepared[0]}, "
                f"{names[1]} with {prepared[1]}; name folds that belong together"
            )
