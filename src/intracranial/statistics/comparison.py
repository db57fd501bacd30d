"""Two sets of predictions of the same rows: the paired difference of every figure.

Both are scored on the same resamples of patients, so that what makes a series easy or hard for
both cancels out. A difference is the second minus the first. Its p-value is two-sided and not
corrected for the number of labels: with fourteen of them, one below 0.05 is to be expected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from intracranial.errors import InputError
from intracranial.metrics import cell, figure
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


def compare(task: Task, first: Predictions, second: Predictions, settings: Settings) -> dict:
    """Paired comparison over the labels that both have, JSON-ready.

    Args:
        task: the labels, their order and weights.
        first: one run.
        second: the other.
        settings: of the resamples; 1 or more of them.

    Returns:
        `score`, `others_mean` (None where the task has no overall label) and `per_label`:
        {"first", "second": the values, "difference": {"value", "low", "high"}, "p", "delong_p"},
        null where they do not exist; labels also have `positives`, `negatives` and `no_interval`
        (why there is none); `left_out`: labels without a value; `rare`: labels that are in the
        means, but that fewer than `MIN_GROUPS` patients have, so that no resample shows how the
        means would differ on other patients, and their intervals and p-values are too small;
        `only_one_has`: labels that
        are not compared; `series`, `groups`; `runs`, `optimistic` (by run) and `intervals`.

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
        cells = [table["per_label"][label] for table in tables]
        found = _paired(*(one["value"] for one in cells))
        found.update({key: cells[0][key] for key in ("positives", "negatives")})
        found["no_interval"] = cells[0]["no_interval"]
        if found["positives"] and found["negatives"]:
            truth = samples[0].targets[:, number]
            scores = [one.probabilities[:, number] for one in samples]
            resampled = [resampled_value(part, truth, one, number, drawn) for one in scores]
            differences[label] = resampled[1] - resampled[0]
            found["no_interval"] = _too_few(cells[0])
            if found["no_interval"] is None:
                _fill_in(found, differences[label])
                if samples[0].has_one_patient_per_row() and part.metric == "auc":
                    known = ~np.isnan(truth.astype(np.float64))
                    found["delong_p"] = difference_p_value(
                        truth[known], *(one[known] for one in scores)
                    )
        elif found["difference"]["value"] is not None:  # a log loss of one class
            differences[label] = np.full(settings.resamples, found["difference"]["value"])
        per_label[label] = found
    means = _means(part, tables, differences, drawn)
    return {
        **means,
        "per_label": per_label,
        "left_out": tables[0]["left_out"],
        "rare": tables[0]["rare"],
        "only_one_has": [name for name in task.labels if name not in shared],
        "series": len(groups),
        "groups": len(np.unique(groups)),
        "runs": [first.name, second.name],
        "optimistic": {one.name: one.optimistic for one in (first, second)},
        "intervals": {"resamples": settings.resamples, "seed": settings.seed},
    }


def format_comparison(task: Task, found: Mapping[str, Any], unit: str = "series") -> str:
    """A comparison as aligned plain text for the terminal."""
    rows = [
        *((name, found["per_label"][name]) for name in task.labels if name in found["per_label"]),
        *([(task.others_name, found["others_mean"])] if found["others_mean"] else []),
        (task.score_name, found["score"]),
    ]
    width = max(len(name) for name, _ in rows)
    names = f"first: {found['runs'][0]}, second: {found['runs'][1]}"
    head = f"{'label':<{width}}  first  second   diff.  {'95 % interval':<16}      p"
    lines = [names, head]
    for name, row in rows:
        change = row["difference"]
        value = "" if change["value"] is None else f"{change['value']:+.3f}"
        span = "" if change["low"] is None else f"{change['low']:+.3f} to {change['high']:+.3f}"
        p = "" if row["p"] is None else f"{row['p']:.3f}"
        lines.append(
            f"{name:<{width}}  {figure(row['first'])}   {figure(row['second'])}  {value:>6}  "
            f"{span:<16}  {p:>5}"
        )
    lines.append(f"{found['series']} {unit} of {found['groups']} patients")
    lacking = "one class only" if task.metric == "auc" else "no row is labelled"
    for words, key in ((f"left out ({lacking})", "left_out"), ("not compared", "only_one_has")):
        if found[key]:
            lines.append(f"{words}: {', '.join(found[key])}")
    if found["rare"]:
        lines.append(
            f"fewer than {MIN_GROUPS} patients have {', '.join(found['rare'])}: intervals and p of "
            "the means are too small"
        )
    return "\n".join([*lines, *not_independent(found["optimistic"])])


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


def _paired(first: float | None, second: float | None) -> dict[str, Any]:
    change = None if first is None or second is None else second - first
    return {
        "first": first,
        "second": second,
        "difference": cell(change),
        "p": None,
        "delong_p": None,
    }


def _too_few(score: Mapping[str, Any]) -> str | None:
    for words in ("with", "without"):
        if score[f"groups_{words}"] < MIN_GROUPS:
            return f"fewer than {MIN_GROUPS} patients {words} it"
    return None


def _fill_in(found: dict[str, Any], differences: np.ndarray) -> None:
    found["difference"] = cell(found["difference"]["value"], interval(differences))
    found["p"] = p_value(differences)


def _means(
    task: Task,
    tables: Sequence[Mapping[str, Any]],
    differences: Mapping[str, np.ndarray],
    drawn: Resamples,
) -> dict[str, dict[str, Any]]:
    """The mean of the other labels (None where the task has none) and the score, compared."""
    found: dict[str, Any] = {
        key: None if None in cells else _paired(*(one["value"] for one in cells))
        for key in ("others_mean", "score")
        for cells in [[table[key] for table in tables]]
    }
    if means_have_intervals(task, tables[0], drawn):
        for key, resampled in means_of_labels(task, differences).items():
            _fill_in(found[key], resampled)
    return found
