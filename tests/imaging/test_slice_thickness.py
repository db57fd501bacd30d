"""The slice thickness of a series is what its files state, whichever reader reads them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from intracranial.artifacts import DataPaths
from intracranial.caching.read_ahead import prepare_series
from intracranial.caching.tables import read_text_table, with_types
from intracranial.imaging.geometry import THICKNESS_COLUMN
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import ReadLimits, read_series
from tests.imaging.make_series import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    head,
    store,
    write_multi_frame,
    write_single_frames,
)
from tests.stages.preprocessed import make_data, run


def thickness(folder: Path) -> float | None:
    """What both readers say."""
    scanned, parsed = (
        read_series(folder, limits=ReadLimits(reader=reader)).thickness
        for reader in ("scan", "pydicom")
    )
    assert scanned == parsed
    return scanned


@pytest.mark.parametrize(
    ("stated", "read"),
    [("1.25", 1.25), (3, 3.0), (None, None), ("0", None), ("-2", None), ("", None)],
)
def test_one_thickness_for_all_slices_and_none_where_it_is_absent_or_not_positive(
    tmp_path, stated, read
):
    write_single_frames(tmp_path / "s", store(head()), tags={"SliceThickness": stated})
    assert thickness(tmp_path / "s") == read


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_encoding_of_the_file_changes_nothing(tmp_path, syntax):
    write_single_frames(
        tmp_path / "s", store(head()), syntax=syntax, tags={"SliceThickness": "0.7"}
    )
    assert thickness(tmp_path / "s") == 0.7


def test_it_is_the_median_over_the_slices_that_state_one(tmp_path):
    values = [None, 0, 1, 1, 2, 2, 2, 9]
    write_single_frames(tmp_path / "s", store(head()), per_slice={"SliceThickness": values})
    assert thickness(tmp_path / "s") == 2.0


def test_it_is_not_the_distance_between_slices(tmp_path):
    tags = {"SliceThickness": 4, "SpacingBetweenSlices": 3}
    write_single_frames(tmp_path / "s", store(head()), tags=tags)
    series = read_series(tmp_path / "s")
    assert series.thickness == 4.0 and series.geometry.spacing[0] == pytest.approx(2.0)


def test_slices_that_are_not_in_the_volume_do_not_count(tmp_path):
    write_single_frames(tmp_path / "s", store(head(3)), tags={"SliceThickness": 1})
    scout = store(head(4, 16, 16), "coronal")
    names = [f"scout{k}" for k in range(2)]
    scout.images, scout.positions = scout.images[:2], scout.positions[:2]
    write_single_frames(tmp_path / "s", scout, names=names, tags={"SliceThickness": 50})
    series = read_series(tmp_path / "s")
    assert (len(series.images), series.thickness) == (3, 1.0)


@pytest.mark.parametrize("shared", [True, False])
def test_an_enhanced_object_states_it_in_its_pixel_measures(tmp_path, shared):
    """PS3.3 C.7.6.16.2.1, in the shared or in the per-frame functional groups."""
    path = tmp_path / "s" / "one"
    write_multi_frame(path, store(head()), shared=shared)
    dataset = pydicom.dcmread(path)
    groups = (
        dataset.SharedFunctionalGroupsSequence
        if shared
        else dataset.PerFrameFunctionalGroupsSequence
    )
    for number, group in enumerate(groups):
        measures = Dataset()
        measures.PixelSpacing = group.PixelMeasuresSequence[0].PixelSpacing
        measures.SliceThickness = 1.5 if shared else 1 + number % 2
        group.PixelMeasuresSequence = Sequence([measures])
    dataset.save_as(path)
    assert thickness(tmp_path / "s") == 1.5


def test_the_table_of_series_and_a_prepared_series_hold_it(tmp_path):
    uids = make_data(tmp_path)
    data = DataPaths(tmp_path)
    for path in (data.series / uids[0]).iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SliceThickness = "0.8"
        dataset.save_as(path)
    assert run(tmp_path) == 0
    table = with_types(
        read_text_table(data.train_meta_csv, (THICKNESS_COLUMN,), ""), data.train_meta_csv
    )
    assert table[THICKNESS_COLUMN].iloc[0] == 0.8
    assert np.isnan(table[THICKNESS_COLUMN].iloc[1:].to_numpy()).all()
    found = prepare_series(data.series / uids[0], replace(STANDARD, size=32), ReadLimits())
    assert found.thickness == 0.8
