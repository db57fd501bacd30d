"""Two sets of predictions of the same rows: the paired difference of every figure.

Both are scored on the same resamples of patients, so that what makes a series easy or hard for
both cancels out. A difference is the second minus the first. Its p-value is two-sided and not
corrected for the number of labels: with fourteen of them, one below 0.05 is to be expected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from intracranial.errors import InputError
from intracranial.metrics import Cell, cell, figure
from intracranial.runlog import log
from intracranial.statistics.bootstrap import (
    MIN_GROUPS,
    Resamples,
    draw_resamples,
    interval,
    p_value,
)
from intracranial.statistics.delong import difference_p_value
from intracranial.statistics.intervals import (
    Settings,
    TableWithIntervals,
    means_have_intervals,
    means_of_labels,
    resampled_value,
    table_with_intervals,
)
from intracranial.statistics.sample import Sample
from intracranial.tasks import Task


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of one run.

    Attributes:
        name: of the run.
        labels: that it has, in the task's order.
        keys: (N,) what a row is of: SeriesInstanceUID, and for spots the slice.
        sample: its rows; columns in the order of `labels`.
        split_hash: of the split whose held-out rows these are; None for other series.
        optimistic: why its figures are too good, or None.
    """

    name: str
    labels: tuple[str, ...]
    keys: np.ndarray
    sample: Sample
    split_hash: str | None
    optimistic: str | None


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two figures of the same rows; None where they do not exist.

    Attributes:
        first: the value of one run.
        second: of the other.
        difference: second minus first.
        p: two-sided, not corrected for the number of labels.
        delong_p: after DeLong, of labels where every patient has one row.
    """

    first: float | None
    second: float | None
    difference: Cell
    p: float | None
    delong_p: float | None

    @staticmethod
    def of(first: float | None, second: float | None) -> "Paired":
        """Two values, their difference, and no interval of it."""
        change = None if first is None or second is None else second - first
        return Paired(first=first, second=second, difference=cell(change), p=None, delong_p=None)

    def resampled(self, differences: np.ndarray) -> "Paired":
        """The same with interval and p-value, from the difference in every resample (B,)."""
        change = cell(self.difference.value, interval(differences))
        return replace(self, difference=change, p=p_value(differences))


@dataclass(frozen=True, kw_only=True)
class PairedLabel(Paired):
    """Two values of one label; `no_interval` says why the difference has none, or is None."""

    positives: int
    negatives: int
    no_interval: str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare` finds.

    Attributes:
        score: of both.
        others_mean: None where the task has no overall label.
        per_label: by label, of those that both have.
        left_out: labels without a value.
        rare: labels that are in the means, but that fewer than `MIN_GROUPS` patients have, so that
            no resample shows how the means would differ on other patients, and their intervals and
            p-values are too small.
        only_one_has: labels that are not compared.
        series: rows.
        groups: patients.
        runs: names, first and second.
        optimistic: by run why its figures are too good, or None.
        intervals: how they were made.
    """

    score: Paired
    others_mean: Paired | None
    per_label: Mapping[str, PairedLabel]
    left_out: tuple[str, ...]
    rare: tuple[str, ...]
    only_one_has: tuple[str, ...]
    series: int
    groups: int
    runs: tuple[str, ...]
    optimistic: Mapping[str, str | None]
    intervals: Settings


def compare(task: Task, first: Predictions, second: Predictions, settings: Settings) -> Comparison:
    """Paired comparison over the labels that both have.

    Args:
        task: the labels, their order and weights.
        first: one run.
        second: the other.
        settings: of the resamples; 1 or more of them.

    Raises:
        InputError: the rows are not the same, or the two disagree about the truth.
    """
    first, second = _aligned(first, second)
    shared = tuple(name for name in task.labels if name in {*first.labels} & {*second.labels})
    if not shared or (task.overall or shared[0]) not in shared:
        raise InputError(
            f"{first.name} and {second.name} do not both predict {task.overall or task.labels[0]}"
        )
    part = task.of_labels(shared)
    groups = joined_groups(first.sample.groups, second.sample.groups)
    samples = [_columns(one, shared, groups) for one in (first, second)]
    _check_truth(part, first, second, samples)
    tables = [table_with_intervals(part, one, Settings(0))[0] for one in samples]
    finding = part.has_finding(samples[0].targets)
    drawn = draw_resamples(samples[0].patients, finding, settings.resamples, settings.seed)
    differences: dict[str, np.ndarray] = {}
    per_label = {}
    for number, label in enumerate(part.labels):
        one, other = (table.per_label[label] for table in tables)
        paired, no_interval, delong = Paired.of(one.value, other.value), one.no_interval, None
        if one.positives and one.negatives:
            truth = samples[0].targets[:, number]
            scores = [each.probabilities[:, number] for each in samples]
            resampled = [resampled_value(part, truth, each, number, drawn) for each in scores]
            differences[label] = resampled[1] - resampled[0]
            no_interval = one.too_few[0] if one.too_few else None
            if no_interval is None:
                paired = paired.resampled(differences[label])
                if samples[0].has_one_patient_per_row() and part.metric == "auc":
                    known = ~np.isnan(truth.astype(np.float64))
                    delong = difference_p_value(truth[known], *(each[known] for each in scores))
        elif paired.difference.value is not None:  # a log loss of one class
            differences[label] = np.full(settings.resamples, paired.difference.value)
        per_label[label] = PairedLabel(
            **{**vars(paired), "delong_p": delong},
            positives=one.positives,
            negatives=one.negatives,
            no_interval=no_interval,
        )
    score, others_mean = _means(part, tables, differences, drawn)
    return Comparison(
        score=score,
        others_mean=others_mean,
        per_label=per_label,
        left_out=tables[0].left_out,
        rare=tables[0].rare,
        only_one_has=tuple(name for name in task.labels if name not in shared),
        series=len(groups),
        groups=len(np.unique(groups)),
        runs=(first.name, second.name),
        optimistic={one.name: one.optimistic for one in (first, second)},
        intervals=settings,
    )


def format_comparison(task: Task, found: Comparison, unit: str = "series") -> str:
    """A comparison as aligned plain text for the terminal."""
    rows: list[tuple[str, Paired]] = [
        *((name, found.per_label[name]) for name in task.labels if name in found.per_label),
        *([(task.others_name, found.others_mean)] if found.others_mean else []),
        (task.score_name, found.score),
    ]
    width = max(len(name) for name, _ in rows)
    names = f"first: {found.runs[0]}, second: {found.runs[1]}"
    head = f"{'label':<{width}}  first  second   diff.  {'95 % interval':<16}      p"
    lines = [names, head]
    for name, row in rows:
        change = row.difference
        value = "" if change.value is None else f"{change.value:+.3f}"
        span = "" if change.low is None else f"{change.low:+.3f} to {change.high:+.3f}"
        p = "" if row.p is None else f"{row.p:.3f}"
        lines.append(
            f"{name:<{width}}  {figure(row.first)}   {figure(row.second)}  {value:>6}  "
            f"{span:<16}  {p:>5}"
        )
    lines.append(f"{found.series} {unit} of {found.groups} patients")
    lacking = "one class only" if task.metric == "auc" else "no row is labelled"
    for words, labels in (
        (f"left out ({lacking})", found.left_out),
        ("not compared", found.only_one_has),
    ):
        if labels:
            lines.append(f"{words}: {', '.join(labels)}")
    if found.rare:
        lines.append(
            f"fewer than {MIN_GROUPS} patients have {', '.join(found.rare)}: intervals and p of "
            "the means are too small"
        )
    return "\n".join([*lines, *not_independent(found.optimistic)])


def not_independent(optimistic: Mapping[str, str | None]) -> list[str]:
    """A line for each run whose figures are too good; `optimistic`: the reason, or None, by run."""
    return [
        f"the figures of {name} are not independent: {reason}"
        for name, reason in optimistic.items()
        if reason
    ]


def _aligned(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """Both with the same rows in the same order.

    Raises:
        InputError: a row is there twice, or the rows differ and the splits do too.
    """
    for one in (first, second):
        names, count = np.unique(one.keys, return_counts=True)
        if (count > 1).any():
            raise InputError(f"{one.name} has {names[count > 1][0]} more than once")
    common, mine, others = np.intersect1d(first.keys, second.keys, return_indices=True)
    left = len(first.keys) + len(second.keys) - 2 * len(common)
    same_split = first.split_hash is not None and first.split_hash == second.split_hash
    if left and not (same_split and len(common)):
        odd = np.setxor1d(first.keys, second.keys)
        raise InputError(
            f"{first.name} ({len(first.keys)} rows, split {first.split_hash or 'none'}) and "
            f"{second.name} ({len(second.keys)} rows, split {second.split_hash or 'none'}) were "
            f"not scored on the same series: {len(odd)} are in one only (first: {odd[0]}). Score "
            "both on the same split and fold, or both on one folder of series"
        )
    if left:
        log.warning("%d rows that only one of the runs has are left out", left)
    return _rows(first, mine), _rows(second, others)


def _rows(one: Predictions, chosen: np.ndarray) -> Predictions:
    return replace(one, keys=one.keys[chosen], sample=one.sample.rows(chosen))


def joined_groups(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Patients: rows that either run takes for one patient's are; names from the first run."""
    _, rows = np.unique(first, return_inverse=True)
    names, columns = np.unique(second, return_inverse=True)
    count = rows.max(initial=-1) + 1
    edges = (np.ones(len(rows)), (rows, columns + count))
    size = count + len(names)
    _, component = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    _, representative = np.unique(component[rows], return_index=True)
    order = {int(component[rows[row]]): first[row] for row in representative}
    return np.array([order[int(component[row])] for row in rows], dtype=str)


def _columns(one: Predictions, labels: Sequence[str], groups: np.ndarray) -> Sample:
    chosen = [one.labels.index(name) for name in labels]
    sample = one.sample
    return Sample(sample.targets[:, chosen], sample.probabilities[:, chosen], sample.uids, groups)


def _check_truth(
    task: Task, first: Predictions, second: Predictions, samples: Sequence[Sample]
) -> None:
    pairs = [np.asarray(one.targets, dtype=np.float64) for one in samples]
    different = ~((pairs[0] == pairs[1]) | (np.isnan(pairs[0]) & np.isnan(pairs[1])))
    for number, label in enumerate(task.labels):
        rows = np.flatnonzero(different[:, number])
        if rows.size:
            raise InputError(
                f"{first.name} and {second.name} disagree about {label} in {rows.size} rows "
                f"(first: {first.keys[rows[0]]}): they were scored with different labels"
            )


def _means(
    task: Task,
    tables: Sequence[TableWithIntervals],
    differences: Mapping[str, np.ndarray],
    drawn: Resamples,
) -> tuple[Paired, Paired | None]:
    """The score and the mean of the other labels (None where the task has none), compared."""
    first, second = tables
    score, others = Paired.of(first.score.value, second.score.value), None
    if first.others_mean is not None and second.others_mean is not None:
        others = Paired.of(first.others_mean.value, second.others_mean.value)
    if means_have_intervals(task, first, drawn):
        resampled = means_of_labels(task, differences)
        if "score" in resampled:
            score = score.resampled(resampled["score"])
        if others is not None and "others_mean" in resampled:
            others = others.resampled(resampled["others_mean"])
    return score, others
