"""What each view of test-time augmentation, and each step of stage 1, adds to the score.

Every row averages other views or steps and is compared with the plain view at all steps: the same
series, the same resamples of patients. A series that lacks a view, such as a flip where left is not
known, takes part with those that it has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from intracranial.evaluation.metrics_files import ViewGain
from intracranial.evaluation.views import Views
from intracranial.inference.views import PLAIN_NAME
from intracranial.metrics import ends, figure
from intracranial.runlog import log
from intracranial.statistics.comparison import Paired, Predictions, compare
from intracranial.statistics.intervals import Settings, table_with_intervals
from intracranial.statistics.sample import Sample
from intracranial.tasks import Task


@dataclass(frozen=True)
class Choice:
    """A row: its name, the views that are averaged, and the positions of the steps that are."""

    name: str
    views: tuple[str, ...]
    steps: tuple[int, ...]

    def probabilities(self, by_view: Mapping[str, np.ndarray]) -> np.ndarray:
        """Float64 (L,): of one series, from `Detection.by_view`."""
        found = [by_view[view] for view in self.views if view in by_view]
        return np.mean([steps[list(self.steps)].mean(axis=0) for steps in found], axis=0)


def choices(views: Sequence[str], steps: Sequence[int]) -> list[Choice]:
    """Rows of the table, the plain one first; no other where there is nothing to compare.

    Args:
        views: those beside the plain one.
        steps: of stage 1, in slices, ascending.
    """
    every = tuple(range(len(steps)))
    rows = [Choice(PLAIN_NAME, (PLAIN_NAME,), every)]
    if len(steps) > 1:
        rows.append(Choice(f"{PLAIN_NAME}, step {steps[0]} alone", (PLAIN_NAME,), (0,)))
    rows += [Choice(f"{PLAIN_NAME} and {view}", (PLAIN_NAME, view), every) for view in views]
    if len(views) > 1:
        rows.append(Choice("all views", (PLAIN_NAME, *views), every))
    return rows


def view_gains(
    task: Task, sample: Sample, seen: Views, settings: Settings, optimistic: str | None = None
) -> tuple[ViewGain, ...] | None:
    """A row per choice, the plain one first; None where one view at one step is all there is.

    Args:
        task: the labels.
        sample: the series; its probabilities are not looked at.
        seen: their probabilities by view and step.
        settings: of the intervals.
        optimistic: why all these figures are too good, or None.
    """
    by_view, steps = seen.by_view, seen.steps
    rows = choices(seen.views, steps)
    if len(rows) == 1:
        return None
    table: list[ViewGain] = []
    plain = None
    for choice in rows:
        mean = np.stack([choice.probabilities(one) for one in by_view])
        scored = replace(sample, probabilities=mean)
        row = ViewGain(
            name=choice.name,
            views=choice.views,
            steps=tuple(steps[position] for position in choice.steps),
            series=sum(set(choice.views) <= set(one) for one in by_view),
            score=table_with_intervals(task, scored, settings)[0].score,
            difference=None,
            p=None,
            optimistic=optimistic,
        )
        if plain is None:
            plain = scored
        else:
            row = _against_plain(task, (plain, scored), table[0], row, settings)
        table.append(row)
    return tuple(table)


def _against_plain(
    task: Task,
    samples: tuple[Sample, Sample],
    plain: ViewGain,
    other: ViewGain,
    settings: Settings,
) -> ViewGain:
    """The other row with its difference to the plain one."""
    if not settings.resamples:
        return replace(other, difference=Paired.of(plain.score.value, other.score.value).difference)
    first, second = (
        Predictions(row.name, task.labels, sample.uids, sample, None, row.optimistic)
        for row, sample in zip((plain, other), samples, strict=True)
    )
    found = compare(task, first, second, settings).score
    return replace(other, difference=found.difference, p=found.p)


def log_view_gains(table: Sequence[ViewGain] | None) -> None:
    """Print the table; nothing where there is none."""
    if table is None:
        return
    log.info("test-time augmentation, the score and its difference to the plain view:")
    width = max(len(row.name) for row in table)
    for row in table:
        change = row.difference
        words = f"  {row.name:<{width}}  {figure(row.score.value)}  {ends(row.score):<14}"
        if change is not None and change.value is not None:
            words += f"  {change.value:+.3f}"
        if change is not None and change.low is not None:
            words += f"  {change.low:+.3f} to {change.high:+.3f}"
        log.info("%s", words.rstrip())
    if table[0].optimistic:
        log.info("  none of these is independent: %s", table[0].optimistic)
