"""Predictions of a scored run, with what its metrics file says of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from intracranial.artifacts import ALL_FOLDS, FoldPaths, ScoredFolderPaths, read_json
from intracranial.errors import InputError, MissingArtifact, UsageError
from intracranial.evaluation.predictions import GROUP_COLUMN, TRUE, numbers, read_rows
from intracranial.lineage import require_fold
from intracranial.provenance import MADE_BY, read_manifest
from intracranial.statistics.comparison import Predictions
from intracranial.statistics.sample import Sample
from intracranial.task import SERIES_COLUMN, Task

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
        metrics = read_manifest(folder.metrics, f"{stage}_metrics")
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
        metrics = read_manifest(paths.metrics(stage), f"{stage}_metrics")
        return predictions_of(run, [paths.predictions(stage)], metrics, task, script), paths.root
    metrics = read_json(paths.metrics(stage), f"{script} --fold {ALL_FOLDS}")
    folds = [
        FoldPaths(model_dir, run, number).predictions(stage)
        for number in range(int(metrics.get("folds", 0)))
    ]
    return predictions_of(run, folds, metrics, task, script), paths.root


def predictions_of(
    name: str, paths: list[Path], metrics: Mapping[str, Any], task: Task, script: str
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
                f"{path} has no labels to compare by ({GROUP_COLUMN!r} and {TRUE + task.overall!r} "
                f"are columns of predictions that were scored): run {script} with labels"
            )
        keys += [
            " ".join([row[SERIES_COLUMN], row.get(INDEX_COLUMN) or ""]).strip() for row in rows
        ]
        uids += [row[SERIES_COLUMN] for row in rows]
        groups += [row[GROUP_COLUMN] for row in rows]
        targets.append(numbers(path, rows, [TRUE + label for label in labels]))
        probabilities.append(numbers(path, rows, labels))
    if not keys:
        raise InputError(f"{name} has no predictions: run {script} --overwrite")
    sample = Sample(
        np.concatenate(targets).astype(np.int64),
        np.concatenate(probabilities),
        np.array(uids, dtype=str),
        np.array(groups, dtype=str),
    )
    made = metrics.get("intervals", {})
    return Predictions(
        name,
        labels,
        np.array(keys, dtype=str),
        sample,
        metrics.get("split_hash"),
        made.get("optimistic"),
    )
