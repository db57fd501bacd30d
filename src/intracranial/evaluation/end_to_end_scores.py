"""Scores of end-to-end results: who was scored, what the figures are, and what limits them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from intracranial.evaluation.end_to_end import Results, Scored, arrays
from intracranial.evaluation.metrics_files import (
    EndToEndMetrics,
    RejectedSeries,
    SelectedTable,
    UnlabelledMetrics,
)
from intracranial.evaluation.subgroups import by_trait, count_findings, describe
from intracranial.evaluation.tables import evaluate, log_tables, optimism, selected_on
from intracranial.evaluation.view_gains import log_view_gains, view_gains
from intracranial.evaluation.views import Views
from intracranial.imaging.geometry import cache_to_patient
from intracranial.imaging.linkage import group_names
from intracranial.membership import Overlap
from intracranial.metrics import cell
from intracranial.runlog import log
from intracranial.statistics.bootstrap import draw_resamples
from intracranial.statistics.comparison import Comparison, Predictions, compare
from intracranial.statistics.crossfit import Crossfit, from_reference, over_patients
from intracranial.statistics.intervals import Settings, table_with_intervals
from intracranial.statistics.localisation import Located, localisation_table, log_localisation
from intracranial.statistics.sample import Sample
from intracranial.statistics.suspects import suspects_table
from intracranial.tasks import Task

if TYPE_CHECKING:
    from intracranial.lineage import Trained  # which imports torch


@dataclass(frozen=True, eq=False)
class Reference:
    """Held-out predictions of the same weights: their file, what they are, and their rows."""

    path: Path
    words: str
    sample: Sample


def seen_in_training(results: Results, overlap: Overlap | None, held_out: bool) -> list[str] | None:
    """UIDs of scored series that were in training, or share patient, study or pixels with one.

    Of other than held-out series also those whose scores selected the weights. None where the run
    does not tell; that held-out series were in no training is known from their split.
    """
    if overlap is None:
        return [] if held_out else None
    return overlap.met([(found.uid, found.linkage) for found in results.scored], not held_out)


def sample_of(results: Results, task: Task, key: bytes | None = None) -> Sample | None:
    """The scored series with their patients and traits; None where no labels were given.

    `key`: of the data folder at hand, for the names of the patients that no split names.
    """
    targets, probabilities = arrays(results)
    if targets is None:
        return None
    traits = [
        describe(
            found.modality,
            found.plane,
            found.job.sex,
            found.job.age,
            found.thickness,
            found.geometry.spacing[0] if found.geometry_known else None,
            count_findings(task, row, len(found.job.findings)),
        )
        for found, row in zip(results.scored, targets, strict=True)
    ]
    uids = [found.uid for found in results.scored]
    joined = group_names([found.linkage for found in results.scored], uids, key)
    groups = [found.job.group or group for found, group in zip(results.scored, joined, strict=True)]
    return Sample(
        targets.astype(np.float64),
        probabilities,
        np.array(uids, dtype=str),
        np.array(groups, dtype=str),
        by_trait(traits),
    )


def metrics_of(
    results: Results,
    sample: Sample | None,
    task: Task,
    weights: Sequence["Trained"],
    settings: Settings,
    reference: Reference | None = None,
    held_out: bool = True,
    overlap: Overlap | None = None,
) -> EndToEndMetrics | UnlabelledMetrics:
    """Score tables, printed too; none where no labels were given.

    Args:
        results: what was scored.
        sample: the same as `sample_of` made it; None where there are no labels.
        task: the labels.
        weights: sidecars of the stages, stage 1 first.
        settings: of the intervals.
        reference: what calibration and thresholds are fitted on; where there is none, or none
            with other patients, they are fitted on other patients of the sample.
        held_out: whether the series are those of the held-out fold.
        overlap: by what series are recognised; None where the run does not tell.
    """
    rejected = tuple(
        RejectedSeries(item.folder.name, item.code, item.message) for item in results.rejected
    )
    seen = seen_in_training(results, overlap, held_out)
    if seen:
        log.warning(
            "%d of %d scored series were in training or belong to a patient that was (first: %s): "
            "their figures are not independent",
            len(seen),
            len(results.scored),
            seen[0],
        )
    selected = selected_on(weights, held_out)
    if sample is None:
        return UnlabelledMetrics(
            selected_on=selected,
            series=len(results.scored),
            score=cell(None),
            per_label={},
            left_out=(),
            rejected=rejected,
            seen_in_training=None if seen is None else tuple(seen),
        )
    crossfit = over_patients(sample, task.has_finding(sample.targets), settings.seed)
    if reference is not None:
        linkages = [found.linkage for found in results.scored]
        recognised = [] if overlap is None else overlap.held_out_like(linkages)
        found = from_reference(sample, reference.sample, reference.words, recognised)
        crossfit = found if found.parts else crossfit
    located = None
    if any(found.job.findings for found in results.scored):
        located = [_located(found) for found in results.scored]
    judged = Judged(sample, views_of(results), located, crossfit, seen, rejected)
    alone = selected_on(weights[:1], held_out)
    return end_to_end_table(task, judged, settings, selected, alone)


def views_of(results: Results) -> Views:
    """How else the scored series were seen."""
    return Views(
        np.stack([found.stage1_maximum for found in results.scored]),
        [found.by_view for found in results.scored],
        results.views,
        results.steps,
    )


@dataclass(frozen=True, eq=False)
class Judged:
    """What is judged of scored series.

    Attributes:
        sample: their labels and probabilities.
        views: how else they were seen.
        located: their points and centres; None where no centres were given.
        crossfit: on what calibration and thresholds are fitted.
        seen: UIDs of those that were in training; None where the run does not tell.
        rejected: series that could not be read.
    """

    sample: Sample
    views: Views
    located: Sequence[Located] | None
    crossfit: Crossfit
    seen: Sequence[str] | None
    rejected: tuple[RejectedSeries, ...]


def end_to_end_table(
    task: Task, judged: Judged, settings: Settings, selected: str, alone: str
) -> EndToEndMetrics:
    """`evaluation.tables.evaluate`, and what only both stages together have; printed too.

    Args:
        task: the labels.
        judged: the series.
        settings: of the intervals.
        selected: what selected the weights of both stages, as `selected_on` says.
        alone: the same of stage 1.
    """
    sample, crossfit, seen = judged.sample, judged.crossfit, judged.seen or ()
    table = evaluate(task, sample, settings, crossfit, selected, len(seen))
    log_tables(task, "end to end", table)
    maximum = replace(sample, probabilities=judged.views.maximum)
    optimistic = table.intervals.optimistic
    gains = view_gains(task, sample, judged.views, settings, optimistic)
    log_view_gains(gains)
    localisation = None
    if judged.located is not None:
        finding = task.has_finding(sample.targets)
        drawn = None
        if settings.resamples:
            drawn = draw_resamples(sample.patients, finding, settings.resamples, settings.seed)
        localisation = localisation_table(task, sample, judged.located, crossfit, drawn)
        log_localisation(localisation)
    pair = (maximum, optimism(alone, len(seen))), (sample, optimistic)
    of_maximum, _ = table_with_intervals(task, maximum, settings)
    return EndToEndMetrics(
        **vars(table),
        stage1_maximum=SelectedTable(**vars(of_maximum), selected_on=alone),
        gain_over_stage1=_gain(task, *pair, settings),
        localisation=localisation,
        test_time_augmentation=gains,
        suspects=suspects_table(task, sample, seen),
        rejected=judged.rejected,
        seen_in_training=None if judged.seen is None else tuple(judged.seen),
    )


def _gain(
    task: Task,
    maximum: tuple[Sample, str | None],
    both: tuple[Sample, str | None],
    settings: Settings,
) -> Comparison | None:
    """What both stages gain over the maximum of stage 1; None without resamples.

    Each sample comes with the reason why its figures are too good, or None.
    """
    if not settings.resamples:
        return None
    first, second = (
        Predictions(name, task.labels, sample.uids, sample, None, optimistic)
        for name, (sample, optimistic) in (("stage 1, maximum", maximum), ("both stages", both))
    )
    return compare(task, first, second, settings)


def _located(found: Scored) -> Located:
    findings = found.job.findings
    # out of cache pixels, as the points' millimetres are: equal pixels are 0 mm apart
    cached = np.array([one.point for one in findings]).reshape(-1, 3)
    centres = cache_to_patient(found.geometry, cached, found.positions, found.size)
    return Located(found.points, centres, [one.location for one in findings], found.geometry_known)
