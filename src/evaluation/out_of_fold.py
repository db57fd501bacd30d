"""One table over all folds: the held-out predictions of every fold, pooled, and their spread."""

from typing import Any

import numpy as np

from src.artifacts import ALL_FOLDS, ScoredFolderPaths, write_json
from src.evaluation.bootstrap import draw_resamples
from src.evaluation.crossfit import Crossfit, over_folds
from src.evaluation.intervals import Settings, scored_in_all, weighted_auc_of
from src.evaluation.localisation import localisation_table, log_localisation
from src.evaluation.located import located_of_split
from src.evaluation.predictions import read_predictions
from src.evaluation.sample import Sample
from src.evaluation.spread import spread
from src.evaluation.subgroups import sample_of_split
from src.evaluation.tables import THIS_FOLD, evaluate, log_tables
from src.metrics import figure
from src.options.evaluation import EvaluationOptions
from src.provenance import MADE_BY, read_manifest
from src.runlog import log
from src.sampling.folds import Split
from src.task import Task


def summarise_folds(options: EvaluationOptions, split: Split, stage: str, task: Task) -> None:
    """Print and write `model/<run>/all/<stage>_metrics.json` (schema: `src.evaluation.tables`).

    Calibration and thresholds of each fold are fitted on the predictions of the others.

    Args:
        options: for the run's paths and the intervals.
        split: the split; each of its folds must have been scored.
        stage: `stage1`, `stage2` or `end_to_end`.
        task: labels and their weights.

    Raises:
        MissingArtifact, InputError: a fold was not scored, or its files do not fit.
    """
    kind, selections, seen = f"{stage}_metrics", [], 0
    tables, samples, folds = {}, [], []
    for fold in range(split.folds):
        paths = options.fold_paths(fold)
        metrics = read_manifest(paths.metrics(stage), kind)
        tables[str(fold)] = metrics
        selections.append(metrics["selected_on"])
        seen += len(metrics.get("seen_in_training", []))
        samples.append(read_predictions(paths.predictions(stage), task, MADE_BY[kind]))
        folds += [fold] * len(samples[-1])
    sample = sample_of_split(
        split,
        task,
        np.concatenate([one.uids for one in samples]).tolist(),
        np.concatenate([one.targets for one in samples]),
        np.concatenate([one.probabilities for one in samples]),
    )
    selected = THIS_FOLD if THIS_FOLD in selections else ", ".join(sorted(set(selections)))
    settings = Settings(options.resamples, options.seed)
    crossfit = over_folds(sample, np.array(folds))
    table = evaluate(task, sample, settings, crossfit, selected, seen)
    labels = scored_in_all(task, list(tables.values()))
    values = {name: one["weighted_auc"]["value"] for name, one in tables.items()}
    alike = {name: weighted_auc_of(task, one, labels) for name, one in tables.items()}
    differing = spread(list(alike.values()))
    log.info(
        "%s, weighted AUC of each fold, and over the %d labels that every fold scores:",
        *(stage, len(labels)),
    )
    for name, value in values.items():
        log.info("  fold %s  %s  %s", name, figure(value), figure(alike[name]))
    if differing is not None:
        log.info(
            "  mean of the latter %s, standard deviation %s, %s to %s",
            *(figure(differing[key]) for key in ("mean", "standard_deviation", "min", "max")),
        )
    unit = "spots" if stage == "stage1" else "series"
    log_tables(task, f"{stage}, held-out predictions of all folds", table, unit)
    if stage == "end_to_end":
        table["localisation"] = _localisation(options, split, task, sample, crossfit)
    path = options.fold_paths(ALL_FOLDS).metrics(stage)
    added = {
        "weighted_auc_by_fold": values,
        "labels_of_every_fold": labels,
        "comparable_auc_by_fold": alike,
        "spread": differing,
        "folds": split.folds,
        "split_hash": split.split_hash,
    }
    write_json(path, {**table, **added})
    log.info("wrote %s", path)


def _localisation(
    options: EvaluationOptions, split: Split, task: Task, sample: Sample, crossfit: Crossfit
) -> dict[str, Any]:
    """Points of all folds, judged at thresholds from the other folds."""
    folders = [options.fold_paths(fold).root for fold in range(split.folds)]
    tables = [ScoredFolderPaths(folder).points for folder in folders]
    located = located_of_split(split, sample.uids.tolist(), tables)
    drawn = None
    if options.resamples:
        finding = sample.targets[:, task.overall_index]
        drawn = draw_resamples(sample.groups, finding, options.resamples, options.seed)
    table = localisation_table(task, sample, located, crossfit, drawn)
    log_localisation(table)
    return table
