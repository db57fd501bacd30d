"""Traits in words, and tables of the rows that share one."""

import math

import numpy as np
import pytest

from intracranial.evaluation.subgroups import by_trait, count_findings, describe, subgroup_tables
from intracranial.statistics.intervals import Settings, table_with_intervals
from intracranial.statistics.sample import Sample
from intracranial.tasks import RSNA_2025
from tests.statistics.test_intervals import TASK, a_sample


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("44", "0 to 44"),
        ("45", "45 to 59"),
        ("59.5", "45 to 59"),
        ("060Y", "60 to 74"),
        ("75", "75+"),
        ("89y", "75+"),
        ("", "unknown"),
        ("nan", "unknown"),
        ("006M", "unknown"),
    ],
)
def test_ages_are_read_as_years_and_as_dicom_age_strings(age, band):
    assert describe("CTA", "axial", "Female", age, 1.0, 1.0, 0)["age"] == band


@pytest.mark.parametrize(
    ("slice_mm", "band"),
    [
        (0.625, "0 to 1 mm"),
        (1.0, "1 to 3 mm"),
        (5.0, "3+ mm"),
        (None, "unknown"),
        (math.nan, "unknown"),
        (0.0, "unknown"),
    ],
)
def test_distances_between_slices_fall_into_thin_medium_and_thick(slice_mm, band):
    assert describe("CTA", "axial", "Female", "60", None, slice_mm, 0)["slice_distance"] == band


def test_thickness_is_its_own_trait_and_not_stated_where_the_files_do_not_have_it():
    thin_and_far = describe("CTA", "axial", "Female", "60", 0.6, 2.0, 0)
    assert thin_and_far["slice_thickness"] == "0 to 1 mm"
    assert thin_and_far["slice_distance"] == "1 to 3 mm"
    for missing in (None, math.nan):
        traits = describe("CTA", "axial", "Female", "60", missing, 2.0, 0)
        assert traits["slice_thickness"] == "not stated"


def test_the_other_traits_are_named_even_where_nothing_is_known():
    traits = describe("", "oblique", "", "", None, None, 2)
    assert traits["modality"] == traits["sex"] == "unknown"
    assert traits["plane"] == "oblique" and traits["findings"] == "2+"
    assert describe("MRA", "axial", " female", "60", 1.0, 1.0, 1)["sex"] == "Female"
    assert describe("MRA", "axial", "F", "60", 1.0, 1.0, 1)["findings"] == "1"
    assert by_trait([]) == {}


def test_aneurysms_are_counted_by_localizers_or_by_labels_where_those_are_more():
    labels = np.zeros(14)
    labels[[0, 4, 13]] = 1  # two locations and the overall label
    assert [count_findings(RSNA_2025, labels, n) for n in (0, 1, 3)] == [2, 2, 3]


def test_each_value_of_a_trait_has_the_table_of_its_rows_alone():
    plain = a_sample()
    sex = np.array(["Female", "Male"])[np.arange(80) // 2 % 2]
    sample = Sample(plain.targets, plain.probabilities, plain.uids, plain.groups, {"sex": sex})
    tables = subgroup_tables(TASK, sample, Settings(200))
    assert list(tables["sex"]) == ["Female", "Male"]
    expected, _ = table_with_intervals(TASK, plain.rows(sex == "Male"), Settings(200))
    assert tables["sex"]["Male"] == expected
    assert sum(table.series for table in tables["sex"].values()) == 80


def test_series_with_aneurysms_are_scored_against_all_without():
    plain = a_sample()
    count = np.where(plain.targets[:, 3] == 1, np.array(["1", "2+"])[np.arange(80) % 2], "0")
    sample = Sample(
        plain.targets, plain.probabilities, plain.uids, plain.groups, {"findings": count}
    )
    tables = subgroup_tables(TASK, sample, Settings(200))["findings"]
    assert list(tables) == ["1", "2+"]
    for table in tables.values():
        assert table.per_label["Any"].positives == 20
        assert table.per_label["Any"].negatives == 40
