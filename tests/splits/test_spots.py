"""The slices at which stage 1 is trained and evaluated, and what a stack is labelled with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from intracranial.caching.tables import with_types
from intracranial.splits.findings import Finding
from intracranial.splits.folds import assign_folds
from intracranial.splits.localizers import localized_flags, read_localizers
from intracranial.splits.make_split import make_split, negative_spots, positive_spots
from intracranial.splits.spots import (
    SPOT_COLUMNS,
    eligible_negatives,
    exclusion_radius,
    relative_position,
    slice_at,
    slice_targets,
)
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.challenge import ANEURYSM_PRESENT, LABELS, LOCATIONS
from tests.sampling.fold_data import TinyData, cohort

BASILAR, ACOM = "Basilar Tip", "Anterior Communicating Artery"


def typed(data: TinyData) -> pd.DataFrame:
    table = pd.DataFrame(data.meta).astype(str)
    return (
        with_types(table, data.paths.train_meta_csv, RSNA_2025)
        .set_index(SERIES_COLUMN)
        .sort_index()
    )


def test_exclusion_is_five_slices_and_five_percent_of_long_series():
    assert [exclusion_radius(n) for n in (1, 100, 101, 200, 999)] == [5, 5, 6, 10, 50]


def test_no_negative_lies_within_the_exclusion_of_a_localizer():
    assert eligible_negatives(20, [0, 14]).tolist() == [6, 7, 8]
    assert eligible_negatives(5, []).tolist() == [0, 1, 2, 3, 4]
    assert eligible_negatives(5, [2]).tolist() == []


@pytest.mark.parametrize("step", [1, 2])
def test_a_stack_is_labelled_by_every_localizer_between_its_outer_slices(step):
    for t in range(12):
        targets = slice_targets([6], [BASILAR], t, step, RSNA_2025)
        expected = np.zeros(14, np.float32)
        if t - step <= 6 <= t + step:
            expected[[LABELS.index(BASILAR), LABELS.index(ANEURYSM_PRESENT)]] = 1
        assert targets.dtype == np.float32
        assert np.array_equal(targets, expected)


def test_the_first_and_the_last_slice_get_their_label():
    # The original solution never labelled the last slice of a series.
    for t in (0, 19):
        assert (
            slice_targets([0, 19], [ACOM, BASILAR], t, 1, RSNA_2025)[LABELS.index(ANEURYSM_PRESENT)]
            == 1
        )
    assert slice_targets([19], [BASILAR], 19, 1, RSNA_2025)[LABELS.index(BASILAR)] == 1
    assert slice_targets([19], [BASILAR], 18, 1, RSNA_2025)[LABELS.index(BASILAR)] == 1


def test_a_slice_alone_has_the_labels_of_that_slice():
    found = [slice_targets([6], [BASILAR], t, 0, RSNA_2025).any() for t in range(5, 8)]
    assert found == [False, True, False]


def test_two_localizers_label_one_stack_with_both_locations():
    targets = slice_targets([3, 4], [ACOM, BASILAR], 4, 1, RSNA_2025)
    assert {name for name, value in zip(LABELS, targets, strict=True) if value} == {
        ACOM,
        BASILAR,
        ANEURYSM_PRESENT,
    }


def test_a_relative_position_and_its_slice_are_inverse():
    assert [slice_at(relative_position(i, 9), 9) for i in range(9)] == list(range(9))
    assert (relative_position(0, 1), slice_at(0.5, 1)) == (0.5, 0)


def test_a_finding_is_a_positive_spot_at_its_place(tmp_path: Path):
    data = TinyData(tmp_path)
    data.add_series("1.1", BASILAR)
    data.add_series("1.2", ACOM, iop=None)
    series = typed(data).assign(fold=[0, 1])
    findings = [
        Finding("1.1", 8, 9.5, 45.0, BASILAR, (1.0, 2.0, 3.0), (4.5, None, None)),
        Finding("1.2", 3, 1.0, 2.0, ""),
    ]
    spots = positive_spots(series, findings)
    places = [[spot[name] for name in ("x", "y", "x_mm", "y_mm", "z_mm")] for spot in spots]
    assert places == [[9.5, 45.0, 1.0, 2.0, 3.0], [1.0, 2.0, None, None, None]]
    assert [(spot["index"], spot["location"], spot["fold"]) for spot in spots] == [
        (8, BASILAR, 0),
        (3, "", 1),
    ]
    assert all(spot["kind"] == "positive" and set(spot) == set(SPOT_COLUMNS) for spot in spots)


def drawn(data: TinyData, per_positive: float = 2.0, seed: int = 0, folds: int = 4):
    data.write()
    made = make_split(data.paths, folds, seed, per_positive, RSNA_2025)
    spots = pd.DataFrame(made.spots)
    return made, spots[spots["kind"] == "positive"], spots[spots["kind"] == "negative"]


def test_negatives_keep_away_from_localizers_and_never_repeat(tmp_path: Path):
    made, positives, negatives = drawn(cohort(tmp_path))
    marked = positives.groupby(SERIES_COLUMN)["index"].apply(list).to_dict()
    for uid, index in zip(negatives[SERIES_COLUMN], negatives["index"], strict=True):
        n = made.series.at[uid, "n"]
        assert 0 <= index < n
        assert all(abs(index - at) > exclusion_radius(n) for at in marked.get(uid, []))
    assert not negatives.duplicated([SERIES_COLUMN, "index"]).any()


def test_there_are_as_many_negatives_as_asked_for_in_every_fold(tmp_path: Path):
    _, positives, negatives = drawn(cohort(tmp_path), per_positive=2.5)
    assert len(negatives) == round(2.5 * len(positives))
    per_fold = negatives["fold"].value_counts() / positives["fold"].value_counts()
    assert per_fold.min() >= 1.5


def test_negatives_come_from_healthy_and_from_affected_series(tmp_path: Path):
    made, _, negatives = drawn(cohort(tmp_path))
    affected = made.series.loc[negatives[SERIES_COLUMN], ANEURYSM_PRESENT]
    assert 0.25 <= affected.mean() <= 0.75


def test_negatives_lie_where_positives_lie(tmp_path: Path):
    made, positives, negatives = drawn(cohort(tmp_path, patients=80))

    def relative(spots: pd.DataFrame) -> pd.Series:
        return spots["index"] / (made.series.loc[spots[SERIES_COLUMN], "n"].to_numpy() - 1)

    for quantile in (0.1, 0.5, 0.9):
        here, there = relative(positives).quantile(quantile), relative(negatives).quantile(quantile)
        assert here == pytest.approx(there, abs=0.07)
    columns = ["plane", "dicom_modality"]
    planes = [
        made.series.loc[spots[SERIES_COLUMN], columns].value_counts(normalize=True)
        for spots in (positives, negatives)
    ]
    assert (planes[0] - planes[1]).abs().max() < 0.1


def test_no_negative_comes_from_a_series_with_an_aneurysm_that_is_not_marked(tmp_path: Path):
    data = cohort(tmp_path, patients=12)
    data.add_series("9.1", BASILAR, ACOM, n=200)
    data.mark("9.1", 10, BASILAR)
    data.add_series("9.2", n=200, overall=1)
    made, _, negatives = drawn(data, folds=3)
    assert made.series.loc[["9.1", "9.2"], "localized"].tolist() == [0, 0]
    assert not negatives[SERIES_COLUMN].isin(["9.1", "9.2"]).any()


def test_no_negative_comes_from_a_series_whose_second_mark_cannot_be_placed(tmp_path: Path):
    data = cohort(tmp_path, patients=12)
    data.add_series("9.1", BASILAR, n=200)
    data.mark("9.1", 10, BASILAR)
    data.mark("9.1", 150, BASILAR, "{'x': 1}")
    made, _, negatives = drawn(data, folds=3)
    assert made.series.at["9.1", "localized"] == 1
    assert "9.1" not in set(negatives[SERIES_COLUMN])


def test_short_series_give_fewer_negatives_instead_of_wrong_ones(tmp_path: Path):
    data = TinyData(tmp_path)
    for number in range(4):
        data.add_series(f"1.{number}", BASILAR, n=8)
        data.mark(f"1.{number}", 4, BASILAR)
    data.write()
    series = typed(data)
    localizers, left_out = read_localizers(
        data.paths.localizers_csv,
        series,
        with_types(pd.DataFrame(data.slices).astype(str), tmp_path),
        RSNA_2025,
    )
    series["fold"] = assign_folds(series, 2, 0, RSNA_2025)
    series["localized"] = localized_flags(series, localizers, RSNA_2025)
    assert negative_spots(series, localizers, left_out, 2.0, 0, RSNA_2025) == []


def test_every_location_of_the_task_can_be_a_spot(tmp_path: Path):
    data = TinyData(tmp_path)
    for number, location in enumerate(LOCATIONS):
        data.add_series(f"1.{number}", location)
        data.mark(f"1.{number}", 19, location)
    _, positives, _ = drawn(data)
    assert sorted(positives["location"]) == sorted(LOCATIONS)
    assert set(positives["index"]) == {19}
