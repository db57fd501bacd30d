"""Stacks are made in one way, whoever asks."""

import json
from pathlib import Path

import numpy as np
import pytest

from intracranial.errors import InputError
from intracranial.options.common import identity
from intracranial.sampling.regions import Region, cache_to_input
from intracranial.sampling.stacks import (
    StackSpec,
    Window,
    as_channels,
    neighbours,
    prepare_slices,
    resample_slices,
)
from intracranial.sidecar import part

BRAIN, SUBDURAL, BONE = Window(40, 80), Window(80, 200), Window(600, 2800)
WINDOWS = (BRAIN, SUBDURAL, BONE)
TODAY = {"crop": 0.875, "input_size": 448, "mean": 2.5}


def seen(slices: np.ndarray, spec: StackSpec, chosen: list[int] | None = None) -> np.ndarray:
    return prepare_slices(slices, spec, spec.region(slices.shape[-1]), chosen)


def hounsfield(n: int = 4, size: int = 64) -> np.ndarray:
    """Soft tissue beside bone and air in single pixels."""
    values = np.random.default_rng(0).choice([-1000, 35, 60, 1400], (n, size, size))
    return values.astype(np.float16)


def test_the_ends_of_a_series_repeat_the_first_and_last_slice() -> None:
    # the original padded with zeros in training and wrapped round at inference
    assert neighbours(0, 2, 10, 3) == [0, 0, 2]
    assert neighbours(9, 1, 10, 3) == [8, 9, 9]
    assert neighbours(0, 1, 1, 3) == [0, 0, 0]


def test_a_stack_has_as_many_slices_as_asked_for_at_its_step() -> None:
    assert neighbours(5, 1, 10, 1) == neighbours(5, 2, 10, 1) == [5]
    assert neighbours(5, 2, 10, 5) == [1, 3, 5, 7, 9]
    assert neighbours(1, 2, 10, 5) == [0, 0, 1, 3, 5]
    assert neighbours(8, 1, 10, 7) == [5, 6, 7, 8, 9, 9, 9]


@pytest.mark.parametrize(("slices", "reach"), [(1, 0), (3, 2), (5, 4)])
def test_a_stack_reaches_as_far_as_its_outer_slices(slices: int, reach: int) -> None:
    spec = StackSpec(1.0, 32, 0.0, slices)
    chosen = neighbours(20, 2, 40, slices)
    assert spec.reach(2) == reach == max(chosen) - 20 == 20 - min(chosen)


@pytest.mark.parametrize(
    ("slices", "windows", "channels"), [(3, (), 3), (1, (), 1), (5, (), 5), (3, WINDOWS, 9)]
)
def test_every_slice_in_every_window_is_a_channel(
    slices: int, windows: tuple[Window, ...], channels: int
) -> None:
    spec = StackSpec(1.0, 64, 0.0, slices, windows)
    stack = as_channels(seen(hounsfield(), spec, neighbours(1, 1, 4, slices)))
    assert spec.channels == channels and stack.shape == (channels, 64, 64)
    assert stack.dtype == np.float32


def test_a_region_of_the_input_size_is_not_resampled() -> None:
    slices = np.random.default_rng(0).random((2, 64, 64)).astype(np.float16)
    spec = StackSpec(0.875, 56, 2.5)
    expected = slices[:, None, 4:60, 4:60]
    assert np.array_equal(seen(slices, spec), expected.astype(np.float32) - 2.5)
    as_cached = resample_slices(slices, spec, spec.region(64))
    assert as_cached.dtype == np.float16 and np.array_equal(as_cached, expected)
    assert not np.shares_memory(as_cached, slices)


def test_a_recipe_sees_the_same_field_on_caches_of_any_size() -> None:
    coarse = np.zeros((1, 64, 64), dtype=np.float16)
    coarse[0, 24:40, 24:40] = 5
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    spec = StackSpec(0.75, 48, 0.0)
    assert np.allclose(seen(coarse, spec), seen(fine, spec), atol=1e-3)


def test_a_window_runs_from_its_lower_end_to_its_upper_one() -> None:
    values = np.array([-1000, 0, 20, 40, 60, 80, 2000], dtype=np.float32)
    assert BRAIN.apply(values).tolist() == [0, 0, 1.25, 2.5, 3.75, 5, 5]
    assert SUBDURAL.apply(values).tolist() == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 5])


def test_channels_run_through_the_windows_of_one_slice_and_then_the_next() -> None:
    slices, spec = hounsfield(), StackSpec(1.0, 64, 2.5, 3, WINDOWS)
    stack = as_channels(seen(slices, spec, [0, 1, 2]))
    for s in range(3):
        for w, window in enumerate(WINDOWS):
            expected = window.apply(slices[s].astype(np.float32)) - np.float32(2.5)
            assert np.array_equal(stack[3 * s + w], expected)


@pytest.mark.parametrize("region", [Region(0, 0, 64, 64), Region(10, 3, 58, 35)])
def test_windows_are_made_before_anything_is_resampled(region: Region) -> None:
    slices, spec = hounsfield(1), StackSpec(1.0, 16, 0.0, 1, (BRAIN,))
    windowed = BRAIN.apply(slices.astype(np.float32)).astype(np.float32)
    plain = StackSpec(1.0, 16, 0.0, 1)
    found = prepare_slices(slices, spec, region)
    assert np.array_equal(found, prepare_slices(windowed, plain, region))
    too_late = BRAIN.apply(prepare_slices(slices, plain, region))
    assert np.abs(found - too_late).mean() > 0.5


def test_a_finding_lies_where_it_did_whatever_the_windows() -> None:
    slices = np.full((1, 200, 200), 30, dtype=np.float16)
    slices[0, 118:123, 78:83] = 75  # centre x 80, y 120
    spec = StackSpec(0.8, 80, 0.0, 1, WINDOWS)
    rows, columns = np.mgrid[:80, :80]
    expected = cache_to_input(np.array([80.0, 120.0]), spec.region(200), 80)
    for image in seen(slices, spec)[0]:
        spot = image - image.min()
        centre = [(spot * axis).sum() / spot.sum() for axis in (columns, rows)]
        assert np.allclose(centre, expected, atol=0.05)


@pytest.mark.parametrize(
    "spec", [StackSpec(**TODAY), StackSpec(**TODAY, slices=1), StackSpec(1.0, 64, 0.0, 5, WINDOWS)]
)
def test_a_sidecar_keeps_what_was_seen(spec: StackSpec) -> None:
    kept = json.loads(json.dumps({"input": identity(spec)}))
    assert part(Path("stage1.json"), kept, "input", StackSpec) == spec


def test_a_sidecar_says_nothing_of_what_is_as_it_always_was() -> None:
    assert identity(StackSpec(**TODAY)) == TODAY
    more = identity(StackSpec(**TODAY, slices=1, windows=(BRAIN,)))
    assert more == {**TODAY, "slices": 1, "windows": [{"centre": 40, "width": 80}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slices": 2}, "slices 2 is not an odd number"),
        ({"slices": -1}, "slices -1 is not an odd number"),
        ({"windows": [{"centre": 40}]}, r"`input\.windows\[0\]` lacks 'width'"),
        ({"windows": [{"centre": 40, "width": 0}]}, r"width 0: .* a width above 0"),
        ({"windows": "brain"}, r"`input\.windows` is 'brain', not a list"),
    ],
)
def test_what_cannot_be_seen_is_refused_by_its_key(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        part(Path("stage1.json"), {"input": {**TODAY, **changes}}, "input", StackSpec)
