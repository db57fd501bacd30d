"""Signal of each tissue in each modality."""

from dataclasses import dataclass

import numpy as np

from intracranial.demo.head import TISSUES


@dataclass(frozen=True)
class Contrast:
    """Mean signal per tissue and per vessel class, and the noise.

    HU for CTA, arbitrary units for MR. `noise` is the standard deviation per voxel; `texture` that
    of slow variations inside the brain; `bias` the strength of the coil's shading, 0 for CT.
    """

    tissue: np.ndarray
    artery: float
    vein: float
    plaque: float
    noise: float
    texture: float
    bias: float
    inflow: float
    """Loss of arterial signal over the slab, 0..1, in time-of-flight MRA."""
    magnitude: bool
    """Whether values are magnitudes (Rician noise)."""


MEANS: dict[str, dict[str, float]] = {
    "CTA": {
        "air": -1000, "skin": 60, "fat": -95, "muscle": 60, "bone": 1150, "marrow": 420,
        "csf": 8, "grey": 42, "white": 32, "mucosa": 60, "eye": 14,
    },
    "MRA": {
        "air": 4, "skin": 150, "fat": 210, "muscle": 120, "bone": 18, "marrow": 60,
        "csf": 55, "grey": 128, "white": 140, "mucosa": 130, "eye": 60,
    },
    "MRI T2": {
        "air": 5, "skin": 220, "fat": 430, "muscle": 110, "bone": 20, "marrow": 180,
        "csf": 620, "grey": 300, "white": 215, "mucosa": 480, "eye": 600,
    },
    "MRI T1post": {
        "air": 4, "skin": 280, "fat": 520, "muscle": 190, "bone": 20, "marrow": 260,
        "csf": 75, "grey": 205, "white": 265, "mucosa": 430, "eye": 95,
    },
}  # fmt: skip


def draw_contrast(modality: str, noise: float, rng: np.random.Generator) -> Contrast:
    """Signal of one series.

    Args:
        modality: one of task.MODALITIES.
        noise: level relative to the usual one.
        rng: stream of Purpose.CONTRAST.
    """
    means = np.array([MEANS[modality][tissue] for tissue in TISSUES], dtype=np.float32)
    gain = float(rng.uniform(0.8, 1.25))
    vary = rng.normal(1.0, 0.04, len(TISSUES)).astype(np.float32)
    draws = rng.random(4)
    if modality == "CTA":
        artery = 260 + 170 * draws[0]
        vein = artery * (0.3 + 0.45 * draws[1])
        return Contrast(
            means * np.where(means > 100, vary, 1), artery, vein, 800 + 300 * draws[2],
            noise * (9 + 9 * draws[3]), 3.0, 0.0, 0.0, False,
        )  # fmt: skip
    levels = {
        "MRA": (430 + 120 * draws[0], 165 + 60 * draws[1], 60.0),
        "MRI T2": (35 + 30 * draws[0], 60 + 50 * draws[1], 60.0),
        "MRI T1post": (330 + 150 * draws[0], 470 + 100 * draws[1], 60.0),
    }
    artery, vein, plaque = levels[modality]
    return Contrast(
        means * vary * gain, artery * gain, vein * gain, plaque * gain,
        noise * gain * (7 + 7 * draws[2]), 6.0 * gain, 0.12 + 0.18 * draws[3],
        0.3 if modality == "MRA" else 0.0, True,
    )  # fmt: skip
