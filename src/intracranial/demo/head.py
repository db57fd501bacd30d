"""Tissues of a head as soft shapes in canonical head coordinates.

Origin at the centre of the circle of Willis, +x to the patient's left, +y posterior, +z superior,
millimetres. Shapes are ellipsoids and capsules with approximate signed distances; sulci and grey
matter come from a few plane waves, so that the same head can be sampled in any plane.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Field = NDArray[Any]
"""float32 arrays; NumPy types the result of mixed arithmetic loosely."""

TISSUES = (
    "air",
    "skin",
    "fat",
    "muscle",
    "bone",
    "marrow",
    "csf",
    "grey",
    "white",
    "mucosa",
    "eye",
)
"""Order of the tissue fractions."""


@dataclass(frozen=True)
class Anatomy:
    """What makes one head differ from another."""

    scale: FloatArray
    """(3,) size along x, y, z relative to the average head."""
    waves: FloatArray
    """(k, 4) wave vectors in rad/mm and phases of the cortical folds."""
    atrophy: float
    """Width of sulci and ventricles relative to the average."""
    skull_mm: float
    """Thickness of the vault."""
    scalp_mm: float
    """Thickness of skin and fat over the vault."""
    sinus: float
    """Size of the air-filled sinuses relative to the average."""
    asymmetry: FloatArray
    """(3,) shift of the left half's structures in mm."""


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a head.

    Args:
        rng: stream of Purpose.ANATOMY.
    """
    direction = rng.normal(size=(14, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    wavelength = rng.uniform(11.0, 22.0, 14)
    vectors = direction * (2 * np.pi / wavelength)[:, None]
    phases = rng.uniform(0, 2 * np.pi, 14)
    return Anatomy(
        scale=rng.normal(1.0, 0.03, 3).clip(0.92, 1.08),
        waves=np.column_stack([vectors, phases]),
        atrophy=float(rng.uniform(0.7, 1.5)),
        skull_mm=float(rng.uniform(5.0, 7.5)),
        scalp_mm=float(rng.uniform(4.5, 8.0)),
        sinus=float(rng.uniform(0.75, 1.15)),
        asymmetry=rng.normal(0.0, 0.8, 3),
    )


class _Space:
    """Shapes over a set of points, each an approximate signed distance in mm, negative inside."""

    def __init__(self, points: Field) -> None:
        self.x, self.y, self.z = points[..., 0], points[..., 1], points[..., 2]
        self.side = np.abs(self.x)

    def ellipsoid(
        self, centre: tuple[float, float, float], radii: tuple[float, float, float], paired: bool
    ) -> Field:
        x = self.side if paired else self.x
        a = (x - centre[0]) / radii[0]
        b = (self.y - centre[1]) / radii[1]
        c = (self.z - centre[2]) / radii[2]
        return (np.sqrt(a * a + b * b + c * c) - 1.0) * np.float32(min(radii))

    def capsule(
        self,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        radius: float,
        paired: bool,
    ) -> Field:
        axis = np.subtract(end, start)
        length = float(axis @ axis)
        x = self.side if paired else self.x
        px, py, pz = x - start[0], self.y - start[1], self.z - start[2]
        along = np.clip((px * axis[0] + py * axis[1] + pz * axis[2]) / length, 0.0, 1.0)
        dx, dy, dz = px - along * axis[0], py - along * axis[1], pz - along * axis[2]
        return np.sqrt(dx * dx + dy * dy + dz * dz) - np.float32(radius)


def _union(*shapes: Field) -> Field:
    result = shapes[0]
    for shape in shapes[1:]:
        result = np.minimum(result, shape)
    return result


def tissue_fractions(anatomy: Anatomy, points: Field, soft_mm: float) -> Field:
    """Share of each tissue at each point, without vessels.

    Args:
        anatomy: the head.
        points: float32 (..., 3), canonical head coordinates in mm.
        soft_mm: width of the transition between tissues, about a voxel.

    Returns:
        float32 (len(TISSUES), ...), non-negative, summing to 1.
    """
    points = (points / anatomy.scale).astype(np.float32)
    space = _Space(points)
    x, y, z, side = space.x, space.y, space.z, space.side
    ell, cap = space.ellipsoid, space.capsule
    vault = ell((0, 12, 22), (69, 84.5, 73.5), False)
    floor = np.float32(-8) - z - np.float32(0.42) * (y + 30)  # rises to the front
    cerebrum = np.maximum(vault, floor)
    temporal = ell((36, 4, -8), (24, 36, 22), True)
    fossa = ell((0, 50, -24), (54, 40, 36), False)
    stem = cap((0, 26, 0), (0, 34, -95), 14, False)
    cavity = _union(cerebrum, temporal, fossa, stem)
    outside = _union(vault, temporal - 1, fossa)  # what the skull wraps
    face = _union(ell((0, -36, -46), (62, 54, 64), False), ell((0, 22, -105), (60, 62, 70), False))
    scalp = np.float32(anatomy.skull_mm + anatomy.scalp_mm)
    skin = _union(outside - scalp, face)
    fat = _union(outside - scalp + 2, face + 3)
    muscle = _union(outside - np.float32(anatomy.skull_mm) - 1.5, face + 9)

    shell = np.maximum(outside - np.float32(anatomy.skull_mm), -outside - 0.5)
    petrous = cap((16, 10, -19), (54, 34, -24), 8.5, True)
    clivus = np.maximum(cap((0, 0, -16), (0, 16, -46), 7, False), side - 15)
    sphenoid = ell((0, -10, -19), (32, 14, 14), False)
    wing = cap((12, -12, -4), (52, -22, 2), 3.0, True)
    clinoid = cap((9.5, -12, -5), (9.5, -7, -4), 2.2, True)
    jaw = _union(
        cap((44, -18, -70), (52, 2, -36), 6, True), cap((8, -68, -90), (44, -18, -72), 6, True)
    )
    palate = ell((0, -48, -74), (26, 32, 5), False)
    cheek = cap((32, -72, -32), (62, -20, -30), 4.5, True)
    rim = np.maximum(np.abs(ell((30, -62, -14), (21, 25, 19), True)) - 2.0, -space.y - 82)
    spine = _union(cap((0, 36, -78), (0, 40, -130), 13, False))
    bone = _union(
        np.maximum(shell, -stem),
        petrous,
        clivus,
        sphenoid,
        wing,
        clinoid,
        jaw,
        palate,
        cheek,
        rim,
        np.maximum(spine, 9 - cap((0, 36, -70), (0, 40, -130), 0, False)),
    )
    marrow = np.maximum(bone + 2.0, -(outside - 1.5))

    size = anatomy.sinus
    ripple = 1.6 * _waves(points * np.float32(2.2), anatomy.waves)
    sinuses = _union(
        ell((0, -12, -22), (13 * size, 12 * size, 9 * size), False),
        ell((7, -45, -18), (6.5 * size, 20, 13), True) + 1.2 * ripple,
        ell((30, -50, -48), (13 * size, 16 * size, 17 * size), True),
        ell((9, -76, 4), (11 * size, 5 * size, 11 * size), True),
        np.maximum(ell((4, -50, -52), (4, 30, 18), True), 0.8 * ripple - 0.8),
        ell((0, 2, -92), (9, 7, 30), False),
        np.maximum(ell((55, 38, -32), (10, 12, 14), True), 1.5 * ripple - 0.5),
        cap((52, 14, -28), (71, 12, -28), 2.6, True),
    )
    under_skin = skin + 2.5
    sinuses = np.maximum(sinuses, under_skin + 1.5)
    lining = np.maximum(sinuses - 2.2, under_skin)
    orbit = np.maximum(ell((30, -62, -14), (18.5, 23, 17), True), under_skin)
    globe = np.maximum(ell((30, -65, -14), (12, 12, 12), True), under_skin - 2)
    bone = np.maximum(bone, under_skin)
    nerve = cap((27, -58, -13), (9, -10, -1), 2.0, True)
    recti = _union(
        cap((42, -66, -14), (15, -34, -12), 2.0, True),
        cap((19, -66, -14), (12, -34, -12), 2.0, True),
    )

    fold = _waves(points, anatomy.waves)
    wide = anatomy.atrophy
    brain = _union(cerebrum, temporal, fossa) + 3.0 * wide
    brain = np.maximum(brain, 1.6 * wide - np.where(z > 8, side, 99))  # the fissure between halves
    # the Sylvian fissure, and the gap under the tentorium
    sylvian = np.abs(z - 6 - 0.25 * (y + 4)) - 1.5 * wide
    inside = (side > 24) & (side < 62) & (y > -22) & (y < 20)
    brain = np.maximum(brain, np.where(inside, -sylvian, np.float32(-99)))
    tent = np.abs(z - 12 + 0.32 * (side - 5) + 0.12 * (y - 60)) - 0.7
    brain = np.maximum(brain, np.where((y > 38) & (side < 56), -tent, np.float32(-99)))
    sulcus = np.maximum(np.abs(fold) * 6.0 - 1.3 * wide, brain)
    sulcus = np.maximum(sulcus, -(brain + 17))
    pons = _union(
        ell((0, 33, -22), (15, 11, 15), False),
        cap((0, 25, 3), (0, 31, -14), 11, False),
        cap((0, 34, -36), (0, 37, -70), 7, False),
    )
    cistern = _union(
        ell((0, 1, 0), (16, 15, 8), False),
        ell((0, 19, -24), (13, 5, 20), False),
        ell((0, 13, -4), (9, 7, 8), False),
        np.maximum(ell((0, 30, 4), (21, 17, 9), False), -(pons - 0.5)),
        cap((20, -2, 5), (44, -2, 7), 3.2 * wide, True),
        ell((0, 62, -46), (11, 12, 10), False),
    )
    ventricle = _union(
        cap((8, -20, 24), (11, 12, 34), 4.6 * wide, True),
        cap((11, 12, 34), (20, 42, 22), 5.0 * wide, True),
        cap((20, 42, 22), (34, 22, 2), 3.0 * wide, True),
        ell((0, 12, 14), (2.2 * wide, 13, 9), False),
        ell((0, 45, -24), (6 * wide, 5, 9), False),
        cap((0, 34, -2), (0, 42, -16), 1.0, False),
    )
    ribbon = brain + 3.2 + 1.2 * fold
    deep = _union(ell((12, 14, 15), (8, 14, 9), True), ell((22, -2, 14), (8, 18, 10), True))
    deep = np.maximum(deep, 0.5 - ventricle)

    soft = np.float32(1.0 / soft_mm)

    def share(distance: Field) -> Field:
        return np.clip(np.float32(0.5) - distance * soft, 0, 1)

    layers: list[tuple[str, Field]] = [
        ("skin", skin),
        ("fat", fat),
        ("muscle", muscle),
        ("fat", orbit),
        ("bone", bone),
        ("marrow", marrow),
        ("csf", np.maximum(cavity, -np.minimum(petrous, clivus))),
        ("grey", brain),
        ("white", np.maximum(ribbon, brain)),
        ("grey", deep),
        ("csf", sulcus),
        ("csf", np.maximum(cistern, cavity)),
        ("white", pons),
        ("csf", ventricle),
        ("mucosa", np.maximum(lining, -cavity + 1)),
        ("air", np.maximum(sinuses, -cavity + 2)),
        ("eye", globe),
        ("white", nerve),
        ("muscle", recti),
    ]
    fractions = np.zeros((len(TISSUES), *x.shape), dtype=np.float32)
    fractions[0] = 1
    for name, distance in layers:
        part = share(distance)
        if not part.any():
            continue
        fractions *= 1 - part
        fractions[TISSUES.index(name)] += part
    return fractions


def _waves(points: Field, waves: FloatArray) -> Field:
    """Sum of plane waves at the points, about -1..1, warped so that folds are not straight."""
    flat = points.reshape(-1, 3)
    vectors = waves[:, :3].astype(np.float32)
    warp = np.sin(flat @ (vectors[:3].T * 0.4) + waves[:3, 3].astype(np.float32))
    moved = flat + 5.0 * warp
    value = np.zeros(len(flat), dtype=np.float32)
    for vector, phase in zip(vectors[3:9], waves[3:9, 3], strict=True):
        value += np.sin(moved @ vector + np.float32(phase))
    return (value / 2.4).reshape(points.shape[:-1])
