"""The score table with an interval beside each figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from intracranial.metrics import Cell, Ends, LabelScore, ScoreTable, cell, score_table, values_of
from intracranial.statistics.bootstrap import (
    MIN_GROUPS,
    RESAMPLES,
    Resamples,
    count_groups,
    draw_resamples,
    interval,
)
from intracranial.statistics.delong import auc_interval
from intracranial.statistics.sample import Sample
from intracranial.statistics.weighted import plain_figures, weighted_figures
from intracranial.tasks import Task

MORE_FIGURES = ("average_precision", "sensitivity", "specificity")
"""Figures of each label beside its value, see `statistics.weighted`; the AUC is one of them where
the task is scored by log loss."""

ALL_EQUAL = "all resamples give one value"


@dataclass(frozen=True)
class Settings:
    """How intervals are made: `resamples` of the bootstrap (0 for none), keyed by `seed`."""

    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class LabelWithInterval(LabelScore):
    """The same with an interval, and `MORE_FIGURES` where they were asked for.

    Attributes:
        groups_with: patients with such rows.
        groups_without: patients with rows without it.
        no_interval: why there is none, or None.
        redrawn: share of resamples that lacked a class of the label and were drawn again.
        delong: the interval after DeLong; only where every patient has one row.
        auc: where the value is a log loss.
        average_precision: see `statistics.weighted`; likewise the next two.
        sensitivity: at `SPECIFICITY`.
        specificity: at `SENSITIVITY`.
    """

    groups_with: int
    groups_without: int
    no_interval: str | None
    redrawn: float
    delong: Ends | None
    auc: Cell | None = None
    average_precision: Cell | None = None
    sensitivity: Cell | None = None
    specificity: Cell | None = None

    @property
    def too_few(self) -> list[str]:
        """Why there are too few patients for an interval: up to two reasons."""
        counts = ((self.groups_with, "with"), (self.groups_without, "without"))
        return [
            f"fewer than {MIN_GROUPS} patients {words} it"
            for count, words in counts
            if count < MIN_GROUPS
        ]


@dataclass(frozen=True, kw_only=True)
class TableWithIntervals(ScoreTable):
    """The same with an interval beside each figure.

    Resampling cannot show how `rare` labels would score on other patients, so the intervals of the
    means are too narrow where there are some. If all of them are that rare, the means get none.

    Attributes:
        per_label: by label.
        groups: patients.
        rare: labels that are in the means but have no interval of their own, because too few
            patients have them.
    """

    per_label: Mapping[str, LabelWithInterval]
    groups: int
    rare: tuple[str, ...]


def table_with_intervals(
    task: Task, sample: Sample, settings: Settings, more: bool = False
) -> tuple[TableWithIntervals, Resamples | None]:
    """`score_table` with bootstrap intervals.

    Args:
        task: the labels.
        sample: what is scored.
        settings: of the bootstrap.
        more: add `MORE_FIGURES` to every label.

    Returns:
        The table, and the resamples (None where none were asked for).

    Raises:
        NumericalError, InputError, ValueError: as `score_table`.
    """
    plain = score_table(task, sample.targets, sample.probabilities)
    drawn = None
    if settings.resamples and len(sample):
        finding = task.has_finding(sample.targets)
        drawn = draw_resamples(sample.patients, finding, settings.resamples, settings.seed)
    beside = () if task.metric == "auc" else ("auc",)
    names = (task.metric, *((*beside, *MORE_FIGURES) if more else ()))
    single = sample.has_one_patient_per_row()
    values: dict[str, np.ndarray] = {}
    row_of = sample.patients
    per_label: dict[str, LabelWithInterval] = {}
    for number, label in enumerate(task.labels):
        truth, scores = sample.targets[:, number], sample.probabilities[:, number]
        score = LabelWithInterval(
            **vars(plain.per_label[label]),
            groups_with=count_groups(row_of, truth == 1),
            groups_without=count_groups(row_of, truth == 0),
            no_interval="one class only",
            redrawn=0.0,
            delong=None,
        )
        if score.positives and score.negatives:
            score, values[label] = _with_figures(score, truth, scores, number, row_of, drawn, names)
            if single and score.no_interval is None and task.metric == "auc":
                known = ~np.isnan(truth.astype(np.float64))
                ends = auc_interval(truth[known], scores[known])
                score = replace(score, delong=Ends(*ends) if ends else None)
        else:
            nothing: dict[str, Any] = {name: cell(None) for name in names[1:]}
            score = replace(score, **nothing)
        per_label[label] = score
    rare = tuple(
        name
        for name in task.labels
        if name not in plain.left_out and per_label[name].groups_with < MIN_GROUPS
    )
    table = TableWithIntervals(
        **{**vars(plain), "per_label": per_label}, groups=len(np.unique(sample.groups)), rare=rare
    )
    if drawn is not None and means_have_intervals(task, table, drawn):
        constants = {
            name: np.full(settings.resamples, value) for name, value in values_of(per_label).items()
        }
        means = means_of_labels(task, {**constants, **values})
        if "score" in means:
            table = replace(table, score=cell(table.score.value, interval(means["score"])))
        if table.others_mean is not None and "others_mean" in means:
            mean = cell(table.others_mean.value, interval(means["others_mean"]))
            table = replace(table, others_mean=mean)
    return table, drawn


def means_have_intervals(task: Task, table: TableWithIntervals, drawn: Resamples) -> bool:
    """Whether `MIN_GROUPS` patients have the finding, none, and any one of the other labels."""
    scored = [name for name in task.others or task.labels if name not in table.left_out]
    return drawn.has_enough() and bool(set(scored) - set(table.rare))


def _with_figures(
    score: LabelWithInterval,
    targets: np.ndarray,
    scores: np.ndarray,
    number: int,
    row_of: np.ndarray,
    drawn: Resamples | None,
    names: tuple[str, ...],
) -> tuple[LabelWithInterval, np.ndarray]:
    """A label with both classes with all its figures, and its value in every resample (B,)."""
    known = ~np.isnan(targets.astype(np.float64))
    resampled = {name: np.zeros(0) for name in names}
    redrawn = 0.0
    no_interval: str | None = "no resamples were asked for"
    if drawn is not None:
        counts, redrawn = drawn.for_label(targets, number)
        resampled = weighted_figures(targets[known], scores[known], counts, row_of[known], names)
        no_interval = score.too_few[-1] if score.too_few else None
    plain = plain_figures(targets[known], scores[known], names)
    cells: dict[str, Any] = {
        name: cell(plain[name], interval(resampled[name]) if no_interval is None else None)
        for name in names
    }
    own = cells.pop(names[0])
    if no_interval is None and own.low is None:
        no_interval = ALL_EQUAL
    score = replace(score, **vars(own), **cells, redrawn=redrawn, no_interval=no_interval)
    return score, resampled[names[0]]


def means_of_labels(task: Task, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`others_mean` and `score` in every resample.

    Args:
        task: the labels and their weights.
        values: by label its value, or a difference of values, in every resample (B,).

    Returns:
        By name (B,); without the means that the labels at hand do not make up.
    """
    found = {}
    others = [name for name in task.others if name in values]
    if others and task.overall is not None:
        found["others_mean"] = task.mean_of(values, others)
    score = task.score_of(values)
    return found if score is None else {**found, "score": score}


def scored_in_all(task: Task, tables: Sequence[ScoreTable]) -> tuple[str, ...]:
    """Labels that no table leaves out: means of several tables compare over these alone."""
    return tuple(name for name in task.labels if all(name not in one.left_out for one in tables))


def score_over(task: Task, table: ScoreTable, labels: Sequence[str]) -> float | None:
    """Score of a table over some of the labels that it scored; None where there is none."""
    values = {name: np.array(table.per_label[name].value) for name in labels}
    found = means_of_labels(task, values).get("score")
    return None if found is None else float(found)


def resampled_values(
    task: Task, sample: Sample, table: ScoreTable, drawn: Resamples
) -> dict[str, np.ndarray]:
    """Value of every label that `table_with_intervals` scored, in every resample (B,)."""
    found = {}
    for number, label in enumerate(task.labels):
        score = table.per_label[label]
        if score.positives and score.negatives:
            truth, scores = sample.targets[:, number], sample.probabilities[:, number]
            found[label] = resampled_value(task, truth, scores, number, drawn)
        elif score.value is not None:  # of one class: no resample differs by more than chance
            found[label] = np.full(drawn.counts.shape[1], score.value)
    return found


def resampled_value(
    task: Task, targets: np.ndarray, scores: np.ndarray, number: int, drawn: Resamples
) -> np.ndarray:
    """Value of one label in every resample (B,).

    Args:
        task: says which figure the value is.
        targets: (N,) of 0 and 1, both present, and NaN where the label is not known.
        scores: (N,) probabilities.
        number: of the label.
        drawn: resamples of the rows.
    """
    counts, _ = drawn.for_label(targets, number)
    known = ~np.isnan(targets.astype(np.float64))
    rows = drawn.row_of[known]
    figures = weighted_figures(targets[known], scores[known], counts, rows, (task.metric,))
    return figures[task.metric]
