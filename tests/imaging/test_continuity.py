"""Groups of slices that differ in some value: one scan or two, by where they lie."""

from typing import Any

import numpy as np
import pytest

from intracranial.imaging.continuity import (
    Positions,
    are_one_volume,
    covered,
    is_one_stack,
    usual_step,
    whole_of,
)
from intracranial.imaging.dicom.headers import SliceHeader
from intracranial.imaging.dicom.tags import TAGS
from intracranial.imaging.outcome import Findings
from intracranial.imaging.scans import one_scan

AT = {tag.name: place for place, tag in reversed(list(enumerate(TAGS)))}
TRIALS = 60


def positions(depth: Any, first: float = np.nan, nominal: float = 1.0) -> Positions:
    depth = np.asarray(depth, dtype=np.float64)
    return Positions(depth, first + np.arange(len(depth)), nominal)


def are_one(
    one: Positions, other: Positions, contrast: bool = False, picture: bool = False
) -> bool:
    both = np.argsort(np.concatenate([one.depth, other.depth]), kind="stable")
    union = Positions(
        np.concatenate([one.depth, other.depth])[both],
        np.concatenate([one.numbers, other.numbers])[both],
        one.nominal,
    )
    return are_one_volume(one, other, contrast, picture, whole_of(union, picture))


def test_scans_at_the_same_positions_are_two():
    assert not are_one(positions(range(10)), positions(range(10)))


def test_scans_at_hundredths_of_a_step_are_two():
    assert not are_one(positions(range(10)), positions(np.arange(10) + 0.03))


@pytest.mark.parametrize(("nominal", "one"), [(1.0, False), (0.5, True), (np.nan, True)])
def test_slices_at_half_the_distance_belong_together_if_the_headers_state_that(nominal, one):
    a, b = (positions(np.arange(10) + shift, nominal=nominal) for shift in (0, 0.5))
    assert are_one(a, b) == one


def test_pieces_that_overlap_at_their_ends_are_one_unless_they_are_two_pictures():
    a, b = positions(range(10)), positions(range(8, 20))
    assert are_one(a, b)
    assert not are_one(a, b, contrast=True)


def test_a_few_slices_of_another_value_at_an_end_are_a_slip():
    assert are_one(positions(range(2, 20)), positions(range(2)), contrast=True)


def test_slices_between_those_of_a_scan_that_lacks_none_are_not_its():
    assert not are_one(positions(range(20)), positions([4.4]))
    assert are_one(positions([z for z in range(20) if z != 4]), positions([4]))


def test_one_stack_has_no_slice_too_many():
    assert is_one_stack(positions(range(10)), picture=True)
    assert is_one_stack(positions([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14]), picture=True)
    assert not is_one_stack(positions([*range(10), 9.4]), picture=True)


def test_what_a_scan_reaches_is_covered():
    scan = np.arange(10.0)
    np.testing.assert_array_equal(
        covered(np.array([-1.0, -0.5, 4.5, 9.5, 11.0]), scan), [False, True, True, True, False]
    )


def test_of_jittered_positions_the_usual_step_is_the_large_one():
    assert usual_step(np.sort(np.concatenate([np.arange(9), np.arange(9) + 0.03]))) > 0.9


def stack(kind: str, n: int, step: float, random: np.random.Generator) -> np.ndarray:
    """Places of one scan, mm."""
    half = n // 2
    if kind == "regular":
        return np.arange(n) * step
    if kind == "gaps":
        return np.sort(random.choice(np.arange(int(1.4 * n)), n, replace=False)) * step
    if kind == "thin and thick":
        return np.concatenate(
            [np.arange(half) * step, (half - 1 + 2 * np.arange(1, n - half + 1)) * step]
        )
    if kind == "uneven":
        return np.arange(n) * step + random.uniform(-0.1, 0.1, n) * step
    above = half * step + 3.3 * step + np.arange(n - half) * step * 1.3
    return np.concatenate([np.arange(half) * step, above])


def values(kind: str, n: int, random: np.random.Generator) -> np.ndarray:
    """Values of a tag within one scan."""
    k = np.arange(n)
    return {
        "a value per slice": k,
        "blocks": k // max(1, n // 4),
        "a cycle": k % int(random.integers(2, 7)),
        "at random": random.integers(0, 3, n),
        "a few odd ones": (random.random(n) < 0.1).astype(int),
    }[kind]


@pytest.mark.parametrize("kind", ["regular", "gaps", "thin and thick", "uneven", "two pieces"])
@pytest.mark.parametrize(
    "pattern", ["a value per slice", "blocks", "a cycle", "at random", "a few odd ones"]
)
def test_no_pattern_of_values_costs_one_scan_a_slice(kind, pattern):
    """Whatever the tag, as long as slices are no thicker than they are apart."""
    names = "acquisition repetition_time echo trigger_time acquisition_time slice_thickness kernel"
    random = np.random.default_rng(len(kind) * len(pattern))
    for _ in range(TRIALS):
        n, step = int(random.integers(5, 60)), float(random.choice([0.5, 1, 2.5, 5]))
        depth = stack(kind, n, step, random)
        name, found = random.choice(names.split()), values(pattern, n, random)
        thickness = random.choice(np.array([step, 0.8 * step, np.nan]))
        numbers = [np.arange(n) + 1, n - np.arange(n), None][random.integers(3)]
        headers = []
        for k in range(n):
            tags: list[Any] = [""] * len(TAGS)
            tags[AT[name]] = f"B{found[k]}" if name == "kernel" else 30.0 + 0.3 * float(found[k])
            nominal = None if np.isnan(thickness) else float(thickness)
            headers.append(
                SliceHeader(
                    file=f"{k}.dcm",
                    frame=0,
                    sop_uid=f"1.2.{k * 7919 % 997}",
                    frame_of_reference="",
                    shape=(9, 9),
                    orientation=(1, 0, 0, 0, 1, 0),
                    position=(0.0, 0.0, float(depth[k])),
                    pixel_spacing=(1.0, 1.0),
                    nominal_step=nominal,
                    thickness=nominal,
                    slope=1.0,
                    intercept=0.0,
                    rescaled=True,
                    real_world=None,
                    instance_number=None if numbers is None else int(numbers[k]),
                    tags=tuple(tags),
                )
            )
        findings = Findings()
        kept = one_scan(headers, depth, lambda one, other: False, findings)
        assert kept is not None and len(kept) == n, (name, found.tolist(), depth.tolist(), findings)
