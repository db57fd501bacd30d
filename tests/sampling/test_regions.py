"""A rectangle of a slice: pixels and points go into it and back."""

import cv2
import numpy as np
import pytest

from intracranial.sampling.regions import Region, cache_to_input, centred, input_to_cache
from intracranial.sampling.stacks import StackSpec, prepare_slices

OFF_CENTRE = Region(30, 90, 110, 150)


@pytest.mark.parametrize(
    ("size", "share", "expected"),
    [
        (512, 0.875, (32, 480)),
        (64, 1.0, (0, 64)),
        (65, 0.8, (6, 58)),
        (101, 0.5, (25, 75)),  # 50.5 rounds to the even number
        (7, 0.01, (3, 4)),
    ],
)
def test_the_centred_share_of_a_slice_is_a_square_of_whole_pixels(
    size: int, share: float, expected: tuple[int, int]
) -> None:
    first, last = expected
    assert centred(size, share) == Region(first, first, last, last)


def test_a_region_cuts_its_columns_and_rows() -> None:
    image = np.arange(200 * 200).reshape(200, 200)
    part = OFF_CENTRE.of(image)
    assert part.shape == (OFF_CENTRE.height, OFF_CENTRE.width) == (60, 80)
    assert part[0, 0] == image[90, 30] and part[-1, -1] == image[149, 109]
    with pytest.raises(ValueError, match=r"beyond the 100 columns and 100 rows"):
        OFF_CENTRE.of(image[:100, :100])


@pytest.mark.parametrize("corners", [(4, 0, 4, 5), (0, 5, 3, 4), (-1, 0, 3, 4), (0, -2, 3, 4)])
def test_a_region_without_a_pixel_is_refused(corners: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="holds no pixel"):
        Region(*corners)


@pytest.mark.parametrize("region", [centred(200, 0.8), OFF_CENTRE, Region(0, 0, 200, 3)])
def test_points_go_to_the_input_and_back(region: Region) -> None:
    points = np.array([[[80.0, 120.0], [3.0, 193.5]], [[0.0, 0.0], [-4.0, 250.0]]])
    there = cache_to_input(points, region, 48)
    assert np.allclose(input_to_cache(there, region, 48), points)
    edges = np.array([[region.x0 - 0.5, region.y0 - 0.5], [region.x1 - 0.5, region.y1 - 0.5]])
    assert np.allclose(cache_to_input(edges, region, 48), [[-0.5, -0.5], [47.5, 47.5]])


@pytest.mark.parametrize("input_size", [40, 60, 70, 80, 120])
def test_a_bright_pixel_lands_where_its_point_does_and_comes_back(input_size: int) -> None:
    slices = np.zeros((1, 200, 200), dtype=np.float16)
    slices[0, 118:123, 78:83] = 5  # centre x 80, y 120
    spec = StackSpec(1.0, input_size, 0.0)
    seen = prepare_slices(slices, spec, OFF_CENTRE)[0, 0]
    assert seen.shape == (input_size, input_size)
    rows, columns = np.mgrid[:input_size, :input_size]
    centre = np.array([(seen * axis).sum() / seen.sum() for axis in (columns, rows)])
    there = cache_to_input(np.array([80.0, 120.0]), OFF_CENTRE, input_size)
    assert np.allclose(centre, there, atol=0.05)
    assert np.allclose(input_to_cache(centre, OFF_CENTRE, input_size), [80, 120], atol=0.1)


@pytest.mark.parametrize(
    ("input_size", "method"),
    [(160, cv2.INTER_AREA), (170, None), (200, cv2.INTER_LINEAR)],
)
def test_a_square_shrinks_by_area_grows_linearly_and_is_copied_at_its_size(
    input_size: int, method: int | None
) -> None:
    slices = np.random.default_rng(0).uniform(0, 5, (1, 200, 200)).astype(np.float16)
    expected = slices[0, 15:185, 15:185].astype(np.float32)
    if method is not None:
        expected = cv2.resize(expected, (input_size, input_size), interpolation=method)
    seen = prepare_slices(slices, StackSpec(0.85, input_size, 0.0), centred(200, 0.85))
    assert np.array_equal(seen[0, 0], expected)
