"""Orientation of a series and the maps between its pixels, the caches and the patient.

Patient coordinates are DICOM LPS in mm: x to the patient's left, y to posterior, z to superior
(PS3.3 C.7.6.2.1.1). Image x is a column index, y a row index; integers are pixel centres.

Three frames of reference for a point of a series:

* stored: (x, y) in the image as the file has it, plus the slice's index in canonical order;
* canonical: the same pixels after transposes and flips only, see `CANONICAL_AXES`;
* cache: canonical, resized to a square; pixel centres map as (x + 0.5) * scale - 0.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Plane = Literal["axial", "coronal", "sagittal", "oblique", "unknown"]

CANONICAL_AXES: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "axial": ((0, 1), (1, 1), (2, 1)),
    "coronal": ((0, 1), (2, -1), (1, 1)),
    "sagittal": ((1, 1), (2, -1), (0, 1)),
}
"""Per plane the LPS axis and sign in which columns, rows and slices grow.

Axial: columns to the left, rows to posterior, slices to superior. Coronal: columns to the left,
rows to inferior, slices to posterior. Sagittal: columns to posterior, rows to inferior, slices to
the left.
"""

PLANE_OF_NORMAL: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")

MAX_PLANE_ANGLE = 40.0
"""Degrees by which any image axis may leave its canonical axis before a plane counts as oblique.

Gantry tilt and angulated head protocols stay below 30; at 45 the nearest plane is a coin toss.
"""


THICKNESS_COLUMN = "slice_thickness"
"""Column of train_meta.csv: SliceThickness in mm; empty where the files do not state it. Tables of
the first versions lack the column."""

GEOMETRY_COLUMNS = (
    "plane",
    "left",
    "geometry_known",
    "rows",
    "columns",
    "spacing_slice",
    "spacing_row",
    "spacing_column",
    "orientation",
    "transpose",
    "flip_rows",
    "flip_cols",
    "flip_slices",
    "origin",
    "slice_step",
)
"""Keys of `Geometry.to_row`, in the order of the table."""


@dataclass(frozen=True)
class Geometry:
    """Where the slices of one series lie and how they were brought into canonical order.

    Attributes:
        plane: nearest anatomical plane; "oblique" beyond `MAX_PLANE_ANGLE`, "unknown" without
            usable positions and orientation.
        shape: rows and columns of an image as stored.
        spacing: mm between canonical slices, rows and columns; nominal where `geometry_known`
            is False (1 mm between slices and a usual field of view, if the file says nothing).
        iop: ImageOrientationPatient as stored, unit vectors; None when the file has none.
        origin: mm, ImagePositionPatient of canonical slice 0.
        slice_step: mm vector from a canonical slice to the next, on average; it leaves the slice
            normal when the gantry was tilted.
        transpose: rows and columns were exchanged (before the flips).
        flip_rows: row order was reversed.
        flip_cols: column order was reversed.
        flip_slices: slices run against the stored normal (cross product of `iop`).
        geometry_known: positions, orientation and spacing come from the file, not from defaults.
    """

    plane: Plane
    shape: tuple[int, int]
    spacing: tuple[float, float, float]
    iop: tuple[float, ...] | None
    origin: tuple[float, float, float]
    slice_step: tuple[float, float, float]
    transpose: bool = False
    flip_rows: bool = False
    flip_cols: bool = False
    flip_slices: bool = False
    geometry_known: bool = True

    @property
    def canonical_shape(self) -> tuple[int, int]:
        """Rows and columns of a canonical slice."""
        rows, columns = self.shape
        return (columns, rows) if self.transpose else (rows, columns)

    @property
    def stored_spacing(self) -> tuple[float, float]:
        """Mm between stored rows and between stored columns, as PixelSpacing has them."""
        _, row, column = self.spacing
        return (column, row) if self.transpose else (row, column)

    @property
    def affine(self) -> np.ndarray:
        """Float64 (4, 4): canonical (column, row, slice, 1) to patient mm, for even spacing."""
        corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # (column, row)
        in_plane = _in_plane_mm(self, canonical_to_stored(self, corners))
        affine = np.eye(4)
        affine[:3, 0] = in_plane[1] - in_plane[0]
        affine[:3, 1] = in_plane[2] - in_plane[0]
        affine[:3, 2] = self.slice_step
        affine[:3, 3] = np.asarray(self.origin) + in_plane[0]
        return affine

    @property
    def left(self) -> str:
        """Axis of the canonical array that runs to the patient's left, and its sign.

        "columns+" for canonical axial and coronal series, "slices+" for sagittal ones; "-" where
        the index grows to the right, as stored arrays may; "" where no axis is within
        `MAX_PLANE_ANGLE` of it, or the orientation is unknown. It is told to people who look into
        the arrays; what a flip may do follows from plane and orientation.
        """
        if self.plane == "unknown":
            return ""
        steps = self.affine[:3, :3]
        sideways = steps[0] / np.linalg.norm(steps, axis=0)  # cosines with the patient's left
        axis = int(np.argmax(np.abs(sideways)))
        if abs(sideways[axis]) < np.cos(np.radians(MAX_PLANE_ANGLE)):
            return ""
        return ("columns", "rows", "slices")[axis] + ("+" if sideways[axis] > 0 else "-")

    def to_row(self) -> dict[str, Any]:
        """Table cells: plain numbers and text, vectors separated by spaces."""
        slice_mm, row_mm, column_mm = self.spacing
        return {
            "rows": self.shape[0],
            "columns": self.shape[1],
            "spacing_slice": slice_mm,
            "spacing_row": row_mm,
            "spacing_column": column_mm,
            "plane": self.plane,
            "left": self.left,
            "orientation": "" if self.iop is None else _join(self.iop),
            "origin": _join(self.origin),
            "slice_step": _join(self.slice_step),
            "transpose": int(self.transpose),
            "flip_rows": int(self.flip_rows),
            "flip_cols": int(self.flip_cols),
            "flip_slices": int(self.flip_slices),
            "geometry_known": int(self.geometry_known),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Geometry":
        """Inverse of `to_row`, where `left` only repeats; `row` may be one of train_meta.csv."""
        iop = row["orientation"]
        has_iop = isinstance(iop, str) and iop.strip() != ""
        return cls(
            plane=row["plane"],
            shape=(int(row["rows"]), int(row["columns"])),
            spacing=(
                float(row["spacing_slice"]),
                float(row["spacing_row"]),
                float(row["spacing_column"]),
            ),
            iop=tuple(map(float, iop.split())) if has_iop else None,
            origin=_triple(row["origin"]),
            slice_step=_triple(row["slice_step"]),
            transpose=bool(int(row["transpose"])),
            flip_rows=bool(int(row["flip_rows"])),
            flip_cols=bool(int(row["flip_cols"])),
            flip_slices=bool(int(row["flip_slices"])),
            geometry_known=bool(int(row["geometry_known"])),
        )


def _join(values: tuple[float, ...]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _triple(text: str) -> tuple[float, float, float]:
    x, y, z = map(float, text.split())
    return (x, y, z)


@dataclass(frozen=True)
class Reorientation:
    """What makes images of one stored orientation canonical; fields as in `Geometry`."""

    plane: Plane
    transpose: bool
    flip_rows: bool
    flip_cols: bool
    flip_slices: bool


def mirror_axis(plane: str) -> Literal["columns", "slices"] | None:
    """Axis of a canonical array that a left-right flip of the head reverses.

    "columns" for axial and coronal series, "slices" for sagittal ones, None where left and right
    cannot be told (oblique or unknown planes).
    """
    if plane in ("axial", "coronal"):
        return "columns"
    return "slices" if plane == "sagittal" else None


def slice_normal(iop: tuple[float, ...]) -> np.ndarray:
    """Unit normal, float64 (3,): cross product of row and column cosines (PS3.3 C.7.6.2.1.1)."""
    normal = np.cross(iop[:3], iop[3:])
    return normal / np.linalg.norm(normal)


def reorientation(iop: tuple[float, ...], orient: str = "canonical") -> Reorientation:
    """Plane and the transposes and flips that bring a stored orientation into canonical order.

    Args:
        iop: ImageOrientationPatient, six cosines: direction of growing columns, then of rows.
        orient: "canonical", or "stored" to change nothing (slices still along the normal).
    """
    along_columns, along_rows = np.asarray(iop[:3]), np.asarray(iop[3:])
    normal = slice_normal(iop)
    plane = PLANE_OF_NORMAL[int(np.argmax(np.abs(normal)))]
    (column_axis, column_sign), (row_axis, row_sign), (slice_axis, slice_sign) = CANONICAL_AXES[
        plane
    ]
    straight = abs(along_columns[column_axis]) + abs(along_rows[row_axis])
    crossed = abs(along_rows[column_axis]) + abs(along_columns[row_axis])
    transpose = bool(crossed > straight)
    if transpose:
        along_columns, along_rows = along_rows, along_columns
    cosines = (along_columns[column_axis], along_rows[row_axis], normal[slice_axis])
    angle = max(float(np.degrees(np.arccos(min(abs(c), 1.0)))) for c in cosines)
    named: Plane = "oblique" if angle > MAX_PLANE_ANGLE else plane
    if orient == "stored":
        # A transposed axial or coronal image has left and right along its rows, which
        # `mirror_axis` does not describe, so such a series is not flipped.
        sideways = transpose and plane != "sagittal"
        return Reorientation("oblique" if sideways else named, False, False, False, False)
    return Reorientation(
        named,
        transpose,
        flip_rows=bool(along_rows[row_axis] * row_sign < 0),
        flip_cols=bool(along_columns[column_axis] * column_sign < 0),
        flip_slices=bool(normal[slice_axis] * slice_sign < 0),
    )


def to_canonical(images: np.ndarray, how: Reorientation | Geometry) -> np.ndarray:
    """Transpose and flip images (n, rows, cols) whose slices are already in canonical order."""
    if how.transpose:
        images = images.transpose(0, 2, 1)  # (n, rows, cols) -> (n, cols, rows)
    if how.flip_rows:
        images = images[:, ::-1, :]
    if how.flip_cols:
        images = images[:, :, ::-1]
    return np.ascontiguousarray(images)


def stored_to_canonical(geometry: Geometry, points: np.ndarray) -> np.ndarray:
    """Stored pixel coordinates to canonical ones, float64 (k, 2) as x, y in both."""
    moved = np.array(points, dtype=np.float64, ndmin=2)
    if geometry.transpose:
        moved = moved[:, ::-1].copy()
    rows, columns = geometry.canonical_shape
    if geometry.flip_cols:
        moved[:, 0] = columns - 1 - moved[:, 0]
    if geometry.flip_rows:
        moved[:, 1] = rows - 1 - moved[:, 1]
    return moved


def canonical_to_stored(geometry: Geometry, points: np.ndarray) -> np.ndarray:
    """Canonical pixel coordinates to stored ones, float64 (k, 2) as x, y in both."""
    moved = np.array(points, dtype=np.float64, ndmin=2)
    rows, columns = geometry.canonical_shape
    if geometry.flip_cols:
        moved[:, 0] = columns - 1 - moved[:, 0]
    if geometry.flip_rows:
        moved[:, 1] = rows - 1 - moved[:, 1]
    return moved[:, ::-1].copy() if geometry.transpose else moved


def cache_scale(geometry: Geometry, size: int) -> tuple[float, float]:
    """Cache pixels per canonical pixel along x and y for a square cache of `size` pixels."""
    rows, columns = geometry.canonical_shape
    return size / columns, size / rows


def stored_to_cache(geometry: Geometry, points: np.ndarray, size: int) -> np.ndarray:
    """Stored pixel coordinates to cache pixels, float64 (k, 2) as x, y in both."""
    return (stored_to_canonical(geometry, points) + 0.5) * cache_scale(geometry, size) - 0.5


def cache_to_stored(geometry: Geometry, points: np.ndarray, size: int) -> np.ndarray:
    """Cache pixels to stored pixel coordinates, float64 (k, 2) as x, y in both."""
    cached = np.array(points, dtype=np.float64, ndmin=2)
    return canonical_to_stored(geometry, (cached + 0.5) / cache_scale(geometry, size) - 0.5)


def _in_plane_mm(geometry: Geometry, stored: np.ndarray) -> np.ndarray:
    """Offset in mm, (k, 3), of stored pixels (k, 2) from their slice's position."""
    iop = np.asarray(geometry.iop if geometry.iop else (1, 0, 0, 0, 1, 0), dtype=np.float64)
    row_mm, column_mm = geometry.stored_spacing
    offset: np.ndarray = (
        stored[:, :1] * column_mm * iop[None, :3] + stored[:, 1:] * row_mm * iop[None, 3:]
    )
    return offset


def _slice_origins(geometry: Geometry, positions: np.ndarray) -> np.ndarray:
    """Positions (n, 3) of the slices in mm; evenly spaced nominal ones if geometry is unknown."""
    positions = np.array(positions, dtype=np.float64, ndmin=2)
    if geometry.geometry_known:
        return positions
    steps = np.arange(len(positions), dtype=np.float64)[:, None]
    return np.asarray(geometry.origin) + steps * np.asarray(geometry.slice_step)


def _origins_at(geometry: Geometry, positions: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Slice positions (k, 3) at fractional slice indices (k,); beyond the ends by the mean step."""
    origins = _slice_origins(geometry, positions)
    inside = np.clip(index, 0, len(origins) - 1)
    grid = np.arange(len(origins))
    within = np.stack([np.interp(inside, grid, origins[:, axis]) for axis in range(3)], axis=1)
    beyond: np.ndarray = (index - inside)[:, None] * np.asarray(geometry.slice_step)
    return within + beyond


def stored_to_patient(geometry: Geometry, points: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Stored pixels to patient mm, PS3.3 C.7.6.2.1.1.

    Args:
        geometry: the series' geometry.
        points: (k, 3): stored x, stored y, canonical slice index (fractions interpolate).
        positions: (n, 3) mm, ImagePositionPatient per canonical slice, as in slices.csv.

    Returns:
        float64 (k, 3) LPS mm; nominal mm where the geometry is unknown.
    """
    points = np.array(points, dtype=np.float64, ndmin=2)
    return _origins_at(geometry, positions, points[:, 2]) + _in_plane_mm(geometry, points[:, :2])


def patient_to_stored(geometry: Geometry, mm: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Inverse of `stored_to_patient`: LPS mm (k, 3) to stored x, y and canonical slice index."""
    mm = np.array(mm, dtype=np.float64, ndmin=2)
    iop = geometry.iop if geometry.iop else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    normal = slice_normal(iop)
    origins = _slice_origins(geometry, positions)
    step = float(np.asarray(geometry.slice_step) @ normal)
    depth = origins @ normal * np.sign(step)  # ascending, as np.interp needs
    wanted = mm @ normal * np.sign(step)
    index = np.interp(wanted, depth, np.arange(len(depth)))
    outside = wanted - np.clip(wanted, depth[0], depth[-1])
    index = index + outside / abs(step)
    rest = mm - _origins_at(geometry, positions, index)
    row_mm, column_mm = geometry.stored_spacing
    x = rest @ np.asarray(iop[:3]) / column_mm
    y = rest @ np.asarray(iop[3:]) / row_mm
    return np.stack([x, y, index], axis=1)


def cache_to_patient(
    geometry: Geometry, points: np.ndarray, positions: np.ndarray, size: int
) -> np.ndarray:
    """Cache x, y and slice index (k, 3) to patient mm (k, 3); arguments as above."""
    points = np.array(points, dtype=np.float64, ndmin=2)
    stored = cache_to_stored(geometry, points[:, :2], size)
    return stored_to_patient(geometry, np.concatenate([stored, points[:, 2:]], 1), positions)


def patient_to_cache(
    geometry: Geometry, mm: np.ndarray, positions: np.ndarray, size: int
) -> np.ndarray:
    """Patient mm (k, 3) to cache x, y and slice index (k, 3)."""
    stored = patient_to_stored(geometry, mm, positions)
    cached = stored_to_cache(geometry, stored[:, :2], size)
    return np.concatenate([cached, stored[:, 2:]], axis=1)
