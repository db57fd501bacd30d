"""Augmentation keeps pixels, points and sides together."""

from dataclasses import replace

import numpy as np
import pytest

from intracranial.options.stage1 import StackAugmentation
from intracranial.sampling.augment import augment

NOTHING = StackAugmentation(
    flip_lr=0.0, flip_other=0.0, rot90=0.0, affine=0.0, drift=0.0, patch_dropout=0.0
)
EDGE = 48


def spot_stack(x: int, y: int) -> np.ndarray:
    stack = np.zeros((3, EDGE, EDGE), dtype=np.float32)
    stack[1, y - 2 : y + 3, x - 2 : x + 3] = 1
    stack[2] += 0.001  # tells the slices apart
    return stack


def centre_of(image: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[:EDGE, :EDGE]
    return np.array([(image * axis).sum() / image.sum() for axis in (columns, rows)])


def test_a_left_right_flip_reverses_columns_of_axial_series() -> None:
    spec = replace(NOTHING, flip_lr=1.0)
    result = augment(
        spot_stack(10, 30), np.array([[10.0, 30.0]]), "columns", spec, np.random.default_rng(0)
    )
    assert result.mirrored and not result.reversed_slices
    assert np.allclose(result.points, [[EDGE - 1 - 10, 30]])
    assert np.allclose(centre_of(result.stack[1]), result.points[0], atol=1e-4)


def test_a_left_right_flip_reverses_the_slices_of_sagittal_series() -> None:
    spec = replace(NOTHING, flip_lr=1.0)
    stack = spot_stack(10, 30)
    result = augment(stack, np.array([[10.0, 30.0]]), "slices", spec, np.random.default_rng(0))
    assert result.mirrored and result.reversed_slices
    assert np.array_equal(result.stack, stack[::-1])
    assert np.allclose(result.points, [[10, 30]])


def test_without_known_sides_nothing_is_mirrored() -> None:
    spec = replace(NOTHING, flip_lr=1.0)
    stack = spot_stack(10, 30)
    result = augment(stack, np.zeros((0, 2)), None, spec, np.random.default_rng(0))
    assert not result.mirrored
    assert np.array_equal(result.stack, stack)


@pytest.mark.parametrize("axis", ["columns", "slices", None])
def test_other_flips_exchange_no_sides(axis: str | None) -> None:
    spec = replace(NOTHING, flip_other=1.0)
    result = augment(
        spot_stack(10, 30), np.array([[10.0, 30.0]]), axis, spec, np.random.default_rng(0)
    )
    assert not result.mirrored
    middle = result.stack[1]
    assert np.allclose(centre_of(middle - middle.min()), result.points[0], atol=0.1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["rot90", "affine"])
def test_points_follow_turns_and_affine_transforms(name: str, seed: int) -> None:
    spec = replace(NOTHING, **{name: 1.0}, rotate=20.0, zoom=0.2, shift=0.1)
    result = augment(
        spot_stack(18, 28), np.array([[18.0, 28.0]]), "columns", spec, np.random.default_rng(seed)
    )
    assert not np.allclose(result.points, [[18, 28]], atol=0.2)
    assert np.allclose(centre_of(result.stack[1]), result.points[0], atol=0.3)


def test_the_same_key_gives_the_same_sample() -> None:
    spec = StackAugmentation(patch_dropout=0.1)
    first, second = (
        augment(
            spot_stack(18, 28), np.zeros((0, 2)), "columns", spec, np.random.default_rng([1, 2])
        )
        for _ in range(2)
    )
    assert np.array_equal(first.stack, second.stack)


def windowed_stack() -> np.ndarray:
    """Three slices in two windows: float32 (3, 2, S, S), of which each image has its own height."""
    shape = spot_stack(18, 28)[1]
    heights = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
    return heights[:, :, None, None] * shape


def heights_of(stack: np.ndarray) -> list[list[float]]:
    return np.round(stack.max(axis=(-2, -1)), 3).tolist()


@pytest.mark.parametrize(
    ("axis", "changes"), [("slices", {"flip_lr": 1.0}), ("columns", {"flip_other": 1.0})]
)
def test_a_reversal_of_slices_keeps_the_order_of_their_windows(
    axis: str, changes: dict[str, float]
) -> None:
    spec, stack = replace(NOTHING, **changes), windowed_stack()
    result = augment(stack, np.zeros((0, 2)), axis, spec, np.random.default_rng(0))
    assert result.reversed_slices and result.mirrored is (axis == "slices")
    assert heights_of(result.stack) == [[5, 6], [3, 4], [1, 2]]


@pytest.mark.parametrize("name", ["flip_lr", "flip_other", "rot90", "affine"])
def test_every_window_of_every_slice_is_moved_alike(name: str) -> None:
    spec = replace(NOTHING, **{name: 1.0})
    stack, points = windowed_stack(), np.array([[18.0, 28.0]])
    result = augment(stack, points, "columns", spec, np.random.default_rng(3))
    alone = augment(stack[:, 0], points, "columns", spec, np.random.default_rng(3))
    assert result.stack.shape == stack.shape
    assert np.array_equal(result.stack[:, 0], alone.stack)
    assert np.array_equal(result.points, alone.points)
    first = result.stack[1, 0] / result.stack[1, 0].max()
    for image in result.stack.reshape(-1, EDGE, EDGE):
        assert np.allclose(image / image.max(), first, atol=1e-5)
        assert np.allclose(centre_of(image), result.points[0], atol=0.3)


def test_drift_and_dropout_are_the_same_in_all_windows_and_slices() -> None:
    spec = replace(NOTHING, drift=0.2, patch_dropout=0.5)
    stack = np.ones((3, 2, 96, 96), dtype=np.float32)
    result = augment(stack, np.zeros((0, 2)), "columns", spec, np.random.default_rng(0)).stack
    assert (result == result[0, 0]).all()
    assert len(np.unique(result)) == 2 and 0 in result
