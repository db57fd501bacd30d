"""The metrics files as dataclasses: what evaluations write with `to_json` and others read here.

There is one shape for the files of eval_stage1.py, eval_stage2.py and eval_end_to_end.py, of a
fold, of a folder and of all folds: an `Evaluation`, and what each adds. `results.schema.json`
beside this module documents every key. People copy and edit these files: a file is checked once,
here, and whatever does not fit is an `InputError` with file, key, value and what to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from intracranial.artifacts import ALL_FOLDS, read_json
from intracranial.jsonable import FLAT
from intracranial.metrics import Cell
from intracranial.provenance import MADE_BY, MANIFEST_KEYS, read_manifest
from intracranial.sidecar import whole
from intracranial.statistics.calibration import CalibrationTable
from intracranial.statistics.comparison import Comparison
from intracranial.statistics.intervals import TableWithIntervals
from intracranial.statistics.localisation import LocalisationTable
from intracranial.statistics.operating import OperatingTable
from intracranial.statistics.seeds import SeedTable
from intracranial.statistics.spread import Spread
from intracranial.statistics.suspects import SuspectsTable

FileT = TypeVar("FileT")


@dataclass(frozen=True)
class ReadAt:
    """Where `sensitivity` and `specificity` of the labels are read from their curves."""

    specificity: float
    sensitivity: float


@dataclass(frozen=True)
class Intervals:
    """How intervals were made.

    Attributes:
        level: share of the resamples between the ends.
        resamples: of the bootstrap; 0 for no intervals.
        seed: keys them.
        method: in words.
        optimistic: why the figures and their intervals are too good, or None.
    """

    level: float
    resamples: int
    seed: int
    method: str
    optimistic: str | None


@dataclass(frozen=True, kw_only=True)
class Evaluation(TableWithIntervals):
    """Everything that is said of one sample.

    Attributes:
        task: as `Task.record` gives it.
        read_at: of the labels' further figures.
        intervals: how they were made.
        subgroups: by trait and its value.
        calibration: before and after a correction.
        operating_points: at thresholds from other patients.
        selected_on: what selected the weights.
        split_hash: of the split whose held-out rows were scored; absent for other series.
        partial: why this is a trial, or None; the file's manifest says so, and no evaluation.
    """

    task: Mapping[str, Any]
    read_at: ReadAt
    intervals: Intervals
    subgroups: Mapping[str, Mapping[str, TableWithIntervals]]
    calibration: CalibrationTable
    operating_points: OperatingTable
    selected_on: str
    split_hash: str | None = None
    partial: str | None = None


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Training minus held-out figures.

    Attributes:
        labels: those that both tables scored, over which the means are taken.
        figures: of `score` and, by its name, of the overall label, where there is one.
    """

    labels: tuple[str, ...]
    figures: Mapping[str, Cell] = field(metadata=FLAT)


@dataclass(frozen=True, kw_only=True)
class StageMetrics(Evaluation):
    """Metrics of one stage; its own table is that of the held-out fold.

    Attributes:
        training: of the training rows, which are of other patients; None without any.
        gap: likewise.
    """

    training: TableWithIntervals | None
    gap: Gap | None


@dataclass(frozen=True, kw_only=True)
class SelectedTable(TableWithIntervals):
    """A score table, and what selected the weights."""

    selected_on: str


@dataclass(frozen=True, kw_only=True)
class ViewGain:
    """An average of views and steps.

    Attributes:
        name: of the average.
        views: that are averaged.
        steps: of stage 1 that are.
        series: how many have all these views.
        score: of the average.
        difference: to the plain view, paired; None of the plain one itself.
        p: of the difference, two-sided.
        optimistic: why these figures are too good, or None.
    """

    name: str
    views: tuple[str, ...]
    steps: tuple[int, ...]
    series: int
    score: Cell
    difference: Cell | None
    p: float | None
    optimistic: str | None


@dataclass(frozen=True)
class RejectedSeries:
    """A series that could not be read: its folder, and why as a code and in words."""

    folder: str
    reason: str
    words: str


@dataclass(frozen=True, kw_only=True)
class EndToEndMetrics(Evaluation):
    """Metrics of both stages together.

    Attributes:
        stage1_maximum: of the plain maximum of stage 1 over the slices, for comparison.
        gain_over_stage1: that maximum and both stages, paired; None without resamples.
        localisation: of the points; None without centres.
        test_time_augmentation: what each view adds; None where there is one view and one step.
        suspects: labels to look at again.
        rejected: series that could not be read.
        seen_in_training: UIDs of scored series that were in training or belong to a patient that
            was; None where the run does not tell.
    """

    stage1_maximum: SelectedTable
    gain_over_stage1: Comparison | None
    localisation: LocalisationTable | None
    test_time_augmentation: tuple[ViewGain, ...] | None
    suspects: SuspectsTable
    rejected: tuple[RejectedSeries, ...]
    seen_in_training: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class UnlabelledMetrics:
    """What there is to say of series without labels: no figures.

    Attributes:
        selected_on: what selected the weights.
        series: how many were read.
        score: a cell without a value.
        per_label: empty.
        left_out: empty.
        rejected: as of `EndToEndMetrics`.
        seen_in_training: likewise.
        split_hash: as of `Evaluation`.
        partial: likewise.
    """

    selected_on: str
    series: int
    score: Cell
    per_label: Mapping[str, Cell]
    left_out: tuple[str, ...]
    rejected: tuple[RejectedSeries, ...]
    seen_in_training: tuple[str, ...] | None
    split_hash: str | None = None
    partial: str | None = None


@dataclass(frozen=True, kw_only=True)
class FoldScore:
    """One fold among all.

    Attributes:
        series: rows.
        score: of its own labels.
        overall: the overall label's value; None where the task has no such label.
        comparable_score: over the labels that every fold scores.
        selected_on: what selected the weights.
    """

    series: int
    score: Cell
    overall: Cell | None
    comparable_score: float | None
    selected_on: str


@dataclass(frozen=True, kw_only=True)
class OverFolds:
    """What a file over all folds adds to the table of their rows.

    Attributes:
        by_fold: by the fold's number.
        labels_of_every_fold: those that every fold scored.
        spread: of the comparable scores.
        folds: how many.
        partial_folds: by fold why it is a trial.
        seeds: runs that differ in their seed alone; None where none were named.
    """

    by_fold: Mapping[str, FoldScore]
    labels_of_every_fold: tuple[str, ...]
    spread: Spread | None
    folds: int
    partial_folds: Mapping[str, str]
    seeds: SeedTable | None


@dataclass(frozen=True, kw_only=True)
class StageMetricsOfAllFolds(OverFolds, Evaluation):
    """Held-out predictions of one stage, pooled over all folds."""


@dataclass(frozen=True, kw_only=True)
class EndToEndMetricsOfAllFolds(OverFolds, EndToEndMetrics):
    """Held-out predictions of both stages, pooled over all folds."""


def read_stage_metrics(path: Path, stage: str) -> StageMetrics:
    """The metrics file of `stage1` or `stage2` of a fold.

    Raises:
        MissingArtifact: it is not there.
        InputError: it is of another kind, not finished, or a key does not fit.
    """
    return _of_manifest(path, read_manifest(path, f"{stage}_metrics"), StageMetrics)


def read_end_to_end_metrics(path: Path) -> EndToEndMetrics | UnlabelledMetrics:
    """The metrics file of both stages, of a fold or a folder; errors as `read_stage_metrics`."""
    content = read_manifest(path, "end_to_end_metrics")
    if content.get("per_label") == {}:
        return _of_manifest(path, content, UnlabelledMetrics)
    return _of_manifest(path, content, EndToEndMetrics)


def read_metrics_of_all_folds(
    path: Path, stage: str
) -> StageMetricsOfAllFolds | EndToEndMetricsOfAllFolds:
    """The metrics file of a stage, or of `end_to_end`, over all folds.

    Raises:
        MissingArtifact: it is not there.
        InputError: a key does not fit.
    """
    script = f"{MADE_BY[f'{stage}_metrics']} --fold {ALL_FOLDS}"
    content = read_json(path, script)
    if stage == "end_to_end":
        return whole(path, content, EndToEndMetricsOfAllFolds, script)
    return whole(path, content, StageMetricsOfAllFolds, script)


def _of_manifest(path: Path, content: Mapping[str, Any], kind: type[FileT]) -> FileT:
    """A metrics file without what every manifest says of its making, but for `partial`."""
    own = {name: one for name, one in content.items() if name not in MANIFEST_KEYS - {"partial"}}
    return whole(path, own, kind)
