"""The score table with an interval beside each figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intracranial.metrics import cell, score_table
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
from intracranial.task import Task

MORE_FIGURES = ("average_precision", "sensitivity", "specificity")
"""Figures of each label beside its AUC, see `statistics.weighted`."""

ALL_EQUAL = "all resamples give one value"


@dataclass(frozen=True)
class Settings:
    """How intervals are made: `resamples` of the bootstrap (0 for none), keyed by `seed`."""

    resamples: int = RESAMPLES
    seed: int = 0


def auc_table(
    task: Task, sample: Sample, settings: Settings, more: bool = False
) -> tuple[dict[str, Any], Resamples | None]:
    """`score_table` with bootstrap intervals.

    Each label's cell also has `groups_with` and `groups_without` it (patients), `no_interval` (the
    reason, or None), `redrawn` (share of resamples that lacked a class and were drawn again), and
    `delong` ({"low", "high"} or None; only where every patient has one row). The table also has
    `groups`, the number of patients, and `rare`: labels that are in the mean of the locations but
    have no interval of their own, because too few patients have them. Resampling cannot show how
    they would score on other patients, so the intervals of the means are too narrow. If every
    location is that rare, the means get no interval.

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
    overall = sample.targets[:, task.overall_index] if len(sample) else np.zeros(0)
    drawn = None
    if settings.resamples and len(sample):
        drawn = draw_resamples(sample.patients, overall, settings.resamples, settings.seed)
    names = ("auc", *(MORE_FIGURES if more else ()))
    single = sample.has_one_patient_per_row()
    values: dict[str, np.ndarray] = {}
    row_of = sample.patients
    for number, label in enumerate(task.labels):
        score, truth = table["per_label"][label], sample.targets[:, number]
        score["groups_with"] = count_groups(row_of, truth == 1)
        score["groups_without"] = count_groups(row_of, truth == 0)
        score.update({"no_interval": None, "redrawn": 0.0, "delong": None})
        if label in table["left_out"]:
            score["no_interval"] = "one class only"
            score.update({name: cell(None) for name in names if name != "auc"})
            continue
        scores = sample.probabilities[:, number]
        values[label] = _fill_in(score, truth, scores, number, row_of, drawn, names)
        if single and score["no_interval"] is None:
            ends = auc_interval(truth, scores)
            score["delong"] = {"low": ends[0], "high": ends[1]} if ends else None
    table["groups"] = len(np.unique(sample.groups))
    table["rare"] = [
        name
        for name in task.labels
        if name not in table["left_out"] and table["per_label"][name]["groups_with"] < MIN_GROUPS
    ]
    if drawn is not None and means_have_intervals(task, table, drawn):
        for name, resampled in means_of_labels(task, values).items():
            table[name] = cell(table[name]["value"], interval(resampled))
    return table, drawn


def means_have_intervals(task: Task, table: Mapping[str, Any], drawn: Resamples) -> bool:
    """Whether `MIN_GROUPS` patients have an aneurysm, none, and any one of the scored locations."""
    scored = [name for name in task.locations if name not in table["left_out"]]
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
    """Complete the cell of a label with both classes; returns its AUC in every resample (B,)."""
    resampled = {name: np.zeros(0) for name in names}
    if drawn is None:
        score["no_interval"] = "no resamples were asked for"
    else:
        counts, score["redrawn"] = drawn.for_label(targets, number)
        resampled = weighted_figures(targets, scores, counts, row_of, names)
        for words in ("with", "without"):
            if score[f"groups_{words}"] < MIN_GROUPS:
                score["no_interval"] = f"fewer than {MIN_GROUPS} patients {words} it"
    enough = score["no_interval"] is None
    plain = plain_figures(targets, scores, names)
    cells = {
        name: cell(plain[name], interval(resampled[name]) if enough else None) for name in names
    }
    score.update(cells.pop("auc"), **cells)
    if enough and score["low"] is None:
        score["no_interval"] = ALL_EQUAL
    return resampled["auc"]


def means_of_labels(task: Task, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`locations_mean` and `weighted_auc` in every resample.

    Args:
        task: the locations and the overall label's weight.
        values: by label its AUC, or a difference of AUCs, in every resample (B,).

    Returns:
        By name (B,); without the means that the labels at hand do not make up.
    """
    scored = [values[name] for name in task.locations if name in values]
    if not scored:
        return {}
    mean = np.mean(scored, axis=0)
    found = {"locations_mean": mean}
    if task.overall in values:
        weight = task.overall_weight
        found["weighted_auc"] = weight * values[task.overall] + (1 - weight) * mean
    return found


def scored_in_all(task: Task, tables: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels that no table leaves out: means of several tables compare over these alone."""
    return [name for name in task.labels if all(name not in one["left_out"] for one in tables)]


def weighted_auc_of(task: Task, table: Mapping[str, Any], labels: Sequence[str]) -> float | None:
    """Weighted AUC of a table over some of the labels that it scored; None where there is none."""
    values = {name: np.array(table["per_label"][name]["value"]) for name in labels}
    found = means_of_labels(task, values).get("weighted_auc")
    return None if found is None else float(found)


def resampled_aucs(
    task: Task, sample: Sample, table: Mapping[str, Any], drawn: Resamples
) -> dict[str, np.ndarray]:
    """AUC of every label that `auc_table` scored, in every resample (B,)."""
    found = {}
    for number, label in enumerate(task.labels):
        if label not in table["left_out"]:
            truth, scores = sample.targets[:, number], sample.probabilities[:, number]
            counts, _ = drawn.for_label(truth, number)
            found[label] = weighted_figures(truth, scores, counts, drawn.row_of, ("auc",))["auc"]
    return found
