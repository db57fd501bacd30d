"""Everything that an evaluation says of one sample, for the metrics file and for the terminal.

`metrics_files` beside this module says what the files hold.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from intracranial.evaluation.metrics_files import Evaluation, Intervals, ReadAt
from intracranial.evaluation.subgroups import subgroup_tables
from intracranial.metrics import ends, figure, format_table
from intracranial.runlog import log
from intracranial.statistics.bootstrap import LEVEL, MIN_GROUPS
from intracranial.statistics.calibration import calibration_table
from intracranial.statistics.crossfit import Crossfit
from intracranial.statistics.intervals import Settings, table_with_intervals
from intracranial.statistics.operating import operating_table
from intracranial.statistics.sample import Sample
from intracranial.statistics.weighted import SENSITIVITY, SPECIFICITY
from intracranial.tasks import Task

if TYPE_CHECKING:
    from intracranial.lineage import Trained  # which imports torch

METHOD = "percentile bootstrap over patients, apart with and without the finding"

THIS_FOLD = "this fold"


def selected_on(weights: Sequence["Trained"], held_out: bool = True) -> str:
    """What selected the weights of the stages that made the predictions.

    Args:
        weights: sidecars of every stage that took part.
        held_out: whether the scored rows are of the held-out fold.
    """
    kinds = {one.select for one in weights}
    if "heldout" in kinds and held_out:
        return THIS_FOLD
    return ", ".join(sorted(kind.replace("heldout", "the held-out fold") for kind in kinds))


def evaluate(
    task: Task,
    sample: Sample,
    settings: Settings,
    crossfit: Crossfit,
    selected: str,
    seen: int = 0,
) -> Evaluation:
    """All tables of one sample.

    Args:
        task: the labels.
        sample: what is scored.
        settings: of the intervals.
        crossfit: what calibration and thresholds are fitted on.
        selected: as `selected_on` says.
        seen: scored rows that were in training.
    """
    table, drawn = table_with_intervals(task, sample, settings, more=True)
    return Evaluation(
        **vars(table),
        task=task.record(),
        read_at=ReadAt(SPECIFICITY, SENSITIVITY),
        intervals=Intervals(
            level=LEVEL,
            resamples=settings.resamples,
            seed=settings.seed,
            method=METHOD,
            optimistic=optimism(selected, seen),
        ),
        subgroups=subgroup_tables(task, sample, settings),
        calibration=calibration_table(task, sample, crossfit, drawn),
        operating_points=operating_table(task, sample, crossfit, drawn),
        selected_on=selected,
    )


def optimism(selected: str, seen: int) -> str | None:
    """Why figures are too good, or None.

    Args:
        selected: as `selected_on` says.
        seen: scored rows that were in training.
    """
    reasons = []
    if selected == THIS_FOLD:
        reasons.append("the weights were selected on this fold")
    if seen:
        reasons.append(f"{seen} scored series were in training or belong to a patient that was")
    return "; ".join(reasons) or None


def log_tables(task: Task, name: str, table: Evaluation, unit: str = "series") -> None:
    """Print what `evaluate` found: the score table, what its intervals mean, and subgroups."""
    log.info("%s:\n%s", name, format_table(task, table, unit))
    made = table.intervals
    if made.resamples:
        log.info("intervals: %d resamples of %d patients", made.resamples, table.groups)
    if table.rare:
        log.info(
            "fewer than %d patients: %s; the intervals of the means are too narrow by that",
            *(MIN_GROUPS, ", ".join(table.rare)),
        )
    if made.optimistic:
        log.warning(
            "the figures are not independent and their intervals are optimistic: %s",
            made.optimistic,
        )
    for trait, tables in table.subgroups.items():
        for value, one in tables.items():
            log.info(
                "  %-27s %s  %-14s  %d %s, %d %s",
                f"{trait.replace('_', ' ')} {value}",
                figure(one.score.value),
                ends(one.score),
                *(one.series, unit, one.with_finding, task.with_finding),
            )
    _log_calibration(task, table)


def _log_calibration(task: Task, table: Evaluation) -> None:
    label = task.overall or task.labels[0]
    found = table.calibration.per_label[label]
    if found.before is None or found.after is None:
        log.info("%s is not calibrated: too few to fit on", label)
        return
    log.info(
        "%s, calibration error %s, after correction %s (fitted on %s)",
        label,
        figure(found.before.error.value),
        figure(found.after.error.value),
        table.calibration.fitted_on,
    )
    point = table.operating_points.per_label[label].at_specificity
    for name, score in (("sensitivity", point.sensitivity), ("specificity", point.specificity)):
        log.info(
            "%s, %s at the threshold for specificity %.2f: %s  %s",
            *(label, name, point.aim, figure(score.value), ends(score)),
        )
