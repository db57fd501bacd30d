"""Stacks are made in one way, whoever asks."""

import numpy as np
import pytest

from intracranial.sampling.stacks import (
    InputSpec,
    cache_to_input,
    input_to_cache,
    neighbours,
    prepare_slices,
)


def test_the_ends_of_a_series_repeat_the_first_and_last_slice() -> None:
    # the original padded with zeros in training and wrapped round at inference
    assert neighbours(0, 2, 10) == [0, 0, 2]
    assert neighbours(9, 1, 10) == [8, 9, 9]
    assert neighbours(0, 1, 1) == [0, 0, 0]


def test_a_crop_of_the_input_size_is_not_resampled() -> None:
    slices = np.random.default_rng(0).random((2, 64, 64)).astype(np.float16)
    prepared = prepare_slices(slices, InputSpec(0.875, 56, 2.5))
    assert np.array_equal(prepared, slices[:, 4:60, 4:60].astype(np.float32) - 2.5)


def test_a_recipe_sees_the_same_field_on_caches_of_any_size() -> None:
    coarse = np.zeros((1, 64, 64), dtype=np.float16)
    coarse[0, 24:40, 24:40] = 5
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    spec = InputSpec(0.75, 48, 0.0)
    assert np.allclose(prepare_slices(coarse, spec), prepare_slices(fine, spec), atol=1e-3)


@pytest.mark.parametrize("size", [64, 100, 512])
def test_points_go_to_the_input_and_back(size: int) -> None:
    spec = InputSpec(0.8, 40, 2.5)
    points = np.array([[size / 2 - 0.5, size / 2 - 0.5], [3.0, size - 7.0]])
    assert np.allclose(input_to_cache(cache_to_input(points, size, spec), size, spec), points)


def test_a_bright_pixel_lands_where_its_point_does() -> None:
    slices = np.zeros((1, 200, 200), dtype=np.float16)
    slices[0, 118:123, 78:83] = 5  # centre x 80, y 120
    spec = InputSpec(0.8, 80, 0.0)
    prepared = prepare_slices(slices, spec)[0]
    rows, columns = np.mgrid[:80, :80]
    centre = [(prepared * axis).sum() / prepared.sum() for axis in (columns, rows)]
    expected = cache_to_input(np.array([[80.0, 120.0]]), 200, spec)[0]
    assert np.allclose(centre, expected, atol=0.05)
