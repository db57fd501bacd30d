"""Maximum-intensity projections through a series, in the three directions that radiologists use.

A projection takes the maximum over a slab round the predicted point, not over the whole head: the
skull would hide every vessel of a CT angiogram. Arrays are transposed and flipped so that every
picture lies the radiological way, whichever plane the series was taken in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from intracranial.imaging.geometry import CANONICAL_AXES, MAX_PLANE_ANGLE, Geometry

SLAB_MM = 30.0
"""Thickness of the projected slab: holds the arteries round an aneurysm, leaves out most bone."""

ARRAY_AXES = (2, 1, 0)
"""Axis of a volume (slices, rows, columns) for each column of its directions."""

LETTER_ANGLE = 25.0
"""Degrees by which an edge leans towards a second or third direction before it has its letter too.

Tilts of usual head protocols stay below and keep single letters. An axis that makes a plane oblique
leans further: `MAX_PLANE_ANGLE` off, and evenly towards both others, is 27 degrees towards each.
"""

END_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
"""Per LPS axis the letters of its negative and of its positive end (PS3.3 C.7.6.1.1.1)."""


@dataclass(frozen=True, eq=False)
class Projection:
    """One picture.

    Attributes:
        name: "axial", "coronal" or "sagittal", with "oblique" before it where the direction of
            view is more than `MAX_PLANE_ANGLE` from that plane's normal; "along slices", "rows" or
            "columns" where the orientation is not known.
        image: float32 (h, w), values 0..5.
        pixel_mm: between rows and between columns.
        marks: letters of left edge, right edge, top and bottom, or None.
        point: x, y of the prediction in pixels of the image, or None.
        spots: x, y of labelled centres.
        slab_mm: thickness of the slab, less than `SLAB_MM` where the series ends; None for the
            whole series.
        place: of the slab's middle, see `place_in_words`; '' for the whole series.
    """

    name: str
    image: np.ndarray
    pixel_mm: tuple[float, float]
    marks: tuple[str, str, str, str] | None
    point: tuple[float, float] | None
    spots: tuple[tuple[float, float], ...]
    slab_mm: float | None
    place: str = ""


def array_directions(geometry: Geometry) -> np.ndarray | None:
    """Where the cached array's columns, rows and slices run; None where that is not known.

    It follows the array as it is, so it also holds for oblique series and for those that were kept
    in stored order.

    Returns:
        float64 (3, 3), a unit LPS vector per column: of growing columns, rows and slices.
    """
    if not geometry.geometry_known:
        return None
    steps = geometry.affine[:3, :3]
    directions: np.ndarray = steps / np.linalg.norm(steps, axis=0)
    return directions


def edge_letters(across: np.ndarray, down: np.ndarray) -> tuple[str, str, str, str]:
    """Letters of left edge, right edge, top and bottom of a picture.

    An edge between the patient's directions has several, the strongest first, as the values of
    Patient Orientation (PS3.3 C.7.6.1.1.1); see `LETTER_ANGLE`.

    Args:
        across: (3,) unit LPS vector in which x grows.
        down: the same for y.
    """
    return _letters(-across), _letters(across), _letters(-down), _letters(down)


def place_in_words(mm: np.ndarray, through: np.ndarray) -> str:
    """Where a picture lies along the direction of view, such as "L 17 mm", as viewers say it.

    So a sagittal picture has a side too, whose edges have none. It is the coordinate of the patient
    (PS3.3 C.7.6.2.1.1) nearest to the direction of view; the origin is the scanner's, not the
    middle of the head.

    Args:
        mm: (3,) LPS, a point of the picture.
        through: (3,) unit LPS vector, the direction of view.
    """
    axis = int(np.abs(through).argmax())
    return f"{END_LETTERS[axis][int(mm[axis] > 0)]} {abs(mm[axis]):.0f} mm"


def slice_letters(directions: np.ndarray | None) -> tuple[str, str, str, str] | None:
    """`edge_letters` of a slice as cached; None where its directions are not known."""
    return None if directions is None else edge_letters(directions[:, 0], directions[:, 1])


def _letters(direction: np.ndarray) -> str:
    least = np.sin(np.radians(LETTER_ANGLE))
    strongest_first = np.argsort(-np.abs(direction), kind="stable")
    return "".join(
        END_LETTERS[axis][int(direction[axis] > 0)]
        for axis in strongest_first
        if abs(direction[axis]) > least
    )


def project(
    volume: np.ndarray,
    directions: np.ndarray | None,
    spacing: tuple[float, float, float],
    point: tuple[float, float, float] | None,
    spots: Sequence[tuple[float, float, float]] = (),
    point_mm: np.ndarray | None = None,
) -> tuple[Projection, ...]:
    """Projections of one series along its array axes, nearest to axial, coronal and sagittal.

    Args:
        volume: (n, H, W), cached values 0..5.
        directions: see `array_directions`; where None, the array is shown as it lies, and whole,
            for no slab can be measured.
        spacing: mm between slices, rows and columns of the volume, nominal where not known.
        point: x, y in cache pixels and slice index; the middle of the slab.
        spots: labelled centres, likewise.
        point_mm: (3,) LPS, the point in the patient; None where it is not known.
    """
    laid = np.eye(3) if directions is None else directions
    nearest = _nearest_axes(laid)
    pictures = []
    for plane, canonical in CANONICAL_AXES.items():
        column, row, through = (nearest.index(axis) for axis, _ in canonical)  # columns of `laid`
        turn_x, turn_y = (
            bool(laid[axis, k] * sign < 0)
            for k, (axis, sign) in zip((column, row), canonical[:2], strict=True)
        )
        x_axis, y_axis, depth = (ARRAY_AXES[k] for k in (column, row, through))
        slab, slab_mm = slice(None), None
        if directions is not None and point is not None:
            slab = _slab(point[through], volume.shape[depth], spacing[depth])
            slab_mm = min(SLAB_MM, (slab.stop - slab.start) * spacing[depth])
        cut = [slice(None)] * 3
        cut[depth] = slab
        image = volume[tuple(cut)].max(axis=depth).astype(np.float32)
        if x_axis < y_axis:  # what is left is in the order of the volume's axes
            image = image.T
        image = image[:: -1 if turn_y else 1, :: -1 if turn_x else 1]

        lies = (volume.shape, (x_axis, y_axis), (turn_x, turn_y))
        name, marks = f"along {('slices', 'rows', 'columns')[depth]}", None
        if directions is not None:
            upright = abs(laid[canonical[2][0], through]) >= np.cos(np.radians(MAX_PLANE_ANGLE))
            name = plane if upright else f"oblique {plane}"
            across, down = laid[:, column], laid[:, row]
            marks = edge_letters(-across if turn_x else across, -down if turn_y else down)
        pictures.append(
            Projection(
                name=name,
                image=np.ascontiguousarray(image),
                pixel_mm=(spacing[y_axis], spacing[x_axis]),
                marks=marks,
                point=_place(point, *lies) if point is not None else None,
                spots=tuple(_place(spot, *lies) for spot in spots),
                slab_mm=slab_mm,
                place=(
                    place_in_words(point_mm, laid[:, through])
                    if slab_mm is not None and point_mm is not None
                    else ""
                ),
            )
        )
    return tuple(pictures)


def _nearest_axes(directions: np.ndarray) -> tuple[int, ...]:
    """LPS axes nearest to columns, rows and slices together, each taken once."""
    cosines = np.abs(directions)
    return max(permutations(range(3)), key=lambda axes: cosines[axes, (0, 1, 2)].sum())


def _slab(middle: float, count: int, mm: float) -> slice:
    """The slab round an index along an axis of `count` voxels that are `mm` apart."""
    half = SLAB_MM / 2 / mm
    return slice(max(round(middle - half), 0), min(max(round(middle + half), 0) + 1, count))


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
