"""Maximum-intensity projections through a series, in the three directions that radiologists use.

A projection takes the maximum over a slab round the predicted point, not over the whole head: the
skull would hide every vessel of a CT angiogram. Arrays are transposed and flipped so that every
picture lies the radiological way, whichever plane the series was taken in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from src.imaging.geometry import CANONICAL_AXES, Geometry

Directions = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""LPS axis (0 left, 1 posterior, 2 superior) and sign in which columns, rows and slices grow."""

NO_PLANES = ("oblique", "unknown")
"""Planes of `Geometry` whose array axes have no anatomical names."""

SLAB_MM = 30.0
"""Thickness of the projected slab: holds the arteries round an aneurysm, leaves out most bone."""

ARRAY_AXES = (2, 1, 0)
"""Axis of a volume (slices, rows, columns) for the entries of `Directions`."""

END_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
"""Per LPS axis the letters of its negative and of its positive end (PS3.3 C.7.6.1.1.1)."""


@dataclass(frozen=True, eq=False)
class Projection:
    """One picture.

    Attributes:
        name: "axial", "coronal" or "sagittal", or the array axis projected along where the
            orientation is not known.
        image: float32 (h, w), values 0..5.
        pixel_mm: between rows and between columns.
        marks: letters of left edge, right edge, top and bottom, or None.
        point: x, y of the prediction in pixels of the image, or None.
        spots: x, y of labelled centres.
        slab_mm: thickness of the slab, or None for the whole series.
    """

    name: str
    image: np.ndarray
    pixel_mm: tuple[float, float]
    marks: tuple[str, str, str, str] | None
    point: tuple[float, float] | None
    spots: tuple[tuple[float, float], ...]
    slab_mm: float | None


def array_directions(geometry: Geometry) -> Directions | None:
    """Where the cached array's columns, rows and slices run; None where that is not known.

    It follows the array as it is, so it also holds for series that were kept in stored order.
    """
    if not geometry.geometry_known or geometry.plane in NO_PLANES:
        return None
    affine = geometry.affine
    found = []
    for axis in range(3):
        along = affine[:3, axis]
        strongest = int(np.abs(along).argmax())
        found.append((strongest, 1 if along[strongest] > 0 else -1))
    if len({axis for axis, _ in found}) < 3:
        return None
    return found[0], found[1], found[2]


def edge_letters(across: tuple[int, int], down: tuple[int, int]) -> tuple[str, str, str, str]:
    """Letters of left edge, right edge, top and bottom of a picture.

    Args:
        across: LPS axis and sign in which x grows.
        down: the same for y.
    """
    (left, right), (top, bottom) = (END_LETTERS[axis][::sign] for axis, sign in (across, down))
    return left, right, top, bottom


def project(
    volume: np.ndarray,
    directions: Directions | None,
    spacing: tuple[float, float, float],
    spacing_known: bool,
    point: tuple[float, float, float] | None,
    spots: Sequence[tuple[float, float, float]] = (),
) -> tuple[Projection, ...]:
    """Axial, coronal and sagittal projections of one series.

    Args:
        volume: (n, H, W), cached values 0..5.
        directions: see `array_directions`; where None, the array is shown as it lies.
        spacing: mm between slices, rows and columns of the volume, nominal where not known.
        spacing_known: where False, the whole series is projected instead of a slab.
        point: x, y in cache pixels and slice index; the middle of the slab.
        spots: labelled centres, likewise.
    """
    laid = directions or CANONICAL_AXES["axial"]
    array_axis = {axis: place for (axis, _), place in zip(laid, ARRAY_AXES, strict=True)}
    sign_of = dict(laid)
    pictures = []
    for name, (across, down, through) in CANONICAL_AXES.items():
        x_axis, y_axis, depth = (array_axis[axis] for axis, _ in (across, down, through))
        slab = slice(None)
        if point is not None and spacing_known:
            half = SLAB_MM / 2 / spacing[depth]
            middle = point[::-1][depth]
            slab = slice(max(round(middle - half), 0), max(round(middle + half), 0) + 1)
        cut = [slice(None)] * 3
        cut[depth] = slab
        image = volume[tuple(cut)].max(axis=depth).astype(np.float32)
        if x_axis < y_axis:  # what is left is in the order of the volume's axes
            image = image.T
        turn_x, turn_y = (sign_of[axis] != sign for axis, sign in (across, down))
        image = image[:: -1 if turn_y else 1, :: -1 if turn_x else 1]

        lies = (volume.shape, (x_axis, y_axis), (turn_x, turn_y))
        pictures.append(
            Projection(
                name=name if directions else f"along {('slices', 'rows', 'columns')[depth]}",
                image=np.ascontiguousarray(image),
                pixel_mm=(spacing[y_axis], spacing[x_axis]),
                marks=edge_letters(across, down) if directions else None,
                point=_place(point, *lies) if point is not None else None,
                spots=tuple(_place(spot, *lies) for spot in spots),
                slab_mm=SLAB_MM if slab != slice(None) else None,
            )
        )
    return tuple(pictures)


def _place(
    at: tuple[float, float, float],
    shape: tuple[int, ...],
    axes: tuple[int, int],
    turned: tuple[bool, bool],
) -> tuple[float, float]:
    """Column, row and slice of a volume -> x, y of a picture of two of its axes."""
    x, y = (
        shape[axis] - 1 - at[2 - axis] if turn else at[2 - axis]
        for axis, turn in zip(axes, turned, strict=True)
    )
    return x, y
