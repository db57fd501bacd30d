"""What a split looks like, for the person who made it: a table and warnings."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from intracranial.splits.folds import ALWAYS_TRAINS
from intracranial.splits.spots import NEGATIVE, POSITIVE, WHOLE
from intracranial.tasks import Task


def fold_table(
    series: pd.DataFrame, spots: Sequence[Mapping[str, Any]], folds: int, task: Task
) -> str:
    """One line per fold: series, groups, positive series, spots, and the label with the fewest.

    Args:
        series: typed rows with `fold` and `localized`.
        spots: rows of the spots table.
        folds: number of folds.
        task: labels.
    """
    head = f"{'fold':>5} {'series':>7} {'groups':>7} {'positive':>9} {'not localized':>14}"
    lines = [f"{head} {'spots +':>8} {'spots -':>8}  fewest positives of a label"]
    always = [ALWAYS_TRAINS] if (series["fold"] == ALWAYS_TRAINS).any() else []
    for fold in (*range(folds), *always):
        rows = series[series["fold"] == fold]
        kinds = [spot["kind"] for spot in spots if spot["fold"] == fold]
        per_label = (rows[list(task.labels)] == 1).sum()
        fewest = int(per_label.min())
        names = [str(name) for name in per_label.index[per_label == fewest]]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(
            f"{'train' if fold == ALWAYS_TRAINS else fold:>5} {len(rows):>7} "
            f"{rows['group'].nunique():>7} "
            f"{int(task.has_finding(rows[list(task.labels)].to_numpy()).sum()):>9} "
            f"{int((rows['localized'] == 0).sum()):>14} "
            f"{kinds.count(POSITIVE):>8} {kinds.count(NEGATIVE):>8}  {fewest} ({names[0]}{more})"
        )
    whole = sum(spot["kind"] == WHOLE for spot in spots)
    if whole:
        lines.append(f"{whole} spots have the labels of their series: no label has a place")
    return "\n".join(lines)


def rare_labels(series: pd.DataFrame, folds: int, task: Task) -> list[str]:
    """One sentence per label that cannot have a positive group in every fold."""
    warnings = []
    for label in task.labels:
        positive = series[series[label] == 1]
        groups = positive["group"].nunique()
        if groups < folds:
            warnings.append(
                f"{label}: {len(positive)} positive series in {groups} patient group(s), {folds} "
                "folds, so some folds cannot score it"
            )
    return warnings
