"""What an epoch of stage 1 shows, and the targets of its stacks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from intracranial.artifacts import DataPaths, save_array
from intracranial.options.stage1 import StackAugmentation, StackSampling
from intracranial.sampling.regions import Region
from intracranial.sampling.series_info import SeriesInfo
from intracranial.sampling.slice_samples import (
    EpochPlanner,
    StackDataset,
    StackRequest,
    TargetSpec,
    gaussian_peaks,
)
from intracranial.sampling.stacks import StackSpec, Window
from intracranial.splits.spots import exclusion_radius
from intracranial.tasks import RSNA_2025
from tests.challenge import OVERALL

TASK = RSNA_2025
RIGHT_MCA = TASK.locations.index("Right Middle Cerebral Artery")
LEFT_MCA = TASK.locations.index("Left Middle Cerebral Artery")
MIRROR_ALWAYS = StackAugmentation(
    flip_lr=1.0, flip_other=0.0, rot90=0.0, affine=0.0, drift=0.0, patch_dropout=0.0
)


def series(
    uid: str, n: int = 40, spots: tuple[tuple[int, int], ...] = (), localized: bool = True
) -> SeriesInfo:
    """A series with (slice, location) spots at x 20, y 30 of a 64-pixel cache."""
    labels = np.zeros(len(TASK.labels), dtype=np.float32)
    for _, location in spots:
        labels[location] = labels[OVERALL] = 1
    return SeriesInfo(
        uid=uid,
        n=n,
        size=64,
        pixel_mm=(3.0, 3.0),
        slice_mm=2.0,
        spacing_known=True,
        axis="columns",
        plane="axial",
        localized=localized,
        indices=np.array([index for index, _ in spots], dtype=np.int64),
        points=np.array([[20.0, 30.0]] * len(spots)).reshape(-1, 2),
        locations=np.array([location for _, location in spots], dtype=np.int64),
        labels=labels,
        label_weights=np.ones(len(TASK.labels), dtype=np.float32),
    )


def planner(hard: dict[str, np.ndarray] | None = None, probability: float = 0.0) -> EpochPlanner:
    infos = {
        "1.1": series("1.1", spots=((39, RIGHT_MCA), (10, LEFT_MCA))),
        "1.2": series("1.2"),
        "1.3": series("1.3", spots=((20, 6),), localized=False),
    }
    sampling = StackSampling(negatives_per_positive=3.0, hard_probability=probability)
    return EpochPlanner(infos, sampling, (1, 2), 7, hard)


def test_an_epoch_is_the_same_each_time_and_another_epoch_is_not() -> None:
    assert planner().epoch(3) == planner().epoch(3)
    assert planner().epoch(3) != planner().epoch(4)


def test_every_positive_is_shown_and_negatives_stay_away_from_localizers() -> None:
    for epoch in range(20):
        plan = planner().epoch(epoch)
        assert len(plan) == 3 + 9
        negatives = [r for r in plan if r.uid == "1.2"] + [
            r for r in plan if r.uid == "1.1" and min(abs(r.index - 39), abs(r.index - 10)) > 1
        ]
        assert len(negatives) == 9
        for request in negatives:
            if request.uid == "1.1":
                distance = min(abs(request.index - 39), abs(request.index - 10))
                assert distance > exclusion_radius(40)


def test_a_series_with_an_unlocated_aneurysm_gives_no_negatives() -> None:
    for epoch in range(20):
        indices = [r.index for r in planner().epoch(epoch) if r.uid == "1.3"]
        assert len(indices) == 1 and abs(indices[0] - 20) <= 1


def test_hard_negatives_are_drawn_but_never_near_a_localizer() -> None:
    plan = planner({"1.2": np.array([5]), "1.1": np.array([38])}, probability=1.0).epoch(0)
    negatives = [r for r in plan if r.uid == "1.2"]
    assert len(negatives) == 9 and {r.index for r in negatives} == {5}


@pytest.fixture
def dataset(tmp_path: Path) -> StackDataset:
    data = DataPaths(tmp_path)
    volume = np.zeros((40, 64, 64), dtype=np.float16)
    volume[:, 28:33, 18:23] = 5
    save_array(data.sequence("1.1"), volume)
    infos = {"1.1": series("1.1", spots=((39, RIGHT_MCA),))}
    inputs = StackSpec(1.0, 64, 0.0)
    return StackDataset(data, infos, TASK, inputs, TargetSpec(8, 8, 4.0), MIRROR_ALWAYS, 0)


def test_the_last_slice_has_its_label(dataset: StackDataset) -> None:
    # the original never labelled it
    item = dataset[StackRequest("1.1", 39, 1, 0, 0)]
    assert item["targets"].sum() == 2
    assert item["targets"][OVERALL] == 1


def test_a_mirrored_stack_has_the_other_sides_label_and_heat_map(dataset: StackDataset) -> None:
    item = dataset[StackRequest("1.1", 39, 1, 0, 0)]
    assert item["targets"][LEFT_MCA] == 1 and item["targets"][RIGHT_MCA] == 0
    assert item["heatmap"][RIGHT_MCA].max() == 0
    row, column = np.unravel_index(int(item["heatmap"][LEFT_MCA].argmax()), (8, 8))
    assert (row, column) == (3, (63 - 20) // 8)
    bright = item["stack"][1].argmax() % 64
    assert abs(int(bright) - (63 - 20)) <= 2


def test_a_stack_far_from_the_spot_is_negative(dataset: StackDataset) -> None:
    item = dataset[StackRequest("1.1", 36, 2, 0, 0)]
    assert item["targets"].sum() == 0 and item["heatmap"].sum() == 0
    assert torch.equal(item["weights"], torch.ones(len(TASK.labels)))


WINDOWS = (Window(40, 80), Window(80, 200), Window(600, 2800))


def numbered(tmp_path: Path, inputs: StackSpec, spot: int, axis: str) -> StackDataset:
    """A series of which slice t has the value t, with a finding in one slice."""
    data = DataPaths(tmp_path)
    volume = np.arange(40, dtype=np.float16)[:, None, None].repeat(64, 1).repeat(64, 2)
    save_array(data.sequence("1.1"), volume)
    infos = {"1.1": replace(series("1.1", spots=((spot, RIGHT_MCA),)), axis=axis)}
    return StackDataset(data, infos, TASK, inputs, TargetSpec(8, 8, 4.0), MIRROR_ALWAYS, 0)


def test_a_stack_of_one_slice_is_labelled_by_that_slice_alone(tmp_path: Path) -> None:
    dataset = numbered(tmp_path, StackSpec(1.0, 64, 0.0, slices=1), 20, "columns")
    for index in range(18, 23):
        item = dataset[StackRequest("1.1", index, 2, 0, 0)]
        assert item["stack"].shape == (1, 64, 64) and (item["stack"] == index).all()
        assert item["targets"][OVERALL] == item["heatmap"].max().round() == (index == 20)


def test_a_stack_of_five_slices_is_labelled_by_all_that_lie_between_them(tmp_path: Path) -> None:
    dataset = numbered(tmp_path, StackSpec(1.0, 64, 0.0, slices=5), 20, "columns")
    item = dataset[StackRequest("1.1", 17, 2, 0, 0)]
    assert item["stack"][:, 0, 0].tolist() == [13, 15, 17, 19, 21]
    for index in range(14, 27):
        item = dataset[StackRequest("1.1", index, 2, 0, 0)]
        assert item["targets"][OVERALL] == item["heatmap"].max().round() == (16 <= index <= 24)


def test_a_sagittal_flip_reverses_the_slices_of_a_stack_and_not_its_windows(tmp_path: Path) -> None:
    inputs = StackSpec(1.0, 64, 0.0, windows=WINDOWS)
    item = numbered(tmp_path, inputs, 20, "slices")[StackRequest("1.1", 20, 2, 0, 0)]
    assert item["targets"][LEFT_MCA] == 1 and item["targets"][RIGHT_MCA] == 0
    expected = [
        float(window.apply(np.array([value], dtype=np.float32))[0])
        for value in (22, 20, 18)
        for window in WINDOWS
    ]
    assert item["stack"].shape == (9, 64, 64)
    assert item["stack"][:, 5, 5].tolist() == expected


def test_pixels_and_heat_map_are_of_the_region(dataset: StackDataset, monkeypatch) -> None:
    region = Region(8, 20, 40, 44)  # the finding is at x 20, y 30
    monkeypatch.setattr(StackSpec, "region", lambda self, size: region)
    item = dataset[StackRequest("1.1", 39, 1, 0, 0)]
    rows, columns = np.mgrid[:64, :64]
    image = item["stack"][1].numpy()
    centre = [(image * axis).sum() / image.sum() for axis in (columns, rows)]
    assert centre == pytest.approx(
        [63 - (20.5 - 8) * 2 + 0.5, (30.5 - 20) * 64 / 24 - 0.5], abs=0.1
    )
    heat = item["heatmap"][LEFT_MCA].numpy()
    across, down = (heat.sum(axis=axis) / heat.sum() for axis in (0, 1))
    cells = np.arange(8)
    middle = [(cells * one).sum() for one in (across, down)]
    assert (np.array(middle) + 0.5) * 8 - 0.5 == pytest.approx(centre, abs=0.5)


def test_the_width_of_a_peak_follows_the_scale_of_each_axis() -> None:
    spec = TargetSpec(8, 8, 4.0)
    assert spec.sigma((2.0, 1.0), np.array([2.0, 3.0])).tolist() == [0.5, 1.5]


def test_a_peak_has_height_one_at_its_point() -> None:
    heatmap = gaussian_peaks(np.array([[3.0, 5.0]]), np.array([1]), np.array([1.0, 2.0]), (2, 8, 8))
    assert heatmap[0].max() == 0
    assert heatmap[1, 5, 3] == 1
    assert heatmap[1, 7, 3] == pytest.approx(heatmap[1, 5, 4])
