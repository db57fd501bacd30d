"""End-to-end scoring: jobs from the held-out fold or from a folder, results, tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import DataPaths
from src.errors import InputError, MissingArtifact
from src.evaluation.bootstrap import draw_resamples
from src.evaluation.cases import TrueSpot
from src.evaluation.crossfit import from_reference, over_patients
from src.evaluation.intervals import Settings, auc_table
from src.evaluation.localisation import Located, localisation_table, log_localisation
from src.evaluation.sample import Sample
from src.evaluation.subgroups import by_trait, count_aneurysms, describe
from src.evaluation.tables import evaluate, log_tables, selected_on
from src.imaging.geometry import Geometry, cache_to_patient, stored_to_cache
from src.imaging.linkage import Linkage, assign_groups
from src.imaging.prepare import Rejected
from src.imaging.train_table import read_train_csv
from src.inference.detector import Detection, Detector
from src.inference.points import Point
from src.metrics import cell
from src.provenance import digest
from src.runlog import log, progress
from src.sampling.folds import Split
from src.sampling.localizers import read_localizers
from src.sampling.series_info import pixel_mm, series_infos
from src.sampling.tables import SLICE_COLUMNS
from src.task import SERIES_COLUMN, Task


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
    spots: tuple[TrueSpot, ...] = ()


@dataclass(frozen=True, eq=False)
class Scored:
    """What is kept of one result; small, so that memory does not grow with pixels.

    `stage2_curve` and `stage1_curve` float (n,): probability of any aneurysm per slice; `size`
    edge of the cached slices in pixels.
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
    sop_uids: tuple[str, ...]
    frames: np.ndarray
    positions: np.ndarray
    notes: tuple[str, ...]
    linkage: Linkage
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class Reference:
    """Held-out predictions of the same weights: their file, what they are, and their rows."""

    path: Path
    words: str
    sample: Sample


@dataclass
class Results:
    """Scored series in job order, and the rejected ones."""

    scored: list[Scored] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


def held_out_jobs(split: Split, fold: int, data: DataPaths, task: Task) -> list[Job]:
    """The series of the held-out fold with their labels and localizers."""
    uids = split.held_out(fold)
    jobs = []
    for uid, info in series_infos(split, uids, task).items():
        row = split.series.loc[uid]
        spots = tuple(
            TrueSpot(int(index), float(x), float(y), task.locations[location])
            for index, (x, y), location in zip(
                info.indices, info.points, info.locations, strict=True
            )
        )
        known = {"sex": str(row.get("PatientSex", "")), "age": str(row.get("PatientAge", ""))}
        modality, group = str(row["Modality"]), str(row["group"])
        folder = data.series / uid
        jobs.append(Job(uid, folder, modality, group, **known, labels=info.labels, spots=spots))
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
    _, rows = read_train_csv(labels)
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
            row["Modality"],
            sex=row["PatientSex"],
            age=row["PatientAge"],
            labels=np.array([float(row[label]) for label in task.labels], dtype=np.float32),
        )
        for uid, row in known.items()
        if uid in folders
    ]
    if not jobs:
        raise InputError(f"no folder of {series_dir} has a row in {labels}")
    return jobs


def run_jobs(detector: Detector, jobs: list[Job], num_workers: int, max_seconds: float) -> Results:
    """Detect in every job's folder; memory does not grow with the pixels of the series."""
    results = Results()
    outcomes: Iterable[Detection | Rejected] = detector.detect_folders(
        (job.folder for job in jobs), num_workers, max_seconds
    )
    for job, outcome in progress(zip(jobs, outcomes, strict=True), len(jobs), "detecting"):
        if isinstance(outcome, Rejected):
            log.warning("rejected %s: %s (%s)", job.uid, outcome.message, outcome.code)
            results.rejected.append(outcome)
        else:
            results.scored.append(_summary(job, outcome, detector.task))
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
        stage1_curve=found.stage1_probabilities[:, task.overall_index],
        stage2_curve=found.slice_probabilities[:, task.overall_index],
        points=found.points,
        size=size,
        geometry=series.geometry,
        sop_uids=series.sop_uids,
        frames=series.frames,
        positions=series.positions,
        notes=series.notes,
        linkage=series.linkage,
        seconds=found.seconds,
    )


def seen_in_training(results: Results, manifest: dict[str, Any]) -> list[str]:
    """UIDs of scored series that were in training, or share patient, study or pixels with one."""
    uids, keys = set(manifest["training_series"]), set(manifest["training_keys"])
    return [
        found.uid
        for found in results.scored
        if found.uid in uids or any(digest(key) in keys for key in found.linkage.keys())
    ]


def sample_of(results: Results, task: Task) -> Sample | None:
    """The scored series with their patients and traits; None where no labels were given."""
    targets, probabilities = arrays(results)
    if targets is None:
        return None
    traits = [
        describe(
            found.modality,
            found.plane,
            found.job.sex,
            found.job.age,
            found.geometry.spacing[0] if found.geometry_known else None,
            count_aneurysms(task, row, len(found.job.spots)),
        )
        for found, row in zip(results.scored, targets, strict=True)
    ]
    uids = [found.uid for found in results.scored]
    joined = assign_groups([found.linkage for found in results.scored], uids)
    groups = [found.job.group or group for found, group in zip(results.scored, joined, strict=True)]
    return Sample(
        targets.astype(np.int64),
        probabilities,
        np.array(uids, dtype=str),
        np.array(groups, dtype=str),
        by_trait(traits),
    )


def metrics_of(
    results: Results,
    sample: Sample | None,
    task: Task,
    manifests: Sequence[dict[str, Any]],
    settings: Settings,
    reference: Reference | None = None,
    held_out: bool = True,
) -> dict[str, Any]:
    """Score tables, printed and JSON-ready; null figures where no labels were given.

    `stage1_maximum` scores the plain maximum of stage 1 over the slices, for comparison;
    `localisation` judges the points, null without localizers. Schema: `src.evaluation.tables`,
    `src.evaluation.localisation.localisation_table`.

    Args:
        results: what was scored.
        sample: the same as `sample_of` made it; None where there are no labels.
        task: the labels.
        manifests: of stage 1 and stage 2.
        settings: of the intervals.
        reference: what calibration and thresholds are fitted on; None fits them on other
            patients of the sample.
        held_out: whether the series are those of the held-out fold.
    """
    rejected = [
        {"folder": item.folder.name, "reason": item.code, "words": item.message}
        for item in results.rejected
    ]
    seen = seen_in_training(results, manifests[0])
    if seen:
        log.warning(
            "%d of %d scored series were in training or belong to a patient that was (first: %s): "
            "their figures are not independent",
            len(seen),
            len(results.scored),
            seen[0],
        )
    selected = selected_on(manifests, held_out)
    content: dict[str, Any] = {
        "selected_on": selected,
        "rejected": rejected,
        "seen_in_training": seen,
        "series": len(results.scored),
    }
    if sample is None:
        return {**content, "weighted_auc": cell(None), "per_label": {}, "left_out": []}
    if reference is None:
        finding = sample.targets[:, task.overall_index]
        crossfit = over_patients(sample, finding, settings.seed)
    else:
        crossfit = from_reference(sample, reference.sample, reference.words)
    table = evaluate(task, sample, settings, crossfit, selected, len(seen))
    log_tables(task, "end to end", table)
    maximum = replace(
        sample, probabilities=np.stack([found.stage1_maximum for found in results.scored])
    )
    localisation = None
    if any(found.job.spots for found in results.scored):
        finding = sample.targets[:, task.overall_index]
        drawn = None
        if settings.resamples:
            drawn = draw_resamples(sample.groups, finding, settings.resamples, settings.seed)
        located = [_located(found) for found in results.scored]
        localisation = localisation_table(task, sample, located, crossfit, drawn)
        log_localisation(localisation)
    return {
        **content,
        **table,
        "stage1_maximum": auc_table(task, maximum, settings)[0],
        "localisation": localisation,
    }


def _located(found: Scored) -> Located:
    spots = found.job.spots
    cached = np.array([(spot.x, spot.y, spot.index) for spot in spots]).reshape(-1, 3)
    centres = cache_to_patient(found.geometry, cached, found.positions, found.size)
    return Located(found.points, centres, [s.location for s in spots], found.geometry_known)


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
    """Give each scored series its labelled centres from a table like train_localizers.csv.

    Rows that cannot be placed are reported by line and left out.
    """
    series, slices = _tables(results, size, task)
    placed, left_out = read_localizers(path, series, slices, task=task)
    for refused in left_out:
        log.warning("%s, %s", path, refused)
    spots: dict[str, list[TrueSpot]] = {}
    geometries = {found.uid: found.geometry for found in results.scored}
    for row in placed:
        x, y = stored_to_cache(geometries[row.series], np.array([[row.x, row.y]]), size)[0]
        spots.setdefault(row.series, []).append(
            TrueSpot(row.index, float(x), float(y), row.location)
        )
    results.scored = [
        replace(found, job=replace(found.job, spots=tuple(spots.get(found.uid, ()))))
        for found in results.scored
    ]


def _tables(results: Results, size: int, task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The columns of train_meta.csv and slices.csv that localizers are checked against."""
    rows, slices = [], []
    for found in results.scored:
        labels = found.job.labels
        assert labels is not None  # --localizers needs --labels
        cells = dict(zip(task.labels, labels.astype(int), strict=True))
        rows.append({SERIES_COLUMN: found.uid, **found.geometry.to_row(), "size": size, **cells})
        for index, (sop, frame, (x, y, z)) in enumerate(
            zip(found.sop_uids, found.frames, found.positions, strict=True)
        ):
            values = (found.uid, index, sop, int(frame), x, y, z)
            slices.append(dict(zip(SLICE_COLUMNS, values, strict=True)))
    return pd.DataFrame(rows).set_index(SERIES_COLUMN), pd.DataFrame(slices)
