"""Predictions of a scored run, with what its metrics file says of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from intracranial.artifacts import ALL_FOLDS, FoldPaths, ScoredFolderPaths, read_json, require_fold
from intracranial.errors import InputError, MissingArtifact, UsageError
from intracranial.evaluation.metrics_files import (
    Evaluation,
    UnlabelledMetrics,
    read_end_to_end_metrics,
    read_metrics_of_all_folds,
    read_stage_metrics,
)
from intracranial.evaluation.predictions import GROUP_COLUMN, TRUE, numbers, read_rows
from intracranial.provenance import MADE_BY, changes, read_manifest
from intracranial.statistics.comparison import Predictions
from intracranial.statistics.sample import Sample
from intracranial.tasks import RSNA_2025, SERIES_COLUMN, Task, task_from

INDEX_COLUMN = "index"
"""Column of the slice in predictions at spots."""


def load_run(
    run: str, model_dir: Path, stage: str, fold: str, task: Task
) -> tuple[Predictions, Path]:
    """Predictions of a run, and the folder in which they lie.

    Args:
        run: a folder that holds predictions, or the name of a run under `model_dir`.
        model_dir: folder of all runs.
        stage: `stage1`, `stage2` or `end_to_end`.
        fold: a number, or `all`; only for the name of a run.
        task: the labels that are looked for.

    Raises:
        UsageError: the fold is neither, or the run has no such fold.
        MissingArtifact: the run, or its predictions, are not there.
        InputError: its files do not fit.
    """
    script = MADE_BY[f"{stage}_metrics"]
    folder = ScoredFolderPaths(Path(run))
    if stage == "end_to_end" and folder.predictions.is_file():
        metrics = read_end_to_end_metrics(folder.metrics)
        return predictions_of(run, [folder.predictions], metrics, task, script), folder.root
    if not (fold == ALL_FOLDS or fold.isdigit()):
        raise UsageError(f"--fold {fold}: give a number or `{ALL_FOLDS}`")
    if not (model_dir / run).is_dir():
        raise MissingArtifact(
            f"{run}: there is neither a run {model_dir / run} nor a folder with "
            f"{folder.predictions.name}; give --model_dir"
        )
    paths = FoldPaths(model_dir, run, fold)
    if fold != ALL_FOLDS:
        require_fold(paths)
        path, both = paths.metrics(stage), stage == "end_to_end"
        found = read_end_to_end_metrics(path) if both else read_stage_metrics(path, stage)
        return predictions_of(run, [paths.predictions(stage)], found, task, script), paths.root
    pooled = read_metrics_of_all_folds(paths.metrics(stage), stage)
    folds = [FoldPaths(model_dir, run, fold).predictions(stage) for fold in range(pooled.folds)]
    return predictions_of(run, folds, pooled, task, script), paths.root


def task_of_scores(run: str, model_dir: Path, stage: str, fold: str) -> Task:
    """The task that a run, or a folder of series, was scored for; arguments as `load_run`.

    Raises:
        MissingArtifact: the run was not scored.
        InputError: its metrics name no task, or it is damaged.
    """
    folder = ScoredFolderPaths(Path(run))
    script = MADE_BY[f"{stage}_metrics"]
    path = FoldPaths(model_dir, run, fold).metrics(stage)
    if stage == "end_to_end" and folder.predictions.is_file():
        path = folder.metrics
    elif not (model_dir / run).is_dir() or not (fold == ALL_FOLDS or fold.isdigit()):
        return RSNA_2025  # `load_run` says what is wrong
    elif fold != ALL_FOLDS:
        require_fold(FoldPaths(model_dir, run, fold))
    metrics = read_json(path, f"{script} --fold {ALL_FOLDS}" if fold == ALL_FOLDS else script)
    if "task" not in metrics:  # of an earlier version, which knew one task alone
        return RSNA_2025
    try:
        return task_from(metrics["task"])
    except ValueError as error:
        raise InputError(
            f"{path}: its `task` is damaged ({error}): run {script} --overwrite"
        ) from None


def require_seeds_alone(runs: Sequence[str], model_dir: Path, stage: str, fold: str) -> None:
    """Check that runs were trained alike but for their seeds.

    Folders of scored series tell only how they were scored, and are compared in that.

    Args:
        runs: names of runs under `model_dir`, or folders.
        model_dir: folder of all runs.
        stage: `stage1`, `stage2` or `end_to_end`, whose scores are looked at.
        fold: a number, or `all`.

    Raises:
        InputError: two runs differ in more than a seed; every difference is named.
        MissingArtifact: a run lacks what its scores were made with.
    """
    first, *others = (_recipe_of(run, model_dir, stage, fold) for run in runs)
    for run, other in zip(runs[1:], others, strict=True):
        lines = [
            line
            for kind in {**first, **other}
            for line in changes(f"{kind} ", first.get(kind, {}), other.get(kind, {}))
        ]
        if lines:
            raise InputError(
                f"{runs[0]} and {run} differ in more than their seed ({runs[0]} -> {run}):\n"
                + "\n".join(lines)
            )


def _recipe_of(run: str, model_dir: Path, stage: str, fold: str) -> dict[str, dict[str, Any]]:
    """Options by the kind of artifact and fold, but for the seeds."""
    folder = ScoredFolderPaths(Path(run))
    kind = f"{stage}_metrics"
    if stage == "end_to_end" and folder.predictions.is_file():
        return {kind: _but_for_seeds(read_manifest(folder.metrics, kind))}
    kinds = ("stage1",) if stage == "stage1" else ("stage1", "features", "stage2")
    folds: list[int | str] = [fold]
    if fold == ALL_FOLDS:
        path = FoldPaths(model_dir, run, ALL_FOLDS).metrics(stage)
        folds = list(range(read_metrics_of_all_folds(path, stage).folds))
    found: dict[str, dict[str, Any]] = {}
    for number in folds:
        paths = FoldPaths(model_dir, run, number)
        for name in kinds:
            manifest = paths.features_manifest if name == "features" else paths.manifest(name)
            found[f"{name} of fold {number},"] = _but_for_seeds(read_manifest(manifest, name))
        found[f"{kind} of fold {number},"] = _but_for_seeds(
            read_manifest(paths.metrics(stage), kind)
        )
    return found


def _but_for_seeds(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an artifact; which run had mined the hard negatives goes with the seed."""
    config = {name: value for name, value in manifest["config"].items() if name != "seed"}
    if config.get("hard_negatives") is not None:
        config["hard_negatives"] = "of a run"
    return config


def predictions_of(
    name: str,
    paths: list[Path],
    metrics: Evaluation | UnlabelledMetrics,
    task: Task,
    script: str,
) -> Predictions:
    """Predictions of one run from its tables.

    Args:
        name: of the run.
        paths: the tables, one per fold.
        metrics: what the metrics file of all of them says.
        task: the labels that are looked for.
        script: that makes the tables.

    Raises:
        MissingArtifact, InputError: a table is missing or does not fit.
    """
    keys: list[str] = []
    uids: list[str] = []
    groups: list[str] = []
    targets, probabilities = [], []
    labels: tuple[str, ...] = ()
    for path in paths:
        columns, rows = read_rows(path, script)
        here = tuple(label for label in task.labels if {label, TRUE + label} <= {*columns})
        if labels and here != labels:
            raise InputError(f"{path} has other labels than {paths[0]}: run {script} --overwrite")
        labels = here
        if not labels or GROUP_COLUMN not in columns:
            raise InputError(
                f"{path} has no labels to compare by ({GROUP_COLUMN!r} and "
                f"{TRUE + task.labels[-1]!r} are columns of predictions that were scored): run "
                f"{script} with labels"
            )
        keys += [
            " ".join([row[SERIES_COLUMN], row.get(INDEX_COLUMN) or ""]).strip() for row in rows
        ]
        uids += [row[SERIES_COLUMN] for row in rows]
        groups += [row[GROUP_COLUMN] for row in rows]
        truth = [TRUE + label for label in labels]
        targets.append(numbers(path, rows, truth, allow_empty=True))
        probabilities.append(numbers(path, rows, labels))
    if not keys:
        raise InputError(f"{name} has no predictions: run {script} --overwrite")
    sample = Sample(
        np.concatenate(targets),
        np.concatenate(probabilities),
        np.array(uids, dtype=str),
        np.array(groups, dtype=str),
    )
    optimistic = metrics.intervals.optimistic if isinstance(metrics, Evaluation) else None
    keys_of_rows = np.array(keys, dtype=str)
    return Predictions(name, labels, keys_of_rows, sample, metrics.split_hash, optimistic)
