"""How a series is acquired and stored, drawn without regard to what the patient has."""

from dataclasses import dataclass

import numpy as np

from intracranial.demo.geometry import Acquisition, Plane, TransferSyntax, plane_orientation

MODALITY_SHARES = {"CTA": 0.42, "MRA": 0.29, "MRI T2": 0.22, "MRI T1post": 0.07}
"""As in the challenge's data."""


@dataclass(frozen=True)
class Ranges:
    """Ranges of one modality: slices, spacing between slices in mm, matrix sizes, field in mm."""

    slices: tuple[int, int]
    spacing: tuple[float, float]
    matrices: tuple[int, ...]
    field: tuple[float, float]


RANGES = {
    "CTA": Ranges((30, 46), (1.8, 2.8), (224, 256, 288), (195, 240)),
    "MRA": Ranges((30, 46), (1.6, 2.4), (224, 256, 288), (190, 225)),
    "MRI T2": Ranges((26, 38), (2.4, 3.4), (224, 256, 320), (205, 240)),
    "MRI T1post": Ranges((26, 44), (2.2, 3.4), (224, 256), (210, 240)),
}
"""Demo sizes: a tenth of a clinical CTA's slices, so that all stages run in minutes."""

PLANE_SHARES: dict[Plane, float] = {"axial": 0.92, "coronal": 0.045, "sagittal": 0.035}
OTHER_PLANES_FIELD_MM = 95.0
"""Thickness of coronal and sagittal slabs: they cover the circle of Willis and its branches."""


def draw_acquisition(rng: np.random.Generator, modality: str | None = None) -> Acquisition:
    """Draw a protocol.

    Args:
        rng: stream of Purpose.PROTOCOL.
        modality: one of task.MODALITIES; drawn when None.
    """
    drawn = str(rng.choice(list(MODALITY_SHARES), p=list(MODALITY_SHARES.values())))
    modality = modality or drawn
    ranges = RANGES[modality]
    planes = list(PLANE_SHARES)
    plane: Plane = planes[int(rng.choice(len(planes), p=list(PLANE_SHARES.values())))]
    matrix = int(rng.choice(ranges.matrices))
    columns = matrix if rng.random() < 0.85 else int(matrix * 0.875) // 2 * 2
    field = float(rng.uniform(*ranges.field))
    spacing = round(float(rng.uniform(*ranges.spacing)), 2)
    slices = int(rng.integers(*ranges.slices))
    pixel = round(field / matrix, 4)
    thickness = round(spacing * float(rng.choice([0.8, 1.0, 1.0, 1.2])), 2)
    centre = np.array([0.0, 8.0, float(rng.uniform(-6.0, 10.0))]) + rng.normal(0, 3.0, 3)
    if plane != "axial":
        slices = max(24, round(OTHER_PLANES_FIELD_MM / spacing))
        centre[1] += -4.0 if plane == "coronal" else 0.0
    tilt = float(rng.choice([0.0, rng.uniform(-12, 12)], p=[0.6, 0.4]))
    syntaxes: list[TransferSyntax] = ["explicit", "implicit", "rle", "jpeg2000"]
    orders = ("ascending", "descending", "shuffled")
    return Acquisition(
        modality=modality,
        plane=plane,
        n_slices=slices,
        rows=matrix,
        columns=columns,
        pixel_spacing=(pixel, pixel),
        slice_spacing=spacing,
        slice_thickness=thickness,
        centre=(round(float(centre[0]), 3), round(float(centre[1]), 3), round(float(centre[2]), 3)),
        orientation=plane_orientation(plane, tilt),
        reverse_slices=bool(rng.random() < 0.3),
        instance_order=orders[int(rng.choice(3, p=[0.6, 0.3, 0.1]))],  # type: ignore[arg-type]
        multiframe=bool(rng.random() < 0.08),
        transfer_syntax=syntaxes[int(rng.choice(4, p=[0.55, 0.15, 0.22, 0.08]))],
        intercept=float(rng.choice([-1024.0, -1000.0, -8192.0], p=[0.8, 0.15, 0.05])),
        signed=bool(rng.random() < 0.3),
        noise=float(rng.uniform(0.6, 1.4)),
        contrast_seed=int(rng.integers(2**31)),
    )
