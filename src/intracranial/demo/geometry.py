"""Acquisition parameters and the map between voxels and patient LPS millimetres."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Plane = Literal["axial", "coronal", "sagittal"]
TransferSyntax = Literal["explicit", "implicit", "rle", "jpeg2000"]
InstanceOrder = Literal["ascending", "descending", "shuffled"]
Vector = tuple[float, float, float]
FloatArray = NDArray[np.float64]

PLANE_AXES: dict[Plane, tuple[Vector, Vector]] = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}
"""Directions of increasing column and of increasing row in LPS, the usual way to store each."""


@dataclass(frozen=True)
class Acquisition:
    """How one series is acquired and stored; nothing here depends on the labels."""

    modality: str
    """One of intracranial.tasks.MODALITIES: CTA, MRA, MRI T2 or MRI T1post."""
    plane: Plane = "axial"
    """Nominal plane; `orientation` is what counts."""
    n_slices: int = 40
    rows: int = 256
    columns: int = 256
    pixel_spacing: tuple[float, float] = (0.8, 0.8)
    """Distance between rows, then between columns, in mm (DICOM order)."""
    slice_spacing: float = 2.5
    """Distance between slice centres along the normal, in mm."""
    slice_thickness: float = 2.5
    """Width of the slice profile, in mm; may differ from the spacing."""
    centre: Vector = (0.0, 0.0, 0.0)
    """Centre of the volume, patient LPS mm."""
    orientation: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """ImageOrientationPatient: direction of increasing column, then of increasing row."""
    reverse_slices: bool = False
    """Slice 0 lies at the far end of the normal."""
    instance_order: InstanceOrder = "ascending"
    """How InstanceNumber (single-frame) or the stored frame number runs along the slices."""
    multiframe: bool = False
    """One enhanced multi-frame object instead of one file per slice."""
    transfer_syntax: TransferSyntax = "explicit"
    intercept: float = -1024.0
    """RescaleIntercept of CT in HU; MR is stored without one."""
    signed: bool = False
    """Store CT as signed integers (PixelRepresentation 1)."""
    noise: float = 1.0
    """Noise level relative to the modality's usual one; 0 renders without noise."""
    contrast_seed: int = 0
    """Seed of the contrast, coil and noise draws of this series."""

    def direction(self, axis: Literal["column", "row", "normal"]) -> FloatArray:
        """Unit vector (3,) of increasing column, of increasing row, or of the slice normal."""
        column = np.asarray(self.orientation[:3], float)
        row = np.asarray(self.orientation[3:], float)
        if axis == "column":
            return column
        return row if axis == "row" else np.cross(column, row)


@dataclass(frozen=True)
class Grid:
    """Affine map from voxel indices (slice, row, column) to a space in mm."""

    origin: FloatArray
    """(3,) position of voxel (0, 0, 0)'s centre, in mm."""
    steps: FloatArray
    """(3, 3); row a is the displacement per unit of index a, in mm."""
    shape: tuple[int, int, int]

    def to_space(self, index: FloatArray) -> FloatArray:
        """Positions (..., 3) in mm of fractional indices (..., 3)."""
        return self.origin + np.asarray(index, float) @ self.steps

    def to_index(self, points: FloatArray) -> FloatArray:
        """Fractional indices (..., 3) as slice, row, column of positions (..., 3) in mm."""
        return (np.asarray(points, float) - self.origin) @ np.linalg.inv(self.steps)

    def mapped(self, matrix: FloatArray, offset: FloatArray) -> "Grid":
        """The same voxels in the space q = matrix @ p + offset."""
        return Grid(matrix @ self.origin + offset, self.steps @ matrix.T, self.shape)


def grid_of(acquisition: Acquisition) -> Grid:
    """Voxel grid of an acquisition in patient LPS mm."""
    shape = (acquisition.n_slices, acquisition.rows, acquisition.columns)
    sign = -1.0 if acquisition.reverse_slices else 1.0
    steps = np.stack(
        [
            sign * acquisition.slice_spacing * acquisition.direction("normal"),
            acquisition.pixel_spacing[0] * acquisition.direction("row"),
            acquisition.pixel_spacing[1] * acquisition.direction("column"),
        ]
    )
    middle = (np.asarray(shape, float) - 1.0) / 2.0
    return Grid(np.asarray(acquisition.centre, float) - middle @ steps, steps, shape)


def rotation(pitch: float, roll: float, yaw: float) -> FloatArray:
    """Rotation (3, 3) by angles in degrees about patient x (pitch), y (roll) and z (yaw)."""
    a, b, c = (math.radians(angle) for angle in (pitch, roll, yaw))
    about_x = np.array(
        [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]], float
    )
    about_y = np.array(
        [[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]], float
    )
    about_z = np.array(
        [[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]], float
    )
    return about_z @ about_y @ about_x


def plane_orientation(
    plane: Plane, tilt: float = 0.0
) -> tuple[float, float, float, float, float, float]:
    """ImageOrientationPatient of a plane, tilted by `tilt` degrees about the left-right axis."""
    turn = rotation(tilt, 0.0, 0.0)
    column, row = (turn @ np.asarray(axis) for axis in PLANE_AXES[plane])
    values = [round(float(value), 9) + 0.0 for value in (*column, *row)]
    return (values[0], values[1], values[2], values[3], values[4], values[5])
