"""Runs of one recipe and split that differ in their seed alone: how much do their scores differ?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intracranial.errors import InputError, UsageError
from intracranial.metrics import figure
from intracranial.statistics.comparison import Predictions
from intracranial.statistics.intervals import Settings, table_with_intervals
from intracranial.statistics.spread import Spread, spread
from intracranial.tasks import Task


@dataclass(frozen=True)
class SeedScores:
    """A score of each run, and how much they differ; None where no run has it."""

    values: tuple[float | None, ...]
    spread: Spread | None


@dataclass(frozen=True)
class SeedTable:
    """Scores of several runs.

    Attributes:
        runs: names.
        optimistic: by run why its figures are too good, or None.
        scores: by the names of the score, of the mean of the other labels, and of each label.
    """

    runs: tuple[str, ...]
    optimistic: Mapping[str, str | None]
    scores: Mapping[str, SeedScores]


def seed_table(task: Task, runs: Sequence[Predictions]) -> SeedTable:
    """Scores of every run and their spread.

    Args:
        task: the labels.
        runs: two or more, scored on the same rows of one split.

    Raises:
        UsageError: fewer than two runs, or equal names.
        InputError: other rows or another split, or a run lacks labels: they would differ for other
            reasons than their seed.
    """
    if len({run.name for run in runs}) < max(len(runs), 2):
        raise UsageError("give two different runs or more: there is no spread of one")
    first = runs[0]
    scores: dict[str, list[float | None]] = {task.score_name: []}
    if task.overall is not None and task.others:
        scores[task.others_name] = []
    scores |= {label: [] for label in task.labels}
    for run in runs:
        if run.split_hash != first.split_hash or set(run.keys) != set(first.keys):
            raise InputError(f"{first.name} and {run.name} were not scored on the same series")
        if run.labels != task.labels:
            raise InputError(f"{run.name} does not predict every label")
        table, _ = table_with_intervals(task, run.sample, Settings(0))
        if len(task.labels) > 1:  # of one label the score is its value
            scores[task.score_name].append(table.score.value)
        if table.others_mean is not None:
            scores[task.others_name].append(table.others_mean.value)
        for label in task.labels:
            scores[label].append(table.per_label[label].value)
    return SeedTable(
        runs=tuple(run.name for run in runs),
        optimistic={run.name: run.optimistic for run in runs},
        scores={name: SeedScores(tuple(one), spread(one)) for name, one in scores.items()},
    )


def format_seeds(table: SeedTable) -> str:
    """The table as aligned plain text for the terminal."""
    width = max(map(len, table.scores))
    lines = [f"{'':<{width}}   mean     sd    min    max"]
    for name, row in table.scores.items():
        one = row.spread
        cells = (one.mean, one.standard_deviation, one.min, one.max) if one else (None,) * 4
        lines.append(f"{name:<{width}}  {'  '.join(map(figure, cells))}")
    return "\n".join(lines)
