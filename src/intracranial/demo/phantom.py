"""A synthetic head: who it is, where its vessels and aneurysms lie, and what a scanner sees.

Coordinates are patient LPS in mm unless a name says `head`: canonical head coordinates, in which
all heads look alike; a pose turns one into the other.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from intracranial.demo.contrast import Contrast, draw_contrast
from intracranial.demo.geometry import Acquisition, Grid, grid_of, rotation
from intracranial.demo.head import Anatomy, draw_anatomy, tissue_fractions
from intracranial.demo.sacs import (
    Aneurysm,
    Blob,
    Mimics,
    draw_aneurysm,
    draw_locations,
    draw_mimics,
)
from intracranial.demo.streams import Purpose, stream
from intracranial.demo.vessels import VesselTree, make_vessels

FloatArray = NDArray[np.float64]
Volume = NDArray[np.float32]

TILT_DEGREES = 4.0
"""Standard deviation of pitch, roll and yaw."""
SHIFT_MM = 3.5
"""Standard deviation of the head's shift along each axis."""
SUBSLICE_MM = 1.3
"""Vessels are drawn on slices at most this far apart and then averaged over the slice profile."""
TISSUE_STEP = 2
"""Pixels between the points at which tissues are evaluated; they are interpolated between."""


@dataclass(frozen=True)
class Finding:
    """An aneurysm in patient space: location name, centre (3,) in LPS mm, radius in mm."""

    location: str
    centre: FloatArray
    radius: float


@dataclass(frozen=True)
class Patient:
    """One synthetic person."""

    seed: int
    index: int
    anatomy: Anatomy
    tree: VesselTree
    sacs: tuple[Aneurysm, ...]
    mimics: Mimics
    turn: FloatArray
    """(3, 3) rotation from head to patient coordinates."""
    shift: FloatArray
    """(3,) mm, added after the rotation."""

    @property
    def aneurysms(self) -> tuple[Finding, ...]:
        """Where the aneurysms are in patient space."""
        return tuple(
            Finding(sac.location, self.to_patient(sac.centre), sac.radius) for sac in self.sacs
        )

    def to_patient(self, head: FloatArray) -> FloatArray:
        """Head coordinates (..., 3) to patient LPS mm."""
        return (head * self.anatomy.scale) @ self.turn.T + self.shift


def make_patient(seed: int, index: int) -> Patient:
    """Draw a patient; every aspect has a random stream of its own.

    Args:
        seed: seed of the data set.
        index: number of the patient.
    """
    tree = make_vessels(stream(seed, index, Purpose.VESSELS))
    sac_rng = stream(seed, index, Purpose.SACS)
    locations = draw_locations(stream(seed, index, Purpose.LABELS))
    pose = stream(seed, index, Purpose.DEMOGRAPHICS)
    return Patient(
        seed=seed,
        index=index,
        anatomy=draw_anatomy(stream(seed, index, Purpose.ANATOMY)),
        tree=tree,
        sacs=tuple(draw_aneurysm(tree, location, sac_rng) for location in locations),
        mimics=draw_mimics(tree, stream(seed, index, Purpose.MIMICS)),
        turn=rotation(*(pose.normal(0.0, TILT_DEGREES, 3).clip(-9, 9))),
        shift=pose.normal(0.0, SHIFT_MM, 3).clip(-9, 9),
    )


def render(patient: Patient, acquisition: Acquisition) -> Volume:
    """What the scanner sees: float32 (n, rows, columns), HU for CTA, arbitrary units for MR.

    The signal does not depend on the labels but for the sac itself: no intensity is scaled by what
    is in the volume.
    """
    grid = grid_of(acquisition)
    contrast = draw_contrast(
        acquisition.modality,
        acquisition.noise,
        np.random.default_rng([acquisition.contrast_seed, int(Purpose.CONTRAST)]),
    )
    rng = np.random.default_rng([acquisition.contrast_seed, int(Purpose.NOISE)])
    volume = _tissues(patient, grid, contrast, acquisition)
    _texture(volume, contrast, rng)
    step_mm = abs(acquisition.slice_spacing)
    layers = max(1, round(max(acquisition.slice_thickness, step_mm) / SUBSLICE_MM))
    vein, artery, plaque = _vessels(patient, grid, acquisition, layers)
    volume += vein * (contrast.vein - volume)
    level = np.full(grid.shape[0], contrast.artery, dtype=np.float32)
    if contrast.inflow:
        # blood loses signal on its way up through a time-of-flight slab
        height = _slice_heights(grid)
        level *= 1 - contrast.inflow * np.clip((height - height.min()) / 120.0, 0, 1)
    volume += artery * (level[:, None, None] - volume)
    volume += plaque * (contrast.plaque - volume)
    return _measured(volume, contrast, rng)


def _slice_heights(grid: Grid) -> Volume:
    middle = np.array([[i, grid.shape[1] / 2, grid.shape[2] / 2] for i in range(grid.shape[0])])
    return grid.to_space(middle)[:, 2].astype(np.float32)


def _head_points(patient: Patient, grid: Grid, step: int) -> NDArray[np.float32]:
    """Head coordinates in mm of every `step`-th pixel, the last one included: (n, r, c, 3)."""
    n, rows, columns = grid.shape
    row = np.linspace(0, rows - 1, -(-rows // step))
    column = np.linspace(0, columns - 1, -(-columns // step))
    origin = (grid.origin - patient.shift) @ patient.turn
    steps = grid.steps @ patient.turn
    points = (
        origin
        + np.arange(n)[:, None, None, None] * steps[0]
        + row[None, :, None, None] * steps[1]
        + column[None, None, :, None] * steps[2]
    )
    return points.astype(np.float32)


def _tissues(patient: Patient, grid: Grid, contrast: Contrast, acquisition: Acquisition) -> Volume:
    n, rows, columns = grid.shape
    volume = np.empty(grid.shape, dtype=np.float32)
    points = _head_points(patient, grid, TISSUE_STEP)
    soft = 0.8 * TISSUE_STEP * float(np.mean(acquisition.pixel_spacing))
    for index in range(n):  # slice by slice keeps memory small
        fractions = tissue_fractions(patient.anatomy, points[index], soft)
        signal = np.tensordot(contrast.tissue, fractions, axes=1).astype(np.float32)
        volume[index] = cv2.resize(signal, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return volume


def _texture(volume: Volume, contrast: Contrast, rng: np.random.Generator) -> None:
    """Add slow variations of the tissue signal, in place."""
    n, rows, columns = volume.shape
    coarse = rng.normal(size=(n, max(rows // 6, 2), max(columns // 6, 2))).astype(np.float32)
    for index in range(n):
        wave = cv2.resize(coarse[index], (columns, rows), interpolation=cv2.INTER_CUBIC)
        inside = volume[index] > (-200 if not contrast.magnitude else 12)
        volume[index] += contrast.texture * wave * inside


def _vessels(
    patient: Patient, grid: Grid, acquisition: Acquisition, layers: int
) -> tuple[Volume, Volume, Volume]:
    """Shares of vein, artery (with sacs and bulges) and plaque in every voxel, 0..1."""
    n, rows, columns = grid.shape
    steps = grid.steps.copy()
    steps[0] /= layers
    fine = Grid(grid.origin - steps[0] * (layers - 1) / 2, steps, (n * layers, rows, columns))
    spacing = np.linalg.norm(steps, axis=1)
    vein, artery, plaque = (np.zeros(fine.shape, dtype=np.float32) for _ in range(3))
    scale = float(patient.anatomy.scale.mean())

    def add(canvas: Volume, centres: FloatArray, radii: FloatArray) -> None:
        index = fine.to_index(patient.to_patient(np.asarray(centres, float)))
        _paint(canvas, index, np.asarray(radii, float) * scale, spacing)

    for curve in patient.tree.veins.values():
        add(vein, curve.points, curve.radii)
    for curve in patient.tree.arteries.values():
        add(artery, curve.points, curve.radii)
    lumens: list[Blob] = [sac.lumen for sac in patient.sacs]
    for blob in (*lumens, *patient.mimics.bulges):
        add(artery, blob.centres, blob.radii)
    for blob in patient.mimics.plaques:
        add(plaque, blob.centres, blob.radii)
    averaged = [
        canvas.reshape(n, layers, rows, columns).mean(axis=1) for canvas in (vein, artery, plaque)
    ]
    return averaged[0], averaged[1], averaged[2]


def _paint(canvas: Volume, index: FloatArray, radii: FloatArray, spacing: FloatArray) -> None:
    """Paint soft spheres into `canvas` where they are larger than what is there.

    Args:
        canvas: float32 (slices, rows, columns), 0..1, changed in place.
        index: (k, 3) centres as fractional slice, row, column.
        radii: (k,) mm.
        spacing: (3,) mm per slice, row, column.
    """
    soft = float(spacing[1:].mean())
    reach = (radii[:, None] + soft) / spacing
    low = np.maximum(np.ceil(index - reach), 0).astype(int)
    high = np.minimum(np.floor(index + reach) + 1, canvas.shape).astype(int)
    for at, radius, first, last in zip(index, radii, low, high, strict=True):
        if (first >= last).any():
            continue
        a, b, c = (
            ((np.arange(first[k], last[k]) - at[k]) * spacing[k]).astype(np.float32) ** 2
            for k in range(3)
        )
        distance = np.sqrt(a[:, None, None] + b[None, :, None] + c[None, None, :])
        share = np.clip((np.float32(radius) - distance) / np.float32(soft) + np.float32(0.5), 0, 1)
        # a vessel thinner than the edge is soft never fills a voxel
        share *= np.float32(min(1.0, 2 * radius / soft))
        box = canvas[first[0] : last[0], first[1] : last[1], first[2] : last[2]]
        np.maximum(box, share, out=box)


def _measured(volume: Volume, contrast: Contrast, rng: np.random.Generator) -> Volume:
    """Coil shading and noise."""
    n, rows, columns = volume.shape
    noise = rng.standard_normal(volume.shape, dtype=np.float32) * np.float32(contrast.noise)
    if not contrast.magnitude:
        # reconstruction filters make CT noise grainy rather than white
        for index in range(n):
            noise[index] = 1.7 * cv2.GaussianBlur(noise[index], (3, 3), 0.7)
        return volume + noise
    shade = rng.normal(size=(2, 3, 3)).astype(np.float32)
    for index in range(n):
        mix = index / max(n - 1, 1)
        field = cv2.resize(
            (1 - mix) * shade[0] + mix * shade[1], (columns, rows), interpolation=cv2.INTER_CUBIC
        )
        volume[index] *= 1 + contrast.bias * np.tanh(field)
    other = rng.standard_normal(volume.shape, dtype=np.float32) * np.float32(contrast.noise)
    return np.sqrt((volume + noise) ** 2 + other**2)
