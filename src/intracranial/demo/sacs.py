"""Aneurysms on the wall of their artery, and what resembles them in any head."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intracranial.demo.vessels import SIDES, Curve, VesselTree
from intracranial.tasks import RSNA_2025

FloatArray = NDArray[np.float64]

LOCATION_COUNTS = (78, 98, 277, 331, 219, 294, 363, 46, 56, 86, 101, 110, 113)
"""How often the challenge's tables name each location, in the order of the task's locations."""

DIAMETER_MEDIAN_MM = 6.5
"""Above the 5.3 mm of a published series (ds003949): a few hundred heads must teach something."""
DIAMETER_SPREAD = 0.35
"""Standard deviation of the log diameter; 5th percentile 3.7 mm, and a tenth is cut to 10 mm."""
DIAMETER_RANGE_MM = (2.0, 10.0)

COUNT_SHARES = (0.55, 0.37, 0.06, 0.02)
"""Share of patients with 0, 1, 2 and 3 aneurysms."""

OTHER_POSTERIOR = (
    ("pica_{side}", 0.0, 0.12, 0.4),
    ("sca_{side}", 0.0, 0.15, 0.2),
    ("basilar", 0.05, 0.5, 0.15),
    ("p2_{side}", 0.0, 0.3, 0.15),
    ("aica_{side}", 0.0, 0.12, 0.1),
)
"""Sites of 'Other Posterior Circulation': artery, range along it, share."""


@dataclass(frozen=True)
class Blob:
    """Overlapping spheres that are lumen: (k, 3) centres and (k,) radii in mm."""

    centres: FloatArray
    radii: FloatArray


@dataclass(frozen=True)
class Aneurysm:
    """A sac: its location's name, centre (3,) and radius in mm in canonical head coordinates."""

    location: str
    centre: FloatArray
    radius: float
    lumen: Blob


@dataclass(frozen=True)
class Mimics:
    """Normal findings that look alike: lumen bulges and calcified plaques."""

    bulges: tuple[Blob, ...]
    plaques: tuple[Blob, ...]


def draw_locations(rng: np.random.Generator) -> list[str]:
    """Locations of a patient's aneurysms, often none.

    Args:
        rng: stream of Purpose.LABELS.
    """
    count = int(rng.choice(len(COUNT_SHARES), p=COUNT_SHARES))
    shares = np.array(LOCATION_COUNTS, float) / sum(LOCATION_COUNTS)
    chosen = rng.choice(len(RSNA_2025.locations), size=count, replace=False, p=shares)
    return [RSNA_2025.locations[i] for i in sorted(chosen)]


def _site(tree: VesselTree, location: str, rng: np.random.Generator) -> tuple[Curve, float]:
    arteries = tree.arteries
    side = "left" if location.startswith("Left") else "right"
    if "Infraclinoid" in location:
        return arteries[f"ica_infra_{side}"], float(rng.uniform(0.78, 0.97))
    if "Supraclinoid" in location:
        return arteries[f"ica_supra_{side}"], float(rng.choice([rng.uniform(0.3, 0.55), 1.0]))
    if "Middle Cerebral" in location:
        return arteries[f"m1_{side}"], float(rng.choice([1.0, 1.0, 1.0, 0.6]))
    if "Anterior Communicating" in location:
        return arteries["acom"], float(rng.uniform(0.1, 0.9))
    if "Anterior Cerebral" in location:
        return arteries[f"a2_{side}"], float(rng.uniform(0.12, 0.42))
    if "Posterior Communicating" in location:
        if f"pcom_{side}" in arteries:
            return arteries[f"pcom_{side}"], float(rng.uniform(0.0, 0.1))
        return arteries[f"ica_supra_{side}"], 0.62
    if location == "Basilar Tip":
        return arteries["basilar"], 1.0
    shares = np.array([share for *_, share in OTHER_POSTERIOR])
    name, low, high, _ = OTHER_POSTERIOR[int(rng.choice(len(shares), p=shares / shares.sum()))]
    return arteries[name.format(side=rng.choice(list(SIDES)))], float(rng.uniform(low, high))


def draw_aneurysm(tree: VesselTree, location: str, rng: np.random.Generator) -> Aneurysm:
    """A slightly irregular sac with a neck on the wall of the artery.

    Args:
        tree: the patient's vessels.
        location: one of the task's locations.
        rng: stream of Purpose.SACS.
    """
    curve, fraction = _site(tree, location, rng)
    point, vessel_radius, tangent = curve.at(fraction)
    diameter = float(
        np.clip(np.exp(rng.normal(np.log(DIAMETER_MEDIAN_MM), DIAMETER_SPREAD)), *DIAMETER_RANGE_MM)
    )
    radius = diameter / 2
    outward = _outward(curve, fraction, tangent, rng)
    centre = point + outward * (0.7 * vessel_radius + 0.85 * radius)
    around = rng.normal(size=(4, 3))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    lobes = centre + around * radius * rng.uniform(0.15, 0.4, (4, 1))
    centres = [centre, *lobes, point + outward * vessel_radius]
    radii = [radius * 0.9, *(radius * rng.uniform(0.55, 0.8, 4)), max(0.45 * radius, 0.7)]
    return Aneurysm(location, centre, radius, Blob(np.array(centres), np.array(radii)))


def _outward(
    curve: Curve, fraction: float, tangent: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Direction of a sac: onwards at an artery's end, else to the outside of the bend."""
    direction = rng.normal(size=3) * 0.6
    if fraction >= 0.999:
        direction = direction + 1.6 * tangent
    else:
        last = len(curve.points) - 1
        at = min(max(round(fraction * last), 4), last - 4) if last >= 8 else last // 2
        bend = 2 * curve.points[at] - curve.points[max(at - 4, 0)] - curve.points[min(at + 4, last)]
        norm = float(np.linalg.norm(bend))
        direction = direction + (1.3 * bend / norm if norm > 1e-6 else 0.0)
        direction = direction - tangent * (direction @ tangent)
    return direction / max(float(np.linalg.norm(direction)), 1e-9)


def draw_mimics(tree: VesselTree, rng: np.random.Generator) -> Mimics:
    """Infundibula, wide bifurcations and plaques, drawn without regard to aneurysms.

    Args:
        tree: the patient's vessels.
        rng: stream of Purpose.MIMICS.
    """
    arteries = tree.arteries
    bulges, plaques = [], []
    for side in SIDES:
        if f"pcom_{side}" in arteries and rng.random() < 0.2:
            bulges.append(_cone(arteries[f"pcom_{side}"], float(rng.uniform(0.9, 1.25))))
        if rng.random() < 0.25:
            point, radius, _ = arteries[f"m1_{side}"].at(1.0)
            bulges.append(Blob(point[None], np.array([radius * rng.uniform(1.1, 1.35)])))
        for _ in range(int(rng.poisson(0.8))):
            curve = arteries[f"ica_infra_{side}"]
            point, radius, tangent = curve.at(float(rng.uniform(0.7, 1.0)))
            normal = np.cross(tangent, rng.normal(size=3))
            normal /= max(float(np.linalg.norm(normal)), 1e-9)
            spots = point + normal * radius + rng.normal(0, 0.7, (3, 3))
            plaques.append(Blob(spots, rng.uniform(0.4, 1.0, 3)))
    if rng.random() < 0.15:
        point, radius, _ = arteries["basilar"].at(1.0)
        bulges.append(Blob(point[None], np.array([radius * rng.uniform(1.05, 1.25)])))
    return Mimics(tuple(bulges), tuple(plaques))


def _cone(curve: Curve, radius: float) -> Blob:
    """A funnel-shaped origin, at most 2.5 mm wide and 3 mm long."""
    steps = min(5, len(curve.points))
    return Blob(curve.points[:steps], np.linspace(radius, curve.radii[steps - 1], steps))
