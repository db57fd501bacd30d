"""Augmentation of stacks with the laterality rule.

A left-right flip exchanges paired labels. It reverses columns of axial and coronal series and the
slice order of sagittal ones; the other flips exchange nothing. Series whose geometry is unknown
are never flipped left-right, since their left is unknown. The windows of a slice keep their order,
and every change is the same in all of them.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from intracranial.options.stage1 import StackAugmentation

DROPPED_PATCH = 32
"""Edge of a dropped patch in input pixels."""


@dataclass(frozen=True)
class Augmented:
    """A stack after augmentation.

    Pixels (k, ..., S, S), points (m, 2); `mirrored` says that paired labels are exchanged,
    `reversed_slices` that the slice order is.
    """

    stack: np.ndarray
    points: np.ndarray
    mirrored: bool
    reversed_slices: bool


def augment(
    stack: np.ndarray,
    points: np.ndarray,
    axis: str | None,
    spec: StackAugmentation,
    rng: np.random.Generator,
) -> Augmented:
    """Draw and apply one augmentation.

    Args:
        stack: float32 (k, ..., S, S), slices first, then their windows if they have an axis of
            them, rows and columns last; mean already subtracted.
        points: float64 (m, 2) as x, y in input pixels.
        axis: what a left-right flip reverses, see `geometry.mirror_axis`;
            None where left and right cannot be told.
        spec: probabilities and sizes.
        rng: the sample's own generator.
    """
    edge = stack.shape[-1]
    points = np.asarray(points, dtype=np.float64).copy()
    mirrored = axis is not None and rng.random() < spec.flip_lr
    reversed_slices = False
    if mirrored:
        if axis == "slices":
            stack, reversed_slices = stack[::-1], True
        else:
            stack, points = _flip_columns(stack, points)
    if rng.random() < spec.flip_other:
        stack = stack[..., ::-1, :]
        points[:, 1] = edge - 1 - points[:, 1]
    if rng.random() < spec.flip_other:
        if axis == "columns":
            stack, reversed_slices = stack[::-1], True
        elif axis == "slices":
            stack, points = _flip_columns(stack, points)
    if rng.random() < spec.rot90:
        quarter_turns = int(rng.integers(1, 4))
        stack = np.rot90(stack, quarter_turns, axes=(-2, -1))
        for _ in range(quarter_turns):  # counter-clockwise: (x, y) -> (y, edge - 1 - x)
            points = np.stack([points[:, 1], edge - 1 - points[:, 0]], axis=1)
    stack = np.ascontiguousarray(stack)
    if rng.random() < spec.affine:
        stack, points = _affine(stack, points, spec, rng)
    if spec.drift:
        gain, offset = rng.normal(0.0, spec.drift, 2)
        stack = stack * np.float32(1 + gain) + np.float32(5 * offset)
    if spec.patch_dropout:
        cells = -(-edge // DROPPED_PATCH)
        kept = (rng.random((cells, cells)) >= spec.patch_dropout).astype(np.float32)
        mask = kept.repeat(DROPPED_PATCH, 0).repeat(DROPPED_PATCH, 1)[:edge, :edge]
        stack = stack * mask
    return Augmented(stack.astype(np.float32, copy=False), points, mirrored, reversed_slices)


def _flip_columns(stack: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flipped = points.copy()
    flipped[:, 0] = stack.shape[-1] - 1 - points[:, 0]
    return stack[..., ::-1], flipped


def _affine(
    stack: np.ndarray, points: np.ndarray, spec: StackAugmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    edge = stack.shape[-1]
    angle = rng.uniform(-spec.rotate, spec.rotate)
    scale = 1 + rng.uniform(-spec.zoom, spec.zoom)
    centre = (edge - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), angle, scale)
    matrix[:, 2] += rng.uniform(-spec.shift, spec.shift, 2) * edge
    warped = [
        cv2.warpAffine(
            image, matrix, (edge, edge), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for image in stack.reshape(-1, edge, edge)
    ]
    return np.stack(warped).reshape(stack.shape), points @ matrix[:, :2].T + matrix[:, 2]
