"""Several runs' predictions of the same rows, combined.

- mean: the weighted mean of the probabilities, by default with equal weights.
- rank: the mean of each label's ranks among the scored rows, 0..1, under the same weights: for
  runs whose probabilities are of different scales. Ranks depend on the other rows, so a single
  series cannot be predicted in this way.
- fitted: the mean under the weights, non-negative and of sum 1, that make the truth most probable
  (least cross-entropy over all labels). Each row takes weights that were fitted on other folds, or
  within one fold on other patients. *Optimism* is the score that weights fitted on the scored rows
  themselves would claim, minus that.

Runs are combined when they have the same rows: the held-out rows of one split, or a folder of
series, whatever the runs were trained on. Held-out rows of two splits are not combined, even if
they are the same series: each run was trained on what the other calls held out. A run that has met
its rows in training, or was selected on them, has a score and fitted weights that are too good; it
is named in `optimistic` and in what is printed.

Every key of ensemble.json: `ensemble` in `results.schema.json`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import rankdata

from intracranial.errors import InputError, UsageError
from intracranial.metrics import Cell, ends, figure, score_table
from intracranial.statistics.bootstrap import MIN_GROUPS
from intracranial.statistics.comparison import Predictions, compare, joined_groups, not_independent
from intracranial.statistics.crossfit import Crossfit
from intracranial.statistics.intervals import Settings, TableWithIntervals, table_with_intervals
from intracranial.tasks import Task

METHODS = ("mean", "rank", "fitted")

SMALLEST = 1e-6
"""Probabilities are kept this far from 0 and 1: one sure error must not decide the weights."""

MOST_STEPS = 1000
"""Steps of the fit, each of which improves it."""

CHANGE = 1e-9
"""The fit ends when no weight changes by more."""


@dataclass(frozen=True)
class Gain:
    """A method against the best single run: the paired difference, and its two-sided p-value."""

    difference: Cell
    p: float | None


@dataclass(frozen=True)
class AgainstBest:
    """Every method against the run with the best score, which was chosen on the scored rows."""

    run: str
    methods: Mapping[str, Gain]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Fitted weights of the runs.

    Attributes:
        weights: fitted on all rows, for other series.
        weights_of_parts: those that the rows of each part took.
        optimism: what weights fitted on the scored rows would claim more; None without a score.
    """

    weights: tuple[float, ...]
    weights_of_parts: tuple[tuple[float, ...], ...]
    optimism: float | None


@dataclass(frozen=True, kw_only=True)
class EnsembleTable:
    """What is said of an ensemble.

    Attributes:
        runs: names, in the order of all weights.
        weights: of mean and rank, of sum 1.
        score_name: what the score is called.
        score: by run and by method.
        against_best: None where no run has a score.
        fitted_on: on what the weights of `fitted` were fitted, or why there are none.
        fitted: None where nothing could be fitted.
        optimistic: by run why its figures are too good, or None.
        left_out: as of `TableWithIntervals`; likewise the next three.
        rare: labels.
        series: rows.
        groups: patients.
        intervals: how they were made.
    """

    runs: tuple[str, ...]
    weights: tuple[float, ...]
    score_name: str
    score: Mapping[str, Cell]
    against_best: AgainstBest | None
    fitted_on: str
    fitted: Fitted | None
    optimistic: Mapping[str, str | None]
    left_out: tuple[str, ...]
    rare: tuple[str, ...]
    series: int
    groups: int
    intervals: Settings


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Combined probabilities by method, each (N, L), and what is said of them."""

    probabilities: dict[str, np.ndarray]
    table: EnsembleTable


def check_runs(names: Sequence[str], weights: Sequence[float] | None = None) -> None:
    """Refuse what cannot be combined, whatever the runs' files hold.

    Args:
        names: of the runs.
        weights: see `combine`.

    Raises:
        UsageError: fewer than two runs, equal names, or weights that do not fit the runs.
    """
    if len(names) < 2:
        raise UsageError("give two runs or more: there is nothing to combine")
    if len({*names, *METHODS}) < len(names) + len(METHODS):
        raise UsageError(f"{', '.join(names)}: runs need names of their own, none of {METHODS}")
    if weights is not None and (len(weights) != len(names) or min(weights) < 0 or not sum(weights)):
        raise UsageError(
            f"{len(names)} runs need as many weights, none below 0 and not all 0, not {weights}"
        )


def align(runs: Sequence[Predictions]) -> list[Predictions]:
    """The runs with their rows in the order of the first, and rows joined to patients.

    Rows that any run takes for one patient's are one patient's.

    Raises:
        UsageError: as `check_runs`.
        InputError: other splits, rows, labels or truth.
    """
    check_runs([run.name for run in runs])
    first, *others = runs
    order = np.argsort(first.keys, kind="stable")
    aligned = [first]
    for other in others:
        both = f"{first.name} and {other.name}"
        if (
            None not in (first.split_hash, other.split_hash)
            and first.split_hash != other.split_hash
        ):
            raise InputError(
                f"{both} are of different splits ({first.split_hash}, {other.split_hash}): one was "
                "trained on what the other is scored on. Score both on one split or on one folder"
            )
        if other.labels != first.labels:
            raise InputError(f"{both} predict different labels")
        theirs = np.argsort(other.keys, kind="stable")
        if not np.array_equal(first.keys[order], other.keys[theirs]):
            lacking = len(set(first.keys.tolist()) ^ set(other.keys.tolist()))
            raise InputError(
                f"{both} have different rows: {lacking} are in one of them only (splits "
                f"{first.split_hash or 'none'} and {other.split_hash or 'none'}). Score both on "
                "the same split and fold, or both on one folder of series"
            )
        rows = np.empty_like(theirs)
        rows[order] = theirs
        sample = other.sample.rows(rows)
        if not np.array_equal(sample.targets, first.sample.targets, equal_nan=True):
            raise InputError(f"{both} disagree about the labels of a row: score both again")
        aligned.append(replace(other, keys=other.keys[rows], sample=sample))
    groups = first.sample.groups
    for other in aligned[1:]:
        groups = joined_groups(groups, other.sample.groups)
    return [replace(run, sample=replace(run.sample, groups=groups)) for run in aligned]


def combine(
    task: Task,
    runs: Sequence[Predictions],
    weights: Sequence[float] | None,
    crossfit: Crossfit,
    settings: Settings,
) -> Ensemble:
    """Every method on aligned runs.

    Args:
        task: the labels; the runs must have all of them.
        runs: as `align` gives them.
        weights: of `mean` and `rank`, one per run; None for equal ones.
        crossfit: on what the weights of `fitted` are fitted for which rows of the first run.
        settings: of the intervals; 1 resample or more.

    Raises:
        UsageError: as `check_runs`.
        InputError: a run lacks labels of the task.
    """
    check_runs([run.name for run in runs], weights)
    if runs[0].labels != task.labels:
        raise InputError(f"{runs[0].name} does not predict all {len(task.labels)} labels")
    stacked = np.stack([run.sample.probabilities for run in runs])  # (R, N, L)
    targets = runs[0].sample.targets
    share = np.array(weights if weights is not None else np.ones(len(runs)), dtype=np.float64)
    share /= share.sum()
    ranks = np.stack([(rankdata(one, axis=0) - 0.5) / len(one) for one in stacked])
    found = {
        "mean": np.einsum("r,rnl->nl", share, stacked),
        "rank": np.einsum("r,rnl->nl", share, ranks),
    }
    said: Fitted | None = None
    if crossfit.parts:
        fitted, parts = np.empty_like(found["mean"]), []
        for part in crossfit.parts:
            scored = np.zeros(len(targets), dtype=bool)
            scored[part.rows] = True
            one = fit_weights(targets[~scored], stacked[:, ~scored])
            fitted[scored] = np.einsum("r,rnl->nl", one, stacked[:, scored])
            parts.append(tuple(one.tolist()))
        every = fit_weights(targets, stacked)
        claimed = _score(task, targets, np.einsum("r,rnl->nl", every, stacked))
        found["fitted"] = fitted
        reached = _score(task, targets, fitted)
        said = Fitted(
            weights_of_parts=tuple(parts),
            weights=tuple(every.tolist()),
            optimism=None if claimed is None or reached is None else claimed - reached,
        )
    methods = [_combined(name, runs, each) for name, each in found.items()]
    tables = {
        one.name: table_with_intervals(task, one.sample, settings)[0] for one in (*runs, *methods)
    }
    rows = tables[runs[0].name]  # what all tables say of the rows is the same
    return Ensemble(
        found,
        EnsembleTable(
            runs=tuple(run.name for run in runs),
            weights=tuple(share.tolist()),
            score_name=task.score_name,
            score={name: table.score for name, table in tables.items()},
            against_best=_against_best(task, runs, methods, tables, settings),
            fitted_on=crossfit.fitted_on,
            fitted=said,
            optimistic={run.name: run.optimistic for run in runs},
            left_out=rows.left_out,
            rare=rows.rare,
            series=rows.series,
            groups=rows.groups,
            intervals=settings,
        ),
    )


def _combined(name: str, runs: Sequence[Predictions], probabilities: np.ndarray) -> Predictions:
    """What a method predicts, as if it were a run; too good where one of the runs is."""
    first = runs[0]
    reasons = "; ".join(f"{run.name}: {run.optimistic}" for run in runs if run.optimistic)
    sample = replace(first.sample, probabilities=probabilities)
    return replace(first, name=name, sample=sample, optimistic=reasons or None)


def _against_best(
    task: Task,
    runs: Sequence[Predictions],
    methods: Sequence[Predictions],
    tables: Mapping[str, TableWithIntervals],
    settings: Settings,
) -> AgainstBest | None:
    """Each method minus the best single run, paired; None where no run has a score."""
    values = [(run, tables[run.name].score.value) for run in runs]
    scored = [(run, value) for run, value in values if value is not None]
    if not scored:
        return None
    best, _ = (max if task.higher_is_better else min)(scored, key=lambda pair: pair[1])
    found = {}
    for method in methods:
        paired = compare(task, best, method, settings).score
        found[method.name] = Gain(paired.difference, paired.p)
    return AgainstBest(best.name, found)


def fit_weights(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Weights of a mean that make the truth most probable: float64 (R,), of sum 1.

    The mean is a mixture of the runs' Bernoulli distributions, so the steps of expectation
    maximisation keep the weights non-negative and never make the fit worse, which is convex.

    Args:
        targets: (N, L) of 0 and 1, NaN where a label is not known.
        probabilities: (R, N, L).
    """
    clipped = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    right = np.where(targets == 1, clipped, 1 - clipped)[:, ~np.isnan(targets.astype(np.float64))]
    weights = np.full(len(right), 1 / len(right))
    for _ in range(MOST_STEPS):
        share = weights[:, None] * right
        changed = (share / share.sum(axis=0)).mean(axis=1)
        done = np.abs(changed - weights).max() < CHANGE
        weights = changed
        if done:
            break
    return weights


def _score(task: Task, targets: np.ndarray, probabilities: np.ndarray) -> float | None:
    return score_table(task, targets, probabilities).score.value


def format_ensemble(table: EnsembleTable) -> str:
    """Scores, differences and weights as text for the terminal."""
    width = max(len(name) for name in table.score)
    title = table.score_name
    lines = [f"{'':<{width}}  {title}  95 % interval"]
    for name, score in table.score.items():
        lines.append(
            f"{name:<{width}}  {figure(score.value):<{len(title)}}  {ends(score)}".rstrip()
        )
    best = table.against_best
    if best is not None:
        for name, found in best.methods.items():
            change, span = found.difference, "no interval"
            if change.low is not None:
                span = f"{change.low:+.3f} to {change.high:+.3f}, p {found.p:.3f}"
            lines.append(f"{name} minus {best.run}, the best run: {change.value:+.3f} ({span})")
    lines.append(f"{table.series} series of {table.groups} patients")
    if table.rare:
        lines.append(
            f"fewer than {MIN_GROUPS} patients have {', '.join(table.rare)}: intervals and p "
            "are too small"
        )
    fitted = table.fitted
    if fitted is None:
        lines.append(f"no weights were fitted: {table.fitted_on}")
    else:
        shares = ", ".join(
            f"{name} {value:.2f}" for name, value in zip(table.runs, fitted.weights, strict=True)
        )
        lines.append(f"fitted weights: {shares} (each part on {table.fitted_on})")
        if fitted.optimism is not None:
            lines.append(f"fitted on the scored rows it would claim {fitted.optimism:+.3f} more")
    return "\n".join([*lines, *not_independent(table.optimistic)])
