"""Scores of one stage on its held-out fold, beside those on its training rows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from intracranial.errors import InputError
from intracranial.evaluation.metrics_files import Gap, StageMetrics
from intracranial.evaluation.tables import evaluate, log_tables, selected_on
from intracranial.metrics import Cell, ScoreTable, cell, ends
from intracranial.runlog import log
from intracranial.statistics.bootstrap import Resamples, draw_resamples, interval
from intracranial.statistics.crossfit import over_patients
from intracranial.statistics.intervals import (
    Settings,
    means_of_labels,
    resampled_values,
    score_over,
    scored_in_all,
    table_with_intervals,
)
from intracranial.statistics.sample import Sample
from intracranial.tasks import Task

if TYPE_CHECKING:
    from intracranial.lineage import Trained  # which imports torch


def stage_metrics(
    task: Task,
    stage: str,
    held_out: Sample,
    training: Sample,
    weights: Sequence["Trained"],
    settings: Settings,
    unit: str = "series",
) -> StageMetrics:
    """Metrics of one stage, printed too.

    Args:
        task: the labels.
        stage: name for the headline.
        held_out: rows of the held-out fold; their table is the top level of the result.
        training: the training rows, for the gap; may be none.
        weights: sidecars of all that took part; they say on what they were selected.
        settings: of the intervals.
        unit: what a row is: series or spots.

    Raises:
        InputError: nothing to score in the held-out fold.
    """
    if not len(held_out):
        raise InputError(f"{stage}: the held-out fold has nothing to score")
    finding = task.has_finding(held_out.targets)
    crossfit = over_patients(held_out, finding, settings.seed)
    table = evaluate(task, held_out, settings, crossfit, selected_on(weights))
    log_tables(task, f"{stage}, held out", table, unit)
    if not len(training):
        return StageMetrics(**vars(table), training=None, gap=None)
    # A seed of its own: the draws of one sample must say nothing about those of the other.
    seen, seen_draws = table_with_intervals(
        task, training, replace(settings, seed=settings.seed + 1)
    )
    labels = scored_in_all(task, (seen, table))
    values: list[dict[str, np.ndarray]] = [{}, {}]
    if settings.resamples and seen_draws is not None:
        draws = draw_resamples(held_out.patients, finding, settings.resamples, settings.seed)
        values = [
            _resampled(task, training, seen, seen_draws, labels),
            _resampled(task, held_out, table, draws, labels),
        ]
    figures = [_figures(task, one, labels) for one in (seen, table)]
    gap = {
        name: _difference([one[name] for one in figures], [one.get(name) for one in values])
        for name in figures[0]
    }
    found = gap["score"]
    if found.value is not None:
        log.info(
            "%s, %s of %d labels: training %.3f, held out %.3f, gap %.3f%s",
            *(stage, task.score_name, len(labels), *(one["score"].value for one in figures)),
            *(found.value, f" ({ends(found)})" if found.low is not None else ""),
        )
    return StageMetrics(**vars(table), training=seen, gap=Gap(labels=labels, figures=gap))


def _figures(task: Task, table: ScoreTable, labels: Sequence[str]) -> dict[str, Cell]:
    """Cells of the score over `labels` and of the overall label's value, where there is one."""
    cells = {"score": replace(table.score, value=score_over(task, table, labels))}
    if task.overall is not None:
        cells[task.overall] = table.per_label[task.overall]
    return cells


def _resampled(
    task: Task, sample: Sample, table: ScoreTable, drawn: Resamples, labels: Sequence[str]
) -> dict[str, np.ndarray]:
    """Value of every label, and means over `labels`, in every resample (B,)."""
    every = resampled_values(task, sample, table, drawn)
    return {**every, **means_of_labels(task, {name: every[name] for name in labels})}


def _difference(cells: Sequence[Cell], values: Sequence[np.ndarray | None]) -> Cell:
    """First minus second figure of two samples without a common patient.

    The samples are resampled apart. There is an interval where both figures have one.
    """
    first, second = cells
    if first.value is None or second.value is None:
        return cell(None)
    known = first.low is not None and second.low is not None
    a, b = values
    span = interval(a - b) if known and a is not None and b is not None else None
    return cell(first.value - second.value, span)
