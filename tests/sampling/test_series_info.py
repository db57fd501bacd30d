"""What training knows of a series: millimetres, sides and which labels are known per slice."""

from pathlib import Path

import numpy as np
import pytest

from intracranial.sampling.series_info import NOMINAL_FIELD_MM, NOMINAL_SLICE_MM, series_infos
from intracranial.tasks import RSNA_2025
from tests.sampling.fold_data import SIZE, TinyData, cohort
from tests.splits.test_hard_negatives import split_of

TASK = RSNA_2025
LEFT_MCA = "Left Middle Cerebral Artery"
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


@pytest.fixture
def infos(tmp_path: Path):
    data: TinyData = cohort(tmp_path / "data")
    data.add_series("9.1", LEFT_MCA, "Basilar Tip")
    data.mark("9.1", 4, LEFT_MCA)  # the other aneurysm has no localizer
    data.add_series("9.2", LEFT_MCA)
    data.mark("9.2", 19, LEFT_MCA)
    data.add_series("9.3", iop=SAGITTAL)
    data.add_series("9.4", iop=CORONAL)
    data.add_series("9.5", iop=None)
    data.add_series("9.6", overall=1)  # an aneurysm in no listed location
    split = split_of(data.write())
    return series_infos(split, ["9.5", "9.1", "9.2", "9.3", "9.4", "9.6"], TASK)


def test_series_come_in_the_order_asked_for(infos):
    assert list(infos) == ["9.5", "9.1", "9.2", "9.3", "9.4", "9.6"]


def test_a_location_without_localizer_is_unknown_per_slice_and_so_is_the_overall_label(infos):
    info = infos["9.1"]
    unknown = {TASK.labels[k] for k in np.flatnonzero(info.label_weights == 0)}
    assert unknown == {"Basilar Tip", TASK.overall}
    assert not info.localized
    assert info.labels[TASK.labels.index("Basilar Tip")] == 1
    assert info.indices.tolist() == [4]


def test_a_series_whose_every_location_is_marked_is_known_throughout(infos):
    info = infos["9.2"]
    assert info.localized and info.label_weights.min() == 1
    assert info.indices.tolist() == [19]  # the last slice
    assert info.locations.tolist() == [TASK.locations.index(LEFT_MCA)]
    assert info.points.shape == (1, 2)


def test_the_axis_of_a_left_right_flip_follows_the_plane(infos):
    assert infos["9.2"].axis == "columns"
    assert infos["9.3"].axis == "slices"
    assert infos["9.4"].axis == "columns"
    assert infos["9.5"].axis is None


def test_millimetres_come_from_the_geometry_and_are_nominal_without_one(infos):
    known, unknown = infos["9.2"], infos["9.5"]
    assert known.spacing_known and known.slice_mm == 2.0
    # 100 rows of 0.5 mm and 80 columns of 0.4 mm, stretched to the cache's size
    assert known.pixel_mm == pytest.approx((0.4 * 80 / SIZE, 0.5 * 100 / SIZE))
    assert not unknown.spacing_known and unknown.slice_mm == NOMINAL_SLICE_MM
    assert unknown.pixel_mm == (NOMINAL_FIELD_MM / SIZE, NOMINAL_FIELD_MM / SIZE)


def test_a_series_without_localizers_has_empty_arrays_of_the_right_shape(infos):
    info = infos["9.3"]
    assert info.indices.shape == (0,) and info.points.shape == (0, 2)
    assert info.locations.shape == (0,) and info.label_weights.min() == 1
