"""From end-to-end results and a run's files to the report page."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from intracranial.artifacts import FoldPaths
from intracranial.caching.read_ahead import Rejected, prepare_series
from intracranial.evaluation.end_to_end import Results, Scored, arrays
from intracranial.evaluation.metrics_files import (
    EndToEndMetrics,
    StageMetrics,
    UnlabelledMetrics,
    read_stage_metrics,
)
from intracranial.evaluation.tables import THIS_FOLD
from intracranial.imaging.geometry import cache_to_patient
from intracranial.inference.fold import FoldPredictor
from intracranial.inference.points import Point
from intracranial.lineage import Stage1Sidecar
from intracranial.metrics import Cell, ends
from intracranial.provenance import versions
from intracranial.report.page import Case, ReportData, ShownSlice, select_cases, write_report
from intracranial.report.projections import array_directions, place_in_words, project
from intracranial.sampling.series_info import pixel_mm
from intracranial.tasks import Task

SLICES_SHOWN = 3
"""Slices of a case: more pictures of one series are scrolled over, not looked at."""


def write_end_to_end_report(
    path: Path,
    results: Results,
    metrics: EndToEndMetrics | UnlabelledMetrics,
    predictor: FoldPredictor,
    paths: FoldPaths,
    stage1: Stage1Sidecar,
    name: str,
    held_out: bool,
) -> None:
    """Write report.html; the pixels of the few series it shows are read once more.

    Args:
        path: of the page.
        results: what was scored; at least one series.
        metrics: of the same results.
        predictor: for its reading options.
        paths: the run's files: stage metrics and logs, where they exist.
        stage1: sidecar of stage 1.
        name: of the fold or the folder that was scored.
        held_out: whether it was the run's held-out fold, not a folder of other series.
    """
    task = predictor.task
    targets, probabilities = arrays(results)
    finding = None if targets is None else task.has_finding(targets)
    chosen = select_cases(finding, task.summary(probabilities), task)
    stage_1, stage_2 = stage_scores(paths, "stage1"), stage_scores(paths, "stage2")
    figures = metrics if isinstance(metrics, EndToEndMetrics) else None
    data = ReportData(
        title=task.title,
        run=paths.run,
        fold=name,
        other_series=not held_out,
        task=task,
        targets=targets,
        probabilities=probabilities,
        modalities=[found.modality for found in results.scored],
        summary=summary_of(metrics, f"fold {name}" if held_out else f"the folder {name}"),
        warnings=warnings_of(metrics, [stage1.partial] if stage1.partial else []),
        metrics=figures,
        subgroups={} if figures is None else figures.subgroups,
        stage1_held_out=stage_1,
        stage1_training=stage_1 and stage_1.training,
        stage2_held_out=stage_2,
        stage2_training=stage_2 and stage_2.training,
        stage1_log=_log_rows(paths.log_csv("stage1")),
        stage2_log=_log_rows(paths.log_csv("stage2")),
        cases=[
            case
            for row, why in chosen
            if (case := _case(results.scored[row], why, predictor, task)) is not None
        ],
        versions=versions(),
        split_hash=stage1.split.hash if stage1.split else "",
        weights=stage1.model.backbone,
        weights_licence=stage1.weights_licence,
    )
    write_report(path, data)


def _case(found: Scored, why: str, predictor: FoldPredictor, task: Task) -> Case | None:
    series = prepare_series(found.job.folder, predictor.pixels, predictor.limits)
    if isinstance(series, Rejected):  # it was readable a moment ago
        return None
    top = top_label(task, found.probabilities)
    place = task.labels[top]
    point = next((point for point in found.points if point.label == place), None)
    labels = found.job.labels
    truth = None
    if labels is not None:
        truth = tuple(
            label
            for label, value in zip(task.labels, labels, strict=True)
            if value == 1 and (label in task.others or task.labels == (label,))
        )
    shown_label = top if task.overall is None else task.labels.index(task.overall)
    geometry, volume = series.geometry, series.volume
    region = predictor.encoder.inputs.region(found.size)
    directions = array_directions(geometry)
    row_mm, column_mm = pixel_mm(geometry, found.size)[::-1]

    def mm_of(index: int, at: tuple[float, float] | None) -> np.ndarray:
        """The point on a slice, or the slice's middle, in the patient."""
        middle = (found.size - 1) / 2
        place = np.array([[*(at or (middle, middle)), index]])
        return cache_to_patient(geometry, place, series.positions, found.size)[0]

    return Case(
        uid=found.uid,
        why=why,
        modality=found.modality,
        plane=found.plane,
        directions=directions,
        truth=truth,
        task=task,
        probability=float(task.summary(found.probabilities)),
        top_label=place,
        top_probability=float(found.probabilities[top]),
        slices=tuple(
            ShownSlice(
                index,
                volume[index].astype("float32"),
                at,
                predictor.encoder.heat_map(volume, region, index, shown_label),
                "" if directions is None else place_in_words(mm_of(index, at), directions[:, 2]),
            )
            for index, at in slices_to_show(found, point)
        ),
        stage2_curve=found.stage2_curve,
        stage1_curve=found.stage1_curve,
        findings=found.job.findings,
        pixel_spacing=found.pixel_spacing,
        projections=()
        if point is None
        else project(
            volume,
            directions,
            (geometry.spacing[0], row_mm, column_mm),
            (*point.cache_xy, float(point.index)),
            [finding.point for finding in found.job.findings],
            None if point.mm is None else np.array(point.mm),
        ),
    )


def top_label(task: Task, probabilities: np.ndarray) -> int:
    """Number of the most probable label: of the locations where there are any, else of all others.

    Args:
        task: the labels.
        probabilities: (L,) of a series.
    """
    names = task.locations or task.others or task.labels
    numbers = [task.labels.index(name) for name in names]
    return numbers[int(probabilities[numbers].argmax())]


def slices_to_show(
    found: Scored, first: Point | None
) -> list[tuple[int, tuple[float, float] | None]]:
    """Slices of a case and the predicted point on each, at most `SLICES_SHOWN`.

    The first point's slice leads; then come the slices of the best ranked other points. Where none
    of them has a labelled centre, the last place goes to the slice of one: what was missed is seen.
    Without points the most probable slice is shown.
    """
    if first is None:
        return [(int(found.stage2_curve.argmax()), None)]
    ranked = [point for point in found.points if point.rank is not None]
    chosen: dict[int, tuple[float, float] | None] = {}
    for point in (first, *ranked):
        chosen.setdefault(point.index, point.cache_xy)
    shown = list(chosen.items())[:SLICES_SHOWN]
    labelled = sorted(finding.index for finding in found.job.findings)
    if labelled and not {index for index, _ in shown} & set(labelled):
        shown = [*shown[: SLICES_SHOWN - 1], (labelled[0], None)]
    return shown


def stage_scores(paths: FoldPaths, stage: str) -> StageMetrics | None:
    """Scores of one stage, or None where its evaluation was not run.

    Raises:
        InputError: its metrics file does not fit.
    """
    path = paths.metrics(stage)
    return read_stage_metrics(path, stage) if path.exists() else None


def _log_rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def summary_of(metrics: EndToEndMetrics | UnlabelledMetrics, what: str) -> list[str]:
    """Sentences on end-to-end figures; `what` says whose series they are of."""
    count, rejected = metrics.series, len(metrics.rejected)
    lines = [f"{count} series of {what} were read from DICOM and scored by both stages."]
    value = metrics.score.value
    if isinstance(metrics, EndToEndMetrics) and value is not None:
        span = _in_brackets(metrics.score)
        name = metrics.score_name
        lines.append(
            f"{name[:1].upper()}{name[1:]} end to end: {value:.3f}{span} on {count} series."
        )
        maximum = metrics.stage1_maximum.score
        if maximum.value is not None:
            reached = f"{maximum.value:.3f}{_in_brackets(maximum)}"
            lines.append(f"The maximum of stage 1 over the slices alone reaches {reached}.")
    if rejected:
        lines.append(f"{rejected} series were rejected and are not in the figures.")
    return lines


def _in_brackets(score: Cell) -> str:
    """The interval of a cell for a sentence, or nothing."""
    return "" if score.low is None else f" (95 % interval {ends(score)})"


def warnings_of(metrics: EndToEndMetrics | UnlabelledMetrics, partial: Iterable[str]) -> list[str]:
    """What limits end-to-end figures; `partial`: why trainings were trials."""
    found = []
    if metrics.selected_on == THIS_FOLD:
        found.append("selected on this fold: the figures are not independent")
    seen = metrics.seen_in_training
    if seen is None:
        found.append("the run does not tell whether scored series were in training")
    elif seen:
        found.append(f"{len(seen)} scored series were in training or belong to a patient that was")
    words = dict.fromkeys(f"partial: {reason}" for reason in partial)
    return [*found, *words]
