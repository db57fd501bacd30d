"""The score table with an interval beside each figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intracranial.metrics import cell, score_table, values_of
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


def table_with_intervals(
    task: Task, sample: Sample, settings: Settings, more: bool = False
) -> tuple[dict[str, Any], Resamples | None]:
    """`score_table` with bootstrap intervals.

    Each label's cell also has `groups_with` and `groups_without` it (patients), `no_interval` (the
    reason, or None), `redrawn` (share of resamples that lacked a class and were drawn again), and
    `delong` ({"low", "high"} or None; only where every patient has one row). The table also has
    `groups`, the number of patients, and `rare`: labels that are in the mean of the others but
    have no interval of their own, because too few patients have them. Resampling cannot show how
    they would score on other patients, so the intervals of the means are too narrow. If all of
    them are that rare, the means get no interval.

    Args:
        task: the labels.
        sample: what is scored.
        settings: of the bootstrap.
        more: add `MORE_FIGURES` to every label's cell, each {"value", "low", "high"}.

    Returns:
        The table, and the resamples (None where none were asked for).

    Raises:
        NumericalError, InputError, ValueError: as `score_table`.
    """
    table = score_table(task, sample.targets, sample.probabilities)
    drawn = None
    if settings.resamples and len(sample):
        finding = task.has_finding(sample.targets)
        drawn = draw_resamples(sample.patients, finding, settings.resamples, settings.seed)
    beside = () if task.metric == "auc" else ("auc",)
    names = (task.metric, *((*beside, *MORE_FIGURES) if more else ()))
    single = sample.has_one_patient_per_row()
    values: dict[str, np.ndarray] = {}
    row_of = sample.patients
    for number, label in enumerate(task.labels):
        score, truth = table["per_label"][label], sample.targets[:, number]
        score["groups_with"] = count_groups(row_of, truth == 1)
        score["groups_without"] = count_groups(row_of, truth == 0)
        score.update({"no_interval": None, "redrawn": 0.0, "delong": None})
        if not (score["positives"] and score["negatives"]):
            score["no_interval"] = "one class only"
            score.update({name: cell(None) for name in names[1:]})
            continue
        scores = sample.probabilities[:, number]
        values[label] = _fill_in(score, truth, scores, number, row_of, drawn, names)
        if single and score["no_interval"] is None and task.metric == "auc":
            known = ~np.isnan(truth.astype(np.float64))
            ends = auc_interval(truth[known], scores[known])
            score["delong"] = {"low": ends[0], "high": ends[1]} if ends else None
    table["groups"] = len(np.unique(sample.groups))
    table["rare"] = [
        name
        for name in task.labels
        if name not in table["left_out"] and table["per_label"][name]["groups_with"] < MIN_GROUPS
    ]
    if drawn is not None and means_have_intervals(task, table, drawn):
        constants = {
            name: np.full(settings.resamples, value)
            for name, value in values_of(table["per_label"]).items()
        }
        for name, resampled in means_of_labels(task, {**constants, **values}).items():
            table[name] = cell(table[name]["value"], interval(resampled))
    return table, drawn


def means_have_intervals(task: Task, table: Mapping[str, Any], drawn: Resamples) -> bool:
    """Whether `MIN_GROUPS` patients have the finding, none, and any one of the other labels."""
    scored = [name for name in task.others or task.labels if name not in table["left_out"]]
    return drawn.has_enough() and bool(set(scored) - set(table["rare"]))


def _fill_in(
    score: dict[str, Any],
    targets: np.ndarray,
    scores: np.ndarray,
    number: int,
    row_of: np.ndarray,
    drawn: Resamples | None,
    names: tuple[str, ...],
) -> np.ndarray:
    """Complete the cell of a label with both classes; returns its value in every resample (B,)."""
    known = ~np.isnan(targets.astype(np.float64))
    resampled = {name: np.zeros(0) for name in names}
    if drawn is None:
        score["no_interval"] = "no resamples were asked for"
    else:
        counts, score["redrawn"] = drawn.for_label(targets, number)
        resampled = weighted_figures(targets[known], scores[known], counts, row_of[known], names)
        for words in ("with", "without"):
            if score[f"groups_{words}"] < MIN_GROUPS:
                score["no_interval"] = f"fewer than {MIN_GROUPS} patients {words} it"
    enough = score["no_interval"] is None
    plain = plain_figures(targets[known], scores[known], names)
    cells = {
        name: cell(plain[name], interval(resampled[name]) if enough else None) for name in names
    }
    score.update(cells.pop(names[0]), **cells)
    if enough and score["low"] is None:
        score["no_interval"] = ALL_EQUAL
    return resampled[names[0]]


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


def scored_in_all(task: Task, tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels that no table leaves out: means of several tables compare over these alone."""
    return [name for name in task.labels if all(name not in one["left_out"] for one in tables)]


def score_over(task: Task, table: Mapping[str, Any], labels: Sequence[str]) -> float | None:
    """Score of a table over some of the labels that it scored; None where there is none."""
    values = {name: np.array(table["per_label"][name]["value"]) for name in labels}
    found = means_of_labels(task, values).get("score")
    return None if found is None else float(found)


def resampled_values(
    task: Task, sample: Sample, table: Mapping[str, Any], drawn: Resamples
) -> dict[str, np.ndarray]:
    """Value of every label that `table_with_intervals` scored, in every resample (B,)."""
    found = {}
    for number, label in enumerate(task.labels):
        score = table["per_label"][label]
        if score["positives"] and score["negatives"]:
            truth, scores = sample.targets[:, number], sample.probabilities[:, number]
            found[label] = resampled_value(task, truth, scores, number, drawn)
        elif score["value"] is not None:  # of one class: no resample differs by more than chance
            found[label] = np.full(drawn.counts.shape[1], score["value"])
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
