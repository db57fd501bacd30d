"""What training needs to know of one cached series, from the split's tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.sampling.augment import mirror_axis
from src.sampling.folds import Split
from src.sampling.spots import POSITIVE
from src.task import SERIES_COLUMN, Task

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


def pixel_mm(row: "pd.Series[Any]") -> tuple[float, float]:
    """Mm per cache pixel along x and y, from a row of the split's series table."""
    columns, rows = (
        (row["rows"], row["columns"]) if row["transpose"] else (row["columns"], row["rows"])
    )
    x = row["spacing_column"] * columns / row["size"]
    y = row["spacing_row"] * rows / row["size"]
    nominal = NOMINAL_FIELD_MM / row["size"]
    return (
        float(x) if np.isfinite(x) and x > 0 else nominal,
        float(y) if np.isfinite(y) and y > 0 else nominal,
    )


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
        spacing = float(row["spacing_slice"])
        spacing_known = bool(row["geometry_known"]) and np.isfinite(spacing) and spacing > 0
        infos[uid] = SeriesInfo(
            uid=uid,
            n=int(row["n"]),
            size=int(row["size"]),
            pixel_mm=pixel_mm(row),
            slice_mm=spacing if spacing_known else NOMINAL_SLICE_MM,
            spacing_known=spacing_known,
            axis=mirror_axis(row["plane"], bool(row["geometry_known"])),
            plane=str(row["plane"]),
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
