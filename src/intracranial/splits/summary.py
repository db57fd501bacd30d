"""What a split looks like, for the person who made it: a table and warnings."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from intracranial.splits.spots import NEGATIVE, POSITIVE
from intracranial.task import RSNA_2025, Task


def fold_table(
    series: pd.DataFrame, spots: Sequence[Mapping[str, Any]], folds: int, task: Task = RSNA_2025
) -> str:
    """One line per fold: series, groups, positive series, spots, and the label with the fewest.

    Args:
        series: typed rows with `fold` and `localized`.
        spots: rows of the spots table.
        folds: number of folds.
        task: labels; the overall label counts the positive series.
    """
    head = f"{'fold':>5} {'series':>7} {'groups':>7} {'positive':>9} {'not localized':>14}"
    lines = [f"{head} {'spots +':>8} {'spots -':>8}  fewest positives of a label"]
    for fold in range(folds):
        rows = series[series["fold"] == fold]
        kinds = [spot["kind"] for spot in spots if spot["fold"] == fold]
        per_label = rows[list(task.labels)].sum()
        fewest = int(per_label.min())
        names = [str(name) for name in per_label.index[per_label == fewest]]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(
            f"{fold:>5} {len(rows):>7} {rows['group'].nunique():>7} "
            f"{int(rows[task.overall].sum()):>9} {int((rows['localized'] == 0).sum()):>14} "
            f"{kinds.count(POSITIVE):>8} {kinds.count(NEGATIVE):>8}  {fewest} ({names[0]}{more})"
        )
    return "\n".join(lines)


def rare_labels(series: pd.DataFrame, folds: int, task: Task = RSNA_2025) -> list[str]:
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
