"""End-to-end scoring: jobs from the held-out fold or from a folder, and their results."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from intracranial.artifacts import DataPaths
from intracranial.caching.read_ahead import Rejected
from intracranial.caching.tables import SLICE_COLUMNS
from intracranial.caching.train_table import label_values, read_train_csv
from intracranial.errors import InputError, MissingArtifact
from intracranial.imaging.geometry import Geometry
from intracranial.imaging.linkage import Linkage
from intracranial.inference.fold import Detection, FoldPredictor
from intracranial.inference.points import Point
from intracranial.runlog import log, progress
from intracranial.sampling.series_info import pixel_mm
from intracranial.splits.findings import Finding, by_series
from intracranial.splits.folds import Split
from intracranial.splits.localizers import log_left_out, read_localizers
from intracranial.tasks import SERIES_COLUMN, Task


@dataclass(frozen=True, eq=False)
class Job:
    """One series to score: its folder and what is known about it.

    `group`, the patient, is '' where no split says it; `sex` and `age` are as in the labels' table.
    """

    uid: str
    folder: Path
    modality: str = ""
    group: str = ""
    sex: str = ""
    age: str = ""
    labels: np.ndarray | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class Scored:
    """What is kept of one result; small, so that memory does not grow with pixels.

    `stage2_curve` and `stage1_curve` float (n,): probability of the finding per slice; `size`
    edge of the cached slices in pixels; `thickness` of the slices in mm, None where not stated;
    `by_view` as in `Detection`.
    """

    job: Job
    uid: str
    modality: str
    plane: str
    geometry_known: bool
    pixel_spacing: tuple[float, float] | None
    probabilities: np.ndarray
    stage1_maximum: np.ndarray
    stage1_curve: np.ndarray
    stage2_curve: np.ndarray
    points: tuple[Point, ...]
    size: int
    geometry: Geometry
    thickness: float | None
    sop_uids: tuple[str, ...]
    frames: np.ndarray
    positions: np.ndarray
    notes: tuple[str, ...]
    linkage: Linkage
    seconds: dict[str, float]
    by_view: dict[str, np.ndarray]


@dataclass
class Results:
    """Scored series in job order, and the rejected ones.

    `views` and `steps`: those that were averaged, beside the plain view and ascending.
    """

    scored: list[Scored] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    views: tuple[str, ...] = ()
    steps: tuple[int, ...] = (1,)


def held_out_jobs(split: Split, fold: int, data: DataPaths, task: Task) -> list[Job]:
    """The series of the held-out fold with their labels and findings."""
    jobs = []
    for uid in split.held_out(fold):
        row = split.series.loc[uid]
        known = {"sex": str(row.get("PatientSex", "")), "age": str(row.get("PatientAge", ""))}
        modality, group = str(row["Modality"]), str(row["group"])
        labels = row[list(task.labels)].to_numpy(dtype=np.float32)
        findings = split.findings.get(uid, ())
        folder = data.series / uid
        jobs.append(Job(uid, folder, modality, group, **known, labels=labels, findings=findings))
    return jobs


def folder_jobs(series_dir: Path, labels: Path | None, task: Task) -> list[Job]:
    """One job per folder in `series_dir`; with labels, only the series that have a row.

    Raises:
        MissingArtifact: the folder is not there.
        InputError: it holds no folders, or no series has a row in the labels.
    """
    if not series_dir.is_dir():
        raise MissingArtifact(f"--series_dir {series_dir} is not a folder")
    folders = {path.name: path for path in sorted(series_dir.iterdir()) if path.is_dir()}
    if not folders:
        raise InputError(f"--series_dir {series_dir} holds no folders: give one folder per series")
    if labels is None:
        return [Job(name, path) for name, path in folders.items()]
    _, rows = read_train_csv(labels, task)
    known = {row[SERIES_COLUMN]: row for row in rows}
    unlabelled = sorted(set(folders) - set(known))
    if unlabelled:
        log.warning(
            "%d folders have no row in %s and are not scored (first: %s)",
            len(unlabelled),
            labels,
            unlabelled[0],
        )
    missing = sorted(set(known) - set(folders))
    if missing:
        log.warning("%d rows of %s have no folder (first: %s)", len(missing), labels, missing[0])
    jobs = [
        Job(
            uid,
            folders[uid],
            row.get("Modality", ""),
            sex=row.get("PatientSex", ""),
            age=row.get("PatientAge", ""),
            labels=label_values(row, task),
        )
        for uid, row in known.items()
        if uid in folders
    ]
    if not jobs:
        raise InputError(f"no folder of {series_dir} has a row in {labels}")
    return jobs


def run_jobs(
    predictor: FoldPredictor, jobs: list[Job], num_workers: int, max_seconds: float
) -> Results:
    """Detect in every job's folder; memory does not grow with the pixels of the series."""
    results = Results(views=predictor.views, steps=tuple(sorted(predictor.encoder.steps)))
    outcomes: Iterable[Detection | Rejected] = predictor.detect_folders(
        (job.folder for job in jobs), num_workers, max_seconds
    )
    for job, outcome in progress(zip(jobs, outcomes, strict=True), len(jobs), "detecting"):
        if isinstance(outcome, Rejected):
            log.warning("rejected %s: %s (%s)", job.uid, outcome.message, outcome.code)
            results.rejected.append(outcome)
        else:
            results.scored.append(_summary(job, outcome, predictor.task))
    return results


def _summary(job: Job, found: Detection, task: Task) -> Scored:
    series = found.series
    size = series.volume.shape[-1]
    x_mm, y_mm = pixel_mm(series.geometry, size)
    known = series.geometry.geometry_known
    return Scored(
        job=job,
        uid=series.uid if job.labels is None else job.uid,  # labels go by the folder's name
        modality=job.modality or series.modality,
        plane=series.geometry.plane,
        geometry_known=known,
        pixel_spacing=(y_mm, x_mm) if known else None,
        probabilities=found.probabilities,
        stage1_maximum=found.stage1_probabilities.max(axis=0),
        stage1_curve=task.summary(found.stage1_probabilities),
        stage2_curve=task.summary(found.slice_probabilities),
        points=found.points,
        size=size,
        geometry=series.geometry,
        thickness=series.thickness,
        sop_uids=series.sop_uids,
        frames=series.frames,
        positions=series.positions,
        notes=series.notes,
        linkage=series.linkage,
        seconds=found.seconds,
        by_view=found.by_view,
    )


def mean_seconds(results: Results) -> dict[str, float]:
    """Mean seconds per series and part of the work, for the run record."""
    if not results.scored:
        return {}
    names = results.scored[0].seconds
    return {
        name: round(float(np.mean([found.seconds[name] for found in results.scored])), 3)
        for name in names
    }


def arrays(results: Results) -> tuple[np.ndarray | None, np.ndarray]:
    """Targets (N, L) or None, and probabilities (N, L)."""
    probabilities = np.stack([found.probabilities for found in results.scored])
    labels = [found.job.labels for found in results.scored]
    known = [row for row in labels if row is not None]
    return (np.stack(known) if len(known) == len(labels) else None), probabilities


def attach_localizers(results: Results, path: Path, size: int, task: Task) -> None:
    """Give each scored series its findings from a table like train_localizers.csv.

    Rows that cannot be placed are reported by line and left out.
    """
    series, slices = _tables(results, size, task)
    placed, left_out = read_localizers(path, series, slices, task=task)
    log_left_out(path, left_out)
    if not placed:
        log.warning("no row of %s can be used for a scored series: no points are judged", path)
    findings = by_series(placed)
    results.scored = [
        replace(found, job=replace(found.job, findings=findings.get(found.uid, ())))
        for found in results.scored
    ]


def _tables(results: Results, size: int, task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The columns of train_meta.csv and slices.csv that localizers are checked against."""
    rows, slices = [], []
    for found in results.scored:
        labels = found.job.labels
        assert labels is not None  # --localizers needs --labels
        cells = dict(zip(task.labels, labels.astype(float), strict=True))
        rows.append({SERIES_COLUMN: found.uid, **found.geometry.to_row(), "size": size, **cells})
        for index, (sop, frame, (x, y, z)) in enumerate(
            zip(found.sop_uids, found.frames, found.positions, strict=True)
        ):
            values = (found.uid, index, sop, int(frame), x, y, z)
            slices.append(dict(zip(SLICE_COLUMNS, values, strict=True)))
    return pd.DataFrame(rows).set_index(SERIES_COLUMN), pd.DataFrame(slices)
