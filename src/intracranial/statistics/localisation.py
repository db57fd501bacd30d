"""Are the points where the findings are? Distances are in mm, in three dimensions.

A *centre* is a labelled finding (a localizer), a *point* what `inference.points` gives. A
point is right within d mm when a centre is not farther away than that.

- True positives: series with a finding that are called positive. The threshold is that of
  0.9 specificity on other patients (`statistics.crossfit`), never on the scored series. The
  share within d is that of the true positives whose first-ranked point is right within d.
- True positives by location: every location that is labelled in a series and called there, at a
  threshold of its own; its point must lie within d of a centre of that location.
- FROC: over all thresholds on the points' score, the sensitivity (share of the centres with a
  ranked point within `RIGHT_MM`) against the number of false points per series (ranked points
  farther than that from every centre). Further points on a centre that has one are not counted.

Not judged are series without known geometry and series with a positive label that no centre
belongs to: a point there may be right without anybody knowing. Intervals are by bootstrap over
patients, as everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from intracranial.metrics import Cell, cell, ends, figure
from intracranial.runlog import log
from intracranial.statistics.bootstrap import MIN_GROUPS, Resamples, count_groups, interval
from intracranial.statistics.calibration import fittable
from intracranial.statistics.crossfit import Crossfit
from intracranial.statistics.operating import threshold_at_specificity
from intracranial.statistics.ratios import by_group, share
from intracranial.statistics.sample import Sample
from intracranial.tasks import Task

WITHIN_MM = (5, 10)
"""Distances at which shares are reported."""

RIGHT_MM = 10
"""Distance of the FROC curve: points of one finding are kept as far apart."""

FALSE_POINTS = (0.125, 0.25, 0.5, 1, 2, 4)
"""False points per series at which sensitivity is reported."""

CURVE_POINTS = tuple(np.geomspace(0.05, 8, 45).round(4).tolist())
"""False points per series at which the curve is drawn."""

MOST_THRESHOLDS = 512
"""Thresholds of a FROC curve: every score of few points; of many, closer among the high ones."""


class Placed(Protocol):
    """What is judged of a point: `inference.points.Point`, or one read from a table."""

    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def rank(self) -> int | None: ...  # noqa: D102
    @property
    def mm(self) -> tuple[float, float, float] | None: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Located:
    """What one series has of points and centres.

    Attributes:
        points: as `find_points` gives them.
        centres: float64 (k, 3), mm.
        locations: of the centres, k names.
        geometry_known: whether points and centres are in true millimetres.
    """

    points: Sequence[Placed]
    centres: np.ndarray
    locations: Sequence[str]
    geometry_known: bool


@dataclass(frozen=True, kw_only=True)
class Hits:
    """How far the points of what is rightly called lie from a finding.

    Attributes:
        count: of what is rightly called.
        median_mm: None where it is infinite or there is none.
        within_mm: by distance in mm the share whose point is right within it.
        left_out: labels without a threshold.
    """

    count: int
    median_mm: float | None
    within_mm: Mapping[str, Cell]
    left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CurvePoint(Cell):
    """The sensitivity at a rate of false points per series."""

    false_points: float


@dataclass(frozen=True, kw_only=True)
class Froc:
    """Sensitivity against false points per series.

    Attributes:
        right_mm: distance within which a point is right.
        series: that were judged.
        centres: of these series.
        sensitivity: by false points per series, in words.
        curve: by rising false points.
    """

    right_mm: float
    series: int
    centres: int
    sensitivity: Mapping[str, Cell]
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True, kw_only=True)
class LocalisationTable:
    """The figures of this module.

    Attributes:
        judged: series.
        not_judged: series by reason.
        threshold_from: in words.
        true_positives: series.
        true_positive_locations: locations of series.
        froc: None without centres.
    """

    judged: int
    not_judged: Mapping[str, int]
    threshold_from: str
    true_positives: Hits
    true_positive_locations: Hits
    froc: Froc | None


def localisation_table(
    task: Task,
    sample: Sample,
    located: Sequence[Located],
    crossfit: Crossfit,
    drawn: Resamples | None,
) -> LocalisationTable:
    """The figures of this module.

    Args:
        task: labels and locations.
        sample: what is scored.
        located: of each row of the sample.
        crossfit: where thresholds come from.
        drawn: resamples of the sample for the intervals, or None.
    """
    unknown = np.array([not one.geometry_known for one in located], dtype=bool)
    bare = ~unknown & np.array(
        [_lacks_centre(task, *pair) for pair in zip(sample.targets, located, strict=True)],
        dtype=bool,
    )
    judged = ~(unknown | bare)
    called, fitted = _called(task, sample, crossfit)
    finding = task.has_finding(sample.targets)
    whole = task.summary(called)
    by_series = [
        (row, _distance(one.points[0], one.centres))
        for row, one in enumerate(located)
        if judged[row] and whole[row] and finding[row]
    ]
    lacking = [name for name in task.localized_labels if task.labels.index(name) not in fitted]
    by_location = [
        (row, distance)
        for row, one in enumerate(located)
        if judged[row]
        for distance in _location_distances(task, one, called[row], sample.targets[row])
    ]
    of_series = [name for name in lacking if task.overall in (name, None)]
    of_locations = [name for name in lacking if name != task.overall]
    return LocalisationTable(
        judged=int(judged.sum()),
        not_judged={
            "geometry unknown": int(unknown.sum()),
            "label without a centre": int(bare.sum()),
        },
        threshold_from=crossfit.fitted_on,
        true_positives=_hits(by_series, sample, drawn, of_series),
        true_positive_locations=_hits(by_location, sample, drawn, of_locations),
        froc=froc_table(located, judged, drawn),
    )


def log_localisation(table: LocalisationTable) -> None:
    """Print the shares of true positives and the sensitivity at one false point per series."""
    for found, what in (
        (table.true_positives, "series"),
        (table.true_positive_locations, "locations"),
    ):
        shares = [f"{_words(one)} within {mm} mm" for mm, one in found.within_mm.items()]
        log.info("%d true positive %s: %s", found.count, what, ", ".join(shares))
    if table.froc is not None:
        log.info(
            "%d labelled centres: %s are found within %d mm at 1 false point per series",
            *(table.froc.centres, _words(table.froc.sensitivity["1"]), table.froc.right_mm),
        )


def _words(one: Cell) -> str:
    """A share and, in brackets, its interval."""
    interval_ends = ends(one)
    return figure(one.value) + (f" ({interval_ends})" if interval_ends else "")


def _lacks_centre(task: Task, targets: np.ndarray, one: Located) -> bool:
    """Whether a label is positive that no centre belongs to."""
    if task.has_finding(targets[None])[0] and not len(one.centres):
        return True
    return any(
        targets[task.labels.index(name)] == 1 and name not in one.locations
        for name in task.locations
    )


def _called(task: Task, sample: Sample, crossfit: Crossfit) -> tuple[np.ndarray, list[int]]:
    """Bool (N, L): which label is called in which series; and the labels with a threshold."""
    called = np.zeros(sample.probabilities.shape, dtype=bool)
    fitted = fittable(task, crossfit)
    for part in crossfit.parts:
        for label in fitted:
            threshold = threshold_at_specificity(
                part.fit.targets[:, label], part.fit.probabilities[:, label]
            )
            called[part.rows, label] = sample.probabilities[part.rows, label] >= threshold
    return called, fitted


def _distance(point: Placed, centres: np.ndarray) -> float:
    """Mm from a point to the nearest centre, infinite without centres."""
    if not len(centres):
        return float("inf")
    return float(np.linalg.norm(centres - np.asarray(point.mm), axis=1).min())


def _location_distances(
    task: Task, one: Located, called: np.ndarray, targets: np.ndarray
) -> list[float]:
    """Distance of the point of each location that is labelled and called."""
    point_of = {point.label: point for point in one.points}
    names = np.asarray(one.locations, dtype=str)
    found = []
    for name in task.locations:
        label = task.labels.index(name)
        if called[label] and targets[label] == 1:
            found.append(_distance(point_of[name], one.centres[names == name]))
    return found


def _hits(
    distances: list[tuple[int, float]],
    sample: Sample,
    drawn: Resamples | None,
    left_out: Sequence[str],
) -> Hits:
    """Count, median and shares within `WITHIN_MM` of pairs of row and distance."""
    rows = np.array([row for row, _ in distances], dtype=np.int64)
    mm = np.array([distance for _, distance in distances])
    every = np.bincount(rows, minlength=len(sample))
    within = {}
    for limit in WITHIN_MM:
        right = np.bincount(rows[mm <= limit], minlength=len(sample))
        within[str(limit)] = share(right, every, drawn)
    median = float(np.median(mm)) if mm.size and np.isfinite(np.median(mm)) else None
    return Hits(count=len(mm), median_mm=median, within_mm=within, left_out=tuple(left_out))


def froc_table(
    located: Sequence[Located], judged: np.ndarray, drawn: Resamples | None
) -> Froc | None:
    """Sensitivity against false points per series; None where no judged series has a centre.

    Args:
        located: of each row.
        judged: bool (N,), the rows that count.
        drawn: resamples of the rows, or None.
    """
    outcome = [
        _froc_scores(one) if good else None for one, good in zip(located, judged, strict=True)
    ]
    known = [pair for pair in outcome if pair is not None]
    centres = np.array([0 if pair is None else len(pair[0]) for pair in outcome])
    if not centres.sum():
        return None
    scores = np.unique(np.concatenate([np.concatenate(pair) for pair in known]))[::-1]
    scores = scores[np.isfinite(scores)]
    ranks = np.geomspace(1, max(len(scores), 1), MOST_THRESHOLDS).round().astype(int)
    thresholds = scores[np.unique(ranks) - 1] if len(scores) else np.array([np.inf])
    hits = np.zeros((len(located), len(thresholds)))
    false = np.zeros_like(hits)
    for row, pair in enumerate(outcome):
        if pair is not None:
            hits[row] = (pair[0][:, None] >= thresholds).sum(axis=0)
            false[row] = (pair[1][:, None] >= thresholds).sum(axis=0)
    plain = _read(
        hits.sum(axis=0)[:, None], false.sum(axis=0)[:, None], centres.sum(), judged.sum()
    )
    band: Callable[[float], np.ndarray] | None = None
    if drawn is not None and count_groups(drawn.row_of, centres > 0) >= MIN_GROUPS:
        # as for shares: a resample without any centre has no sensitivity
        counts = drawn.counts[:, by_group(centres, drawn) @ drawn.counts > 0]
        band = _read(
            by_group(hits, drawn) @ counts,
            by_group(false, drawn) @ counts,
            by_group(centres, drawn) @ counts,
            np.maximum(by_group(judged.astype(float), drawn) @ counts, 1),
        )

    def at(rate: float) -> Cell:
        ends = interval(band(rate)) if band else None
        return cell(float(plain(rate)[0]), ends)

    return Froc(
        right_mm=RIGHT_MM,
        series=int(judged.sum()),
        centres=int(centres.sum()),
        sensitivity={f"{rate:g}": at(rate) for rate in FALSE_POINTS},
        curve=tuple(CurvePoint(**vars(at(rate)), false_points=rate) for rate in CURVE_POINTS),
    )


def _froc_scores(one: Located) -> tuple[np.ndarray, np.ndarray]:
    """Best score of a right point for each centre (-inf without), and scores of false points."""
    ranked = [point for point in one.points if point.rank is not None]
    scores = np.array([point.score for point in ranked])
    places = np.array([point.mm for point in ranked], dtype=np.float64).reshape(-1, 3)
    distances = np.linalg.norm(places[:, None] - one.centres[None], axis=2)  # (points, centres)
    right = distances <= RIGHT_MM
    best = np.where(right, scores[:, None], -np.inf).max(axis=0, initial=-np.inf)
    return best, scores[~right.any(axis=1)]


def _read(
    hits: np.ndarray, false: np.ndarray, centres: np.ndarray, series: np.ndarray
) -> Callable[[float], np.ndarray]:
    """Reads sensitivity (B,) at a rate of false points, from sums (T, B) by falling threshold."""
    sensitivity, rates = hits / centres, false / series

    def at(rate: float) -> np.ndarray:
        last = (rates <= rate).sum(axis=0) - 1  # rates rise as the threshold falls
        found = np.take_along_axis(sensitivity, np.maximum(last, 0)[None], axis=0)[0]
        return np.where(last >= 0, found, 0.0)

    return at
