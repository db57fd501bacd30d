"""What training needs to know of one cached series, from the split's tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from intracranial.imaging.geometry import Geometry, mirror_axis, reorientation
from intracranial.splits.folds import Split
from intracranial.tasks import Task

NOMINAL_FIELD_MM = 220.0
"""Assumed field of view where the pixel spacing is unknown: a head and a little air."""

NOMINAL_SLICE_MM = 1.0
"""Assumed slice spacing where the geometry is unknown."""


@dataclass(frozen=True)
class SeriesInfo:
    """One cached series.

    Attributes:
        uid: SeriesInstanceUID.
        n: slices.
        size: rows and columns of a slice in cache pixels.
        pixel_mm: mm per cache pixel along (x, y).
        slice_mm: mm between slices, nominal where `spacing_known` is False.
        spacing_known: whether it is known.
        axis: what a left-right flip reverses (see `mirror_axis`); None where none may be made.
        plane: of the slices.
        localized: whether every positive location has a localizer.
        indices: int64 (m,), slices of the findings.
        points: float64 (m, 2), their x, y in cache pixels.
        locations: int64 (m,) into task.locations; -1 where it is not known which.
        labels: float32 (L,) of 0, 1, and NaN where a label is not known.
        label_weights: float32 (L,), 0 where a per-slice label is not known: the series' label is
            not, or it has the label but no localizer for it.
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
    infos = {}
    for uid in uids:
        row: Any = split.series.loc[uid]
        findings = split.findings.get(uid, ())
        labels = row[list(task.labels)].to_numpy(dtype=np.float32)
        localized = bool(row["localized"])
        geometry = Geometry.from_row(row)
        infos[uid] = SeriesInfo(
            uid=uid,
            n=int(row["n"]),
            size=int(row["size"]),
            pixel_mm=pixel_mm(geometry, int(row["size"])),
            slice_mm=slice_mm(geometry),
            spacing_known=geometry.geometry_known,
            axis=flip_axis(geometry) if task.flips else None,
            plane=geometry.plane,
            localized=localized,
            indices=np.array([found.index for found in findings], dtype=np.int64),
            points=np.array([(found.x, found.y) for found in findings], dtype=np.float64).reshape(
                -1, 2
            ),
            locations=np.array(
                [
                    task.locations.index(found.location) if found.location else -1
                    for found in findings
                ],
                dtype=np.int64,
            ),
            labels=labels,
            label_weights=_slice_weights(
                task, labels, {found.location for found in findings}, localized
            ),
        )
    return infos


def _slice_weights(
    task: Task, labels: np.ndarray, located: set[str], localized: bool
) -> np.ndarray:
    """1 for each label that is known of every slice of a series, else 0: float32 (L,).

    Args:
        task: the labels.
        labels: of the series, (L,), NaN where not known.
        located: locations with a localizer.
        localized: whether all positive ones have one.
    """
    weights = (~np.isnan(labels)).astype(np.float32)
    for position, label in enumerate(task.labels):
        if labels[position] == 1 and label in task.locations and label not in located:
            weights[position] = 0.0
    if task.locations and task.overall is not None:
        overall = task.labels.index(task.overall)
        # a finding at a location that nobody has looked at may be in any slice
        unknown = np.isnan(labels[task.label_of_location()]).any() and labels[overall] != 0
        if not localized or unknown:
            weights[overall] = 0.0
    return weights
