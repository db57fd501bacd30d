"""One table over all folds: the held-out predictions of every fold, pooled, and their spread."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from intracranial.artifacts import ALL_FOLDS, ScoredFolderPaths, write_json
from intracranial.errors import InputError
from intracranial.evaluation.end_to_end_scores import Judged, end_to_end_table
from intracranial.evaluation.metrics_files import (
    EndToEndMetrics,
    EndToEndMetricsOfAllFolds,
    Evaluation,
    FoldScore,
    OverFolds,
    StageMetricsOfAllFolds,
    read_end_to_end_metrics,
    read_stage_metrics,
)
from intracranial.evaluation.points import located_of_split
from intracranial.evaluation.predictions import read_predictions
from intracranial.evaluation.scored_runs import (
    load_run,
    predictions_of,
    require_seeds_alone,
    task_of_scores,
)
from intracranial.evaluation.subgroups import sample_of_split
from intracranial.evaluation.tables import THIS_FOLD, evaluate, log_tables
from intracranial.evaluation.views import joined, read_views
from intracranial.jsonable import to_json
from intracranial.metrics import Cell, figure
from intracranial.options.evaluation import EvaluationOptions
from intracranial.provenance import MADE_BY
from intracranial.runlog import log
from intracranial.splits.folds import Split
from intracranial.statistics.comparison import not_independent
from intracranial.statistics.crossfit import Crossfit, over_folds
from intracranial.statistics.intervals import Settings, score_over, scored_in_all
from intracranial.statistics.sample import Sample
from intracranial.statistics.seeds import format_seeds, seed_table
from intracranial.statistics.spread import spread
from intracranial.tasks import Task


@dataclass(frozen=True, eq=False)
class Pooled:
    """The held-out rows of all folds, and the table of their scores."""

    task: Task
    sample: Sample
    table: StageMetricsOfAllFolds | EndToEndMetricsOfAllFolds


def check_seed_runs(options: EvaluationOptions, stage: str) -> None:
    """Open what --seed_runs names, before hours go into scoring this run.

    Raises:
        MissingArtifact, InputError: a run is not there, was not scored, or its files do not fit.
    """
    for run in options.seed_runs:
        where = (options.model_dir, stage, ALL_FOLDS)
        load_run(run, *where, task_of_scores(run, *where))


def summarise_folds(options: EvaluationOptions, split: Split, stage: str, task: Task) -> Pooled:
    """Print and write `model/<run>/all/<stage>_metrics.json`.

    Calibration and thresholds of each fold are fitted on the predictions of the others.

    Args:
        options: for the run's paths, the intervals and runs with other seeds.
        split: the split; each of its folds must have been scored.
        stage: `stage1`, `stage2` or `end_to_end`.
        task: labels and their weights.

    Raises:
        MissingArtifact, InputError: a fold or a run was not scored, or its files do not fit.
    """
    kind = f"{stage}_metrics"
    folders = [options.fold_paths(fold) for fold in range(split.folds)]
    end_to_end: list[EndToEndMetrics] = []
    if stage == "end_to_end":
        end_to_end = [_both_stages(paths.metrics(stage)) for paths in folders]
    tables: Sequence[Evaluation] = end_to_end or [
        read_stage_metrics(paths.metrics(stage), stage) for paths in folders
    ]
    samples = [read_predictions(paths.predictions(stage), task, MADE_BY[kind]) for paths in folders]
    sample = sample_of_split(
        split,
        task,
        np.concatenate([one.uids for one in samples]).tolist(),
        np.concatenate([one.targets for one in samples]),
        np.concatenate([one.probabilities for one in samples]),
    )
    crossfit = over_folds(sample, np.repeat(np.arange(split.folds), list(map(len, samples))))
    added = vars(_over_folds(task, stage, tables))
    selected = _joined_selections([one.selected_on for one in tables])
    settings = Settings(options.resamples, options.seed)
    table: StageMetricsOfAllFolds | EndToEndMetricsOfAllFolds
    if stage == "end_to_end":
        both = _end_to_end(options, split, task, (sample, samples), end_to_end, crossfit, selected)
        table = EndToEndMetricsOfAllFolds(**vars(both), **added)
    else:
        pooled = evaluate(task, sample, settings, crossfit, selected)
        unit = "spots" if stage == "stage1" else "series"
        log_tables(task, f"{stage}, held-out predictions of all folds", pooled, unit)
        table = StageMetricsOfAllFolds(**vars(pooled), **added)
    table = replace(table, split_hash=split.split_hash)
    if options.seed_runs:
        for fold in range(split.folds):
            runs = [folders[0].run, *options.seed_runs]
            require_seeds_alone(runs, options.model_dir, stage, str(fold))
        own = predictions_of(
            folders[0].run, [one.predictions(stage) for one in folders], table, task, MADE_BY[kind]
        )
        others = [
            load_run(run, options.model_dir, stage, ALL_FOLDS, task)[0] for run in options.seed_runs
        ]
        seeds = seed_table(task, [own, *others])
        log.info("seeds %s:\n%s", ", ".join(seeds.runs), format_seeds(seeds))
        for line in not_independent(seeds.optimistic):
            log.warning("%s", line)
        table = replace(table, seeds=seeds)
    path = options.fold_paths(ALL_FOLDS).metrics(stage)
    write_json(path, to_json(table))
    log.info("wrote %s", path)
    return Pooled(task, sample, table)


def _both_stages(path: Path) -> EndToEndMetrics:
    found = read_end_to_end_metrics(path)
    if not isinstance(found, EndToEndMetrics):
        raise InputError(f"{path} has no scores: run {MADE_BY['end_to_end_metrics']} --overwrite")
    return found


def _over_folds(task: Task, stage: str, tables: Sequence[Evaluation]) -> OverFolds:
    """Scores of each fold, what of them compares, and its spread; printed too."""
    labels = scored_in_all(task, tables)
    alike = [score_over(task, one, labels) for one in tables]
    differing = spread(alike)
    rows = {
        str(fold): FoldScore(
            series=one.series,
            score=one.score,
            overall=None if task.overall is None else _bare(one.per_label[task.overall]),
            comparable_score=comparable,
            selected_on=one.selected_on,
        )
        for fold, (one, comparable) in enumerate(zip(tables, alike, strict=True))
    }
    log.info(
        "%s, %s of each fold, and over the %d labels that every fold scores:",
        *(stage, task.score_name, len(labels)),
    )
    for name, row in rows.items():
        both = figure(row.score.value), figure(row.comparable_score)
        log.info("  fold %s  %s  %s", name, *both)
    if differing is not None:
        log.info(
            "  mean of the latter %s, standard deviation %s, %s to %s",
            *map(figure, (differing.mean, differing.standard_deviation)),
            *map(figure, (differing.min, differing.max)),
        )
    return OverFolds(
        by_fold=rows,
        labels_of_every_fold=labels,
        spread=differing,
        folds=len(tables),
        partial_folds={str(fold): one.partial for fold, one in enumerate(tables) if one.partial},
        seeds=None,
    )


def _bare(score: Cell) -> Cell:
    """A cell alone, without what a label's has beside it."""
    return Cell(score.value, score.low, score.high)


def _end_to_end(
    options: EvaluationOptions,
    split: Split,
    task: Task,
    rows: tuple[Sample, list[Sample]],
    tables: Sequence[EndToEndMetrics],
    crossfit: Crossfit,
    selected: str,
) -> EndToEndMetrics:
    """The table of both stages; points and views come from the tables of the folds.

    Args:
        options: for the run's paths and the intervals.
        split: for the centres.
        task: the labels.
        rows: of all folds, and of each.
        tables: the metrics of each fold.
        crossfit: thresholds come from the other folds.
        selected: what selected the weights.
    """
    sample, samples = rows
    folders = [ScoredFolderPaths(options.fold_paths(fold).root) for fold in range(split.folds)]
    located = None
    if task.locations:
        located = located_of_split(split, sample.uids.tolist(), [one.points for one in folders])
    views = joined(
        [
            read_views(folder.views, task, one.uids.tolist())
            for folder, one in zip(folders, samples, strict=True)
        ]
    )
    seen = [uid for one in tables for uid in one.seen_in_training or ()]
    rejected = tuple(row for one in tables for row in one.rejected)
    alone = _joined_selections([one.stage1_maximum.selected_on for one in tables])
    settings = Settings(options.resamples, options.seed)
    judged = Judged(sample, views, located, crossfit, seen, rejected)
    return end_to_end_table(task, judged, settings, selected, alone)


def _joined_selections(selections: list[str]) -> str:
    return THIS_FOLD if THIS_FOLD in selections else ", ".join(sorted(set(selections)))
