"""Where a finding is: points from the heat maps of stage 1 and the slice head of stage 2.

Every slice offers one candidate per label (and per step, and per fold of an average): the maximum
of the label's heat map. Its weight is the heat map's probability there times stage 2's probability
of the label at that slice. Candidates that agree support each other through a Gaussian of
`SUPPORT_MM`; the best supported one, moved to the weighted mean of its supporters, is the label's
point. So one noisy slice moves nothing, steps and folds are combined where they agree instead of
being averaged where they do not, and the slices' spacing plays no part.

Each location gets one point, the overall label up to `OVERALL_POINTS` that are `APART_MM` apart.
A point's score is stage 2's probability of its label at its slice. The ranking takes all points by
falling score and leaves out those nearer than `APART_MM` to a better one.
"""

from dataclasses import dataclass, replace

import numpy as np

from intracranial.caching.read_ahead import PreparedSeries
from intracranial.imaging.geometry import cache_to_patient, cache_to_stored
from intracranial.tasks import Task

SUPPORT_MM = 4.0
"""Standard deviation in mm with which candidates support each other: that of the heat maps' and
slices' targets in training. On synthetic data 2 to 6 mm placed points equally well."""

APART_MM = 10.0
"""Points nearer to each other than this are taken for one finding."""

OVERALL_POINTS = 5
"""Points of the overall label: patients with more aneurysms, say, are very rare."""

CANDIDATES = 256
"""Candidates per label that are looked at, the weightiest first: bounds time on long series."""


@dataclass(frozen=True)
class Point:
    """One place where a label may be.

    Attributes:
        label: a location, or the overall label.
        probability: of the label in the series, 0..1.
        score: of the label at this slice, 0..1; points are ranked by it.
        rank: 1 for the best point of the series; None for a point within `APART_MM` of a better.
        index: slice, 0..n-1 in canonical order.
        sop_uid: SOPInstanceUID of the slice.
        frame: frame in that file, counted from 0; 0 in single-frame files.
        x: column in pixels of the original image; whole numbers are pixel centres.
        y: row, likewise.
        cache_xy: column and row in cache pixels.
        mm: x, y, z in mm of the patient's coordinates (LPS, PS3.3 C.7.6.2.1.1); None where the
            file does not tell position and orientation.
    """

    label: str
    probability: float
    score: float
    rank: int | None
    index: int
    sop_uid: str
    frame: int
    x: float
    y: float
    cache_xy: tuple[float, float]
    mm: tuple[float, float, float] | None


def find_points(
    task: Task,
    series: PreparedSeries,
    peaks: np.ndarray,
    slice_probabilities: np.ndarray,
    probabilities: np.ndarray,
) -> tuple[Point, ...]:
    """Points of one series: the ranked ones in order, then the others in the order of labels.

    Args:
        task: labels and locations.
        series: for slices and geometry.
        peaks: float (S, n, L, 3), for every step and fold the heat maps' maxima: x and y in cache
            pixels, probability.
        slice_probabilities: float (n, L), of stage 2.
        probabilities: float (L,), of the series.

    Returns:
        Points; an empty tuple where no label has a place.
    """
    places: list[tuple[int, np.ndarray]] = []
    if not len(peaks):
        return ()
    for label, name in enumerate(task.labels):
        if name not in task.localized_labels:
            continue
        count = OVERALL_POINTS if name == task.overall else 1
        found = _places(series, peaks[:, :, label], slice_probabilities[:, label], count)
        places += [(label, place) for place in found]
    indices = np.array([round(place[2]) for _, place in places])
    cached = np.array([(x, y, i) for (_, (x, y, _)), i in zip(places, indices, strict=True)])
    size = series.volume.shape[-1]
    stored = cache_to_stored(series.geometry, cached[:, :2], size)
    mm = cache_to_patient(series.geometry, cached, series.positions, size)
    points = [
        Point(
            label=task.labels[label],
            probability=float(probabilities[label]),
            score=float(slice_probabilities[i, label]),
            rank=None,
            index=int(i),
            sop_uid=series.sop_uids[i],
            frame=int(series.frames[i]),
            x=float(stored[row, 0]),
            y=float(stored[row, 1]),
            cache_xy=(float(cached[row, 0]), float(cached[row, 1])),
            mm=tuple(mm[row].tolist()) if series.geometry.geometry_known else None,
        )
        for row, ((label, _), i) in enumerate(zip(places, indices, strict=True))
    ]
    return _ranked(points, mm)


def _places(
    series: PreparedSeries, peaks: np.ndarray, at_slices: np.ndarray, count: int
) -> list[np.ndarray]:
    """The `count` best supported places, at least one: float64 (3,) cache x, y and slice index.

    `peaks` (S, n, 3) and `at_slices` (n,) are of one label.
    """
    steps, n = peaks.shape[:2]
    index = np.tile(np.arange(n, dtype=np.float64), steps)
    cached = np.column_stack([peaks[..., :2].reshape(-1, 2), index])
    weight = (peaks[..., 2] * at_slices).ravel().astype(np.float64)
    kept = np.argsort(-weight, kind="stable")[:CANDIDATES]
    cached, weight = cached[kept], weight[kept]
    mm = cache_to_patient(series.geometry, cached, series.positions, series.volume.shape[-1])
    squared = ((mm[:, None] - mm[None]) ** 2).sum(axis=-1)
    support = np.exp(-0.5 * squared / SUPPORT_MM**2)
    places: list[np.ndarray] = []
    free = np.ones(len(mm), dtype=bool)
    while free.any() and len(places) < count:
        best = int(np.where(free, support @ (weight * free), -1.0).argmax())
        shares = support[best] * weight * free
        if not shares.sum() > 0:  # heat maps or slices of probability zero: any place will do
            shares = np.eye(len(mm))[best]
        share = shares / shares.sum()
        places.append(share @ cached)
        free &= ((mm - share @ mm) ** 2).sum(axis=-1) > APART_MM**2
        free[best] = False
    return places


def _ranked(points: list[Point], mm: np.ndarray) -> tuple[Point, ...]:
    ranked: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: -points[i].score):
        if all(np.linalg.norm(mm[i] - mm[better]) > APART_MM for better in ranked):
            ranked.append(i)
    first = [replace(points[i], rank=rank) for rank, i in enumerate(ranked, start=1)]
    return (*first, *(point for i, point in enumerate(points) if i not in ranked))
