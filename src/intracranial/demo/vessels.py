"""The arteries and dural sinuses of a head as smooth, tapering curves.

Canonical head coordinates in mm: origin at the centre of the circle of Willis, +x to the patient's
left, +y posterior, +z superior (LPS without tilt). Control points are those of an average adult;
each patient gets jitter, variants and a tortuosity of its own.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SAMPLE_STEP = 0.6
"""Distance between curve samples in mm; below half of the smallest calibre drawn."""
SIDES: dict[str, float] = {"left": 1.0, "right": -1.0}
"""Sign of x for each side in LPS."""


@dataclass(frozen=True)
class Curve:
    """A vessel segment."""

    name: str
    points: FloatArray
    """(m, 3) samples about SAMPLE_STEP apart, mm, from proximal to distal."""
    radii: FloatArray
    """(m,) radius at each sample, mm."""

    def at(self, fraction: float) -> tuple[FloatArray, float, FloatArray]:
        """Point (3,), radius in mm and unit tangent (3,) at a fraction 0..1 of the length."""
        position = fraction * (len(self.points) - 1)
        index = min(max(round(position), 1), len(self.points) - 2)
        tangent = self.points[index + 1] - self.points[index - 1]
        return (
            self.points[index],
            float(self.radii[index]),
            tangent / max(float(np.linalg.norm(tangent)), 1e-9),
        )


@dataclass(frozen=True)
class VesselTree:
    """All vessels of a head by name; sided names end in `_left` or `_right`."""

    arteries: dict[str, Curve]
    veins: dict[str, Curve]
    variants: tuple[str, ...] = field(default=())
    """Names of the anatomical variants present."""


def catmull_rom(control: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centripetal-like smooth curve through control points.

    Args:
        control: (k, 3) control points in mm, k >= 2.
        values: (k,) quantity to carry along, for instance the radius.

    Returns:
        (m, 3) samples about SAMPLE_STEP mm apart and (m,) values.
    """
    control, values = np.asarray(control, float), np.asarray(values, float)
    padded = np.vstack([2 * control[0] - control[1], control, 2 * control[-1] - control[-2]])
    pieces, carried = [], []
    for i in range(len(control) - 1):
        before, start, end, after = padded[i : i + 4]
        length = float(np.linalg.norm(end - start))
        t = np.arange(0.0, 1.0, SAMPLE_STEP / max(length * 1.1, SAMPLE_STEP))[:, None]
        pieces.append(
            0.5
            * (
                2 * start
                + (end - before) * t
                + (2 * before - 5 * start + 4 * end - after) * t**2
                + (3 * start - before - 3 * end + after) * t**3
            )
        )
        carried.append(values[i] + (values[i + 1] - values[i]) * t[:, 0])
    pieces.append(control[-1:])
    carried.append(values[-1:])
    return np.vstack(pieces), np.concatenate(carried)


class _Builder:
    """Turns control points into curves with a patient's jitter and calibre."""

    def __init__(self, rng: np.random.Generator, calibre: float, jitter: float) -> None:
        self.rng = rng
        self.calibre = calibre
        self.jitter = jitter
        self.curves: dict[str, Curve] = {}

    def near(self, point: tuple[float, float, float], scale: float = 1.0) -> FloatArray:
        """The point moved by the patient's jitter."""
        return np.asarray(point, float) + self.rng.normal(0.0, self.jitter * scale, 3)

    def add(self, name: str, control: list[FloatArray], radii: list[float]) -> None:
        """Add a curve through `control`; `radii` in mm are spread evenly along it."""
        spread = np.interp(
            np.linspace(0, 1, len(control)), np.linspace(0, 1, len(radii)), np.asarray(radii)
        )
        points, along = catmull_rom(np.asarray(control), spread * self.calibre)
        wobble = 1.0 + 0.05 * np.sin(
            np.arange(len(points)) * self.rng.uniform(0.1, 0.3) + self.rng.uniform(0, 6.28)
        )
        self.curves[name] = Curve(name, points, along * wobble)


def _loop(rng: np.random.Generator, point: FloatArray, size: float) -> FloatArray:
    """Move a control point aside, so that the curve bends through a loop."""
    direction = rng.normal(size=3)
    return point + size * direction / np.linalg.norm(direction)


def _anterior(build: _Builder, side: str, small_a1: bool) -> None:
    """ICA, ophthalmic artery, MCA, ACA of one side."""
    rng, s = build.rng, SIDES[side]

    def at(x: float, y: float, z: float, scale: float = 1.0) -> FloatArray:
        return build.near((s * x, y, z), scale)

    genu = at(9.0, -10.0, -9.0, 0.7)
    clinoid = at(10.0, -6.5, -4.0, 0.6)
    terminus = at(13.0, 0.0, 4.5, 0.7)
    bow = rng.uniform(-2.0, 2.0)
    build.add(
        f"ica_infra_{side}",
        [
            at(25, 14, -95, 2),
            at(24 + bow, 17 + bow, -75, 2),
            at(26, 16, -52, 1),
            at(25.5, 15, -37, 0.7),
            at(24.0, 12.5, -26.5, 0.7),
            at(16.5, 9.5, -21.5, 0.7),
            at(10.5, 8.0, -17.5, 0.6),
            at(9.0, 4.0, -12.5, 0.6),
            at(8.8, -4.0, -12.5, 0.7),
            genu,
            clinoid,
        ],
        [2.5, 2.5, 2.45, 2.4, 2.35, 2.3, 2.25],
    )
    build.add(
        f"ica_supra_{side}",
        [genu, clinoid, at(11.5, -1.5, -0.5, 0.5), terminus],
        [2.2, 2.1, 2.0, 1.9],
    )
    build.add(
        f"ophthalmic_{side}",
        [clinoid, at(13, -14, -6), at(17, -28, -6), at(22, -45, -4), at(18, -58, -2)],
        [0.75, 0.6, 0.45],
    )
    bifurcation = at(33.0, -2.0, 5.0, 1.2)
    middle = at(22.5, -3.5, 5.5, 1.1)
    build.add(f"m1_{side}", [terminus, at(17.5, -2.0, 5.5, 0.6), middle, bifurcation], [1.45, 1.25])
    build.add(
        f"m2_superior_{side}",
        [
            bifurcation,
            at(38, -4, 10, 1.2),
            at(42, -1, 18, 1.5),
            _loop(rng, at(43, 6, 24, 1.5), 2.0),
            at(52, 8, 27, 2),
            at(60, 16, 36, 2.5),
            at(61, 26, 50, 3),
        ],
        [1.05, 0.9, 0.7, 0.45],
    )
    build.add(
        f"m2_inferior_{side}",
        [
            bifurcation,
            at(39, 1, 5, 1.2),
            at(42, 9, 9, 1.5),
            _loop(rng, at(44, 19, 15, 1.5), 2.0),
            at(54, 27, 16, 2),
            at(60, 38, 22, 2.5),
            at(55, 55, 30, 3),
        ],
        [1.05, 0.9, 0.7, 0.45],
    )
    build.add(
        f"m3_frontal_{side}",
        [
            build.curves[f"m2_superior_{side}"].points[12],
            at(42, -10, 15, 1.5),
            at(48, -18, 20, 2),
            at(52, -25, 32, 2.5),
        ],
        [0.75, 0.4],
    )
    build.add(
        f"anterior_temporal_{side}",
        [build.curves[f"m1_{side}"].at(0.6)[0], at(33, -8, 1), at(40, -14, -4), at(50, -10, -9)],
        [0.6, 0.4],
    )
    a1 = 0.55 if small_a1 else 1.1
    acom = at(2.2, -13.0, 6.0, 0.5)
    build.add(
        f"a1_{side}", [terminus, at(9.0, -5.5, 6.5, 0.7), at(5.0, -10, 6.0, 0.7), acom], [a1, a1]
    )
    build.add(
        f"a2_{side}",
        [
            acom,
            at(2.0, -19, 9, 0.7),
            at(1.8, -27, 16, 0.8),
            at(1.6, -31, 27, 0.8),
            at(1.6, -24, 39, 0.8),
            at(1.8, -5, 47, 1.0),
            at(2.0, 18, 51, 1.2),
            at(2.2, 38, 48, 1.5),
        ],
        [1.0, 0.95, 0.8, 0.6, 0.45],
    )
    build.add(
        f"callosomarginal_{side}",
        [
            build.curves[f"a2_{side}"].at(0.38)[0],
            at(2.5, -38, 40, 1.2),
            at(3, -30, 56, 1.5),
            at(4, -8, 68, 2),
        ],
        [0.65, 0.4],
    )
    build.add(
        f"superficial_temporal_{side}",
        [
            at(66, 10, -50, 2),
            at(72, 8, -20, 2),
            at(73, 5, 5, 2),
            at(73, -8, 30, 2),
            at(68, -20, 50, 2),
        ],
        [1.0, 0.6],
    )
    build.add(
        f"external_carotid_{side}",
        [
            at(32, 0, -95, 2),
            at(38, 2, -75, 2),
            at(50, 5, -58, 2),
            at(48, -10, -45, 3),
            at(36, -22, -40, 3),
        ],
        [1.8, 1.5, 0.9],
    )


def _posterior(build: _Builder, side: str, vertebral: float, fetal: bool) -> None:
    """Cerebellar and posterior cerebral arteries of one side; needs the basilar artery."""
    s = SIDES[side]
    basilar = build.curves["basilar"]

    def at(x: float, y: float, z: float, scale: float = 1.0) -> FloatArray:
        return build.near((s * x, y, z), scale)

    tip = basilar.points[-1]
    junction = at(11.5, 14.0, 2.5, 0.7)
    p1 = 0.55 if fetal else 1.1
    build.add(f"p1_{side}", [tip, at(5.5, 11.5, 1.5, 0.5), junction], [p1, p1])
    build.add(
        f"p2_{side}",
        [
            junction,
            at(18.5, 22, 4, 0.8),
            at(20.5, 34, 7, 1),
            at(16, 48, 10, 1.5),
            at(12, 62, 14, 2),
            at(10, 78, 20, 2),
        ],
        [1.05, 0.9, 0.7, 0.45],
    )
    build.add(
        f"sca_{side}",
        [
            basilar.at(0.9)[0],
            at(7, 14, -5, 0.5),
            at(16, 23, -5, 0.8),
            at(19, 36, -1),
            at(12, 48, 3, 1.5),
            at(10, 60, 0, 2),
        ],
        [0.8, 0.7, 0.5],
    )
    build.add(
        f"aica_{side}",
        [basilar.at(0.45)[0], at(10, 21, -23), at(22, 27, -21, 1.5), at(32, 38, -24, 2)],
        [0.65, 0.45],
    )
    artery = build.curves[f"vertebral_{side}"]
    build.add(
        f"pica_{side}",
        [
            artery.at(0.8)[0],
            at(13, 38, -47, 1),
            at(10, 46, -40, 1.2),
            at(6, 50, -46, 1.2),
            at(8, 62, -42, 2),
        ],
        [0.8, 0.65, 0.5],
    )


def _vertebrobasilar(build: _Builder, radii: dict[str, float]) -> None:
    """Vertebral arteries, which join, and the basilar artery."""
    rng = build.rng
    join = build.near((rng.normal(0, 1.5), 27.0, -39.0))
    for side, s in SIDES.items():
        build.add(
            f"vertebral_{side}",
            [
                build.near((s * 24, 30, -100), 2),
                build.near((s * 25, 32, -78), 1.5),
                build.near((s * 31, 36, -66), 1.5),
                build.near((s * 22, 44, -60), 1.5),
                build.near((s * 13, 37, -52), 1),
                build.near((s * 7, 30, -45), 1),
                join,
            ],
            [radii[side], radii[side] * 0.95],
        )
    bend = rng.normal(0, 2.0)
    build.add(
        "basilar",
        [
            join,
            build.near((bend, 22.0, -28), 0.7),
            build.near((0.6 * bend, 17.0, -16), 0.7),
            build.near((0, 13.0, -7), 0.5),
            build.near((0, 11.5, -1), 0.5),
        ],
        [1.75, 1.65, 1.55],
    )


def _arteries(rng: np.random.Generator) -> tuple[dict[str, Curve], tuple[str, ...]]:
    build = _Builder(
        rng, calibre=float(rng.uniform(0.9, 1.12)), jitter=float(rng.uniform(0.5, 1.1))
    )
    variants = []
    small_a1 = {side: bool(rng.random() < 0.08) for side in SIDES}
    fetal = {side: bool(rng.random() < 0.1) for side in SIDES}
    pcom = {
        side: float(rng.choice([0.0, 0.4, 0.65, 0.8], p=[0.15, 0.3, 0.35, 0.2])) for side in SIDES
    }
    dominance = float(rng.choice([-0.4, -0.15, 0.0, 0.15, 0.4], p=[0.1, 0.2, 0.3, 0.25, 0.15]))
    acom_radius = float(rng.uniform(0.6, 0.9))
    _vertebrobasilar(build, {"left": 1.45 + dominance, "right": 1.45 - dominance})
    for side in SIDES:
        _anterior(build, side, small_a1[side])
        _posterior(build, side, 1.4, fetal[side])
        origin = build.curves[f"ica_supra_{side}"].at(0.62)[0]
        end = build.curves[f"p2_{side}"].points[0]
        radius = 1.05 if fetal[side] else pcom[side]
        sag = origin + 0.5 * (end - origin) + np.array([SIDES[side] * 0.8, 0.0, -1.5])
        if radius > 0:
            build.add(f"pcom_{side}", [origin, build.near(tuple(sag), 0.6), end], [radius, radius])
        variants += [f"fetal posterior cerebral artery {side}"] * fetal[side]
        variants += [f"hypoplastic A1 {side}"] * small_a1[side]
        variants += [f"no posterior communicating artery {side}"] * (radius == 0)
    variants += ["dominant vertebral artery"] * (abs(dominance) > 0.3)
    left, right = (build.curves[f"a2_{side}"].points[0] for side in SIDES)
    middle = (left + right) / 2 + np.array([0, -0.5, 0])
    build.add("acom", [left, middle, right], [acom_radius, acom_radius])
    return build.curves, tuple(variants)


def _veins(rng: np.random.Generator) -> dict[str, Curve]:
    """Dural sinuses, deep veins, jugular and cortical veins."""
    build = _Builder(rng, calibre=float(rng.uniform(0.9, 1.1)), jitter=0.8)
    arc = np.radians(np.array([158, 140, 120, 100, 80, 60, 40, 20, 0, -8]))
    sagittal = [
        build.near((0, 12 - 81.5 * np.cos(np.pi - a), 22 + 70.5 * np.sin(a)), 0.6) for a in arc
    ]
    # The angle runs from the front (158 degrees) over the vertex to the torcula (-8 degrees).
    sagittal = [
        np.array([p[0] * 0.5, 12 + 81.5 * np.cos(a), p[2]])
        for p, a in zip(sagittal, arc, strict=True)
    ]
    torcula = sagittal[-1]
    build.add("superior_sagittal", sagittal, [1.2, 2.0, 3.0, 3.8, 4.0])
    build.add(
        "straight",
        [build.near((0, 44, 20)), build.near((0, 60, 21)), build.near((0, 78, 16)), torcula],
        [1.6, 2.0, 2.3],
    )
    dominance = float(rng.normal(0, 0.25))
    for side, s in SIDES.items():
        scale = float(np.clip(1.0 - s * dominance, 0.45, 1.35))
        build.add(
            f"transverse_{side}",
            [
                torcula,
                build.near((s * 20, 89, 4)),
                build.near((s * 38, 77, -2)),
                build.near((s * 51, 57, -6)),
                build.near((s * 52, 43, -14)),
                build.near((s * 43, 36, -27)),
                build.near((s * 31, 30, -36)),
                build.near((s * 29, 20, -46)),
                build.near((s * 31, 18, -62), 2),
                build.near((s * 32, 12, -95), 2),
            ],
            [3.2 * scale, 3.5 * scale, 3.8 * scale, 4.5 * scale],
        )
        build.add(
            f"internal_cerebral_{side}",
            [build.near((s * 2, 4, 21)), build.near((s * 2, 25, 25)), build.near((0, 44, 20))],
            [0.7, 1.1],
        )
        build.add(
            f"basal_{side}",
            [
                build.near((s * 20, 2, 2)),
                build.near((s * 19, 24, 8)),
                build.near((s * 11, 39, 14)),
                build.near((0, 44, 20)),
            ],
            [0.5, 0.9],
        )
        for k in range(int(rng.integers(4, 8))):
            angle = float(rng.uniform(25, 150))
            a = np.radians(angle)
            top = np.array([s * 3, 12 + 80 * np.cos(a), 22 + 69 * np.sin(a)])
            low = np.radians(rng.uniform(20, 55))
            points = []
            for fraction in np.linspace(0, 1, 5):
                tilt = (np.pi / 2) * (1 - fraction) + low * fraction
                drift = np.array([0.0, 4.0 * np.sin(3 * fraction + k), 0.0])
                radial = np.array(
                    [
                        s * 65 * np.cos(tilt),
                        (top[1] - 12) * np.sin(tilt),
                        (top[2] - 22) * np.sin(tilt),
                    ]
                )
                points.append(build.near(tuple(np.array([0, 12, 22]) + radial + drift), 1.0))
            build.add(f"cortical_{side}_{k}", points, [1.2, 0.9, 0.5])
    return build.curves


def make_vessels(rng: np.random.Generator) -> VesselTree:
    """Draw a patient's vessels.

    Args:
        rng: stream of Purpose.VESSELS.

    Returns:
        The tree in canonical head coordinates, mm.
    """
    arteries, variants = _arteries(rng)
    return VesselTree(arteries=arteries, veins=_veins(rng), variants=variants)
