"""What training needs to know of one cached series, from the split's tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from intracranial.imaging.geometry import Geometry, mirror_axis, reorientation
from intracranial.splits.folds import Split
from intracranial.splits.spots import POSITIVE
from intracranial.task import SERIES_COLUMN, Task

NOMINAL_FIELD_MM = 220.0
"""Assumed field of view where the pixel spacing is unknown: a head and a little air."""

NOMINAL_SLICE_MM = 1.0
"""Assumed slice spacing where the geometry is unknown."""


@dataclass(frozen=True)
class SeriesInfo:
    """One cached series.

    `n` slices of `size` x `size` pixels; `pixel_mm` is mm per cache pixel along (x, y); `axis` is
    what a left-right flip reverses (see `mirror_axis`). Its localizers: `indices` int64 (m,),
    `points` float64 (m, 2) as x, y in cache pixels, `locations` int64 (m,) into task.locations.
    `label_weights` float32 (L,) is 0 where a per-slice label is unknown, because the series has
    the label but no localizer for it. `slice_mm` is the slice spacing, nominal where
    `spacing_known` is False.
    """

    uid: str
    n: int
    size: int
    pixel_mm: tuple[float, float]
    slice_mm: float
    spacing_known: bool
    axis: str | None
    plane: str
    localized: bool
    indices: np.ndarray
    points: np.ndarray
    locations: np.ndarray
    labels: np.ndarray
    label_weights: np.ndarray


def pixel_mm(geometry: Geometry, size: int) -> tuple[float, float]:
    """Mm per cache pixel along x and y; nominal where the geometry is unknown."""
    if not geometry.geometry_known:
        return (NOMINAL_FIELD_MM / size, NOMINAL_FIELD_MM / size)
    rows, columns = geometry.canonical_shape
    _, row_mm, column_mm = geometry.spacing
    return (column_mm * columns / size, row_mm * rows / size)


def slice_mm(geometry: Geometry) -> float:
    """Mm between slices; nominal where the geometry is unknown."""
    return geometry.spacing[0] if geometry.geometry_known else NOMINAL_SLICE_MM


def flip_axis(geometry: Geometry) -> str | None:
    """What a left-right flip of the cached array reverses; None where left cannot be told.

    Caches in stored orientation may have rows and columns exchanged, and then no axis of the array
    is the one that the canonical rule means.
    """
    if not geometry.geometry_known or geometry.iop is None:
        return None
    if reorientation(geometry.iop).transpose != geometry.transpose:
        return None
    return mirror_axis(geometry.plane)


def series_infos(split: Split, uids: list[str], task: Task) -> dict[str, SeriesInfo]:
    """`SeriesInfo` of each series, in the order of `uids`."""
    positives = split.spots[split.spots["kind"] == POSITIVE]
    by_series = dict(tuple(positives.groupby(SERIES_COLUMN)))
    infos = {}
    for uid in uids:
        row: Any = split.series.loc[uid]
        spots = by_series.get(uid, positives.iloc[:0])
        labels = row[list(task.labels)].to_numpy(dtype=np.float32)
        located = set(spots["location"])
        weights = np.ones(len(task.labels), dtype=np.float32)
        for position, label in enumerate(task.labels):
            if labels[position] and label in task.locations and label not in located:
                weights[position] = 0.0
        localized = bool(row["localized"])
        if not localized:
            weights[task.overall_index] = 0.0
        geometry = Geometry.from_row(row)
        infos[uid] = SeriesInfo(
            uid=uid,
            n=int(row["n"]),
            size=int(row["size"]),
            pixel_mm=pixel_mm(geometry, int(row["size"])),
            slice_mm=slice_mm(geometry),
            spacing_known=geometry.geometry_known,
            axis=flip_axis(geometry),
            plane=geometry.plane,
            localized=localized,
            indices=spots["index"].to_numpy(dtype=np.int64),
            points=spots[["x", "y"]].to_numpy(dtype=np.float64),
            locations=np.array(
                [task.locations.index(name) for name in spots["location"]], dtype=np.int64
            ),
            labels=labels,
            label_weights=weights,
        )
    return infos
