"""The weighted multilabel AUC against scikit-learn and against examples worked out by hand."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from intracranial.errors import InputError, NumericalError
from intracranial.jsonable import to_json
from intracranial.metrics import ScoreTable, cell, format_table, score_table
from intracranial.sidecar import whole
from intracranial.tasks import RSNA_2025, Task
from tests.challenge import OVERALL

SMALL = Task(
    name="small",
    locations=("Left A", "Right A"),
    overall="Any",
    labels=("Left A", "Right A", "Any"),
    weights=(0.25, 0.25, 0.5),
)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_sample(rows=200, seed=0):
    generator = np.random.default_rng(seed)
    targets = (generator.random((rows, 14)) < 0.2).astype(np.int64)
    probabilities = np.clip(generator.normal(0.3 + 0.2 * targets, 0.2), 0, 1)
    return targets, probabilities


def test_every_label_equals_scikit_learn():
    targets, probabilities = random_sample()
    table = score_table(RSNA_2025, targets, probabilities)
    for column, label in enumerate(RSNA_2025.labels):
        expected = roc_auc_score(targets[:, column], probabilities[:, column])
        assert table.per_label[label].value == pytest.approx(expected, abs=1e-12)
    assert table.series == 200
    assert table.left_out == ()


def test_the_score_is_half_the_overall_label_and_half_the_mean_of_thirteen_locations():
    targets, probabilities = random_sample()
    aucs = [roc_auc_score(targets[:, i], probabilities[:, i]) for i in range(14)]
    table = score_table(RSNA_2025, targets, probabilities)
    assert table.score.value == pytest.approx(0.5 * aucs[13] + 0.5 * np.mean(aucs[:13]), abs=1e-12)


def test_an_example_by_hand_counts_ties_as_half():
    #                    Left A  Right A  Any
    targets = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0]])
    probabilities = np.array(
        [[0.5, 0.1, 0.9], [0.5, 0.1, 0.4], [0.5, 0.1, 0.4], [0.2, 0.3, 0.1]], dtype=np.float32
    )
    # Left A: one positive at 0.5 against 0.5, 0.5, 0.2: (0.5 + 0.5 + 1) / 3.
    # Right A: one positive at 0.1 against 0.1, 0.1, 0.3: (0.5 + 0.5 + 0) / 3.
    # Any: 0.9 beats both, 0.4 ties with one and beats the other: (2 + 1.5) / 4.
    table = score_table(SMALL, targets, probabilities)
    assert to_json(table.per_label["Left A"]) == {
        "value": pytest.approx(2 / 3),
        "low": None,
        "high": None,
        "positives": 1,
        "negatives": 3,
    }
    assert table.per_label["Right A"].value == pytest.approx(1 / 3)
    assert table.per_label["Any"].value == pytest.approx(7 / 8)
    assert table.others_mean.value == pytest.approx(1 / 2)
    assert table.score.value == pytest.approx(0.5 * 7 / 8 + 0.5 * 1 / 2)


def test_constant_probabilities_score_one_half():
    targets, _ = random_sample()
    table = score_table(RSNA_2025, targets, np.full(targets.shape, 0.3))
    assert table.score.value == pytest.approx(0.5)


@pytest.mark.parametrize("only", [0, 1])
def test_a_location_with_one_class_is_left_out_by_name_and_the_mean_is_over_the_rest(only):
    targets, probabilities = random_sample()
    targets[:, 2] = only
    table = score_table(RSNA_2025, targets, probabilities)
    label = RSNA_2025.labels[2]
    rest = [table.per_label[name].value for name in RSNA_2025.locations if name != label]
    assert table.left_out == (label,)
    assert table.per_label[label].value is None
    assert table.others_mean.value == pytest.approx(np.mean(rest))
    assert table.score.value is not None


def test_the_score_is_null_when_the_overall_label_has_one_class():
    targets, probabilities = random_sample()
    targets[:, OVERALL] = 1
    table = score_table(RSNA_2025, targets, probabilities)
    assert table.score.value is None
    assert table.others_mean.value is not None
    assert table.left_out == ("Aneurysm Present",)


def test_the_score_is_null_when_no_location_can_be_scored():
    targets, probabilities = random_sample()
    targets[:, :13] = 0
    table = score_table(RSNA_2025, targets, probabilities)
    assert table.score.value is None
    assert table.others_mean.value is None
    assert table.per_label["Aneurysm Present"].value is not None


def test_no_series_at_all_gives_a_table_of_nulls_that_json_accepts():
    table = score_table(RSNA_2025, np.zeros((0, 14)), np.zeros((0, 14)))
    assert table.series == 0
    assert table.left_out == RSNA_2025.labels
    assert "NaN" not in json.dumps(to_json(table), allow_nan=False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_probability_that_is_not_finite_stops_with_its_label_and_rows(value):
    targets, probabilities = random_sample()
    probabilities[[3, 17], 4] = value
    with pytest.raises(NumericalError, match=r"Left Middle Cerebral Artery.*row 3, 17 "):
        score_table(RSNA_2025, targets, probabilities)


def test_many_bad_rows_are_counted_instead_of_listed():
    targets, probabilities = random_sample()
    probabilities[:, 0] = np.nan
    with pytest.raises(NumericalError, match=r"row 0, 1, 2, 3, 4 and 195 more"):
        score_table(RSNA_2025, targets, probabilities)


def test_a_target_other_than_zero_or_one_is_refused():
    targets, probabilities = random_sample()
    targets[5, 13] = 2
    with pytest.raises(InputError, match=r"Aneurysm Present.*row 5 "):
        score_table(RSNA_2025, targets, probabilities)


def test_shapes_that_do_not_fit_the_task_are_refused():
    with pytest.raises(ValueError, match=r"\(rows, 14\)"):
        score_table(RSNA_2025, np.zeros((4, 13)), np.zeros((4, 14)))


def test_boolean_and_float_targets_score_alike():
    targets, probabilities = random_sample()
    tables = [
        score_table(RSNA_2025, targets.astype(kind), probabilities)
        for kind in (np.int64, np.bool_, np.float32)
    ]
    assert tables[0] == tables[1] == tables[2]


def test_the_printed_table_is_aligned_and_says_what_was_left_out():
    targets, probabilities = random_sample()
    targets[:, 11] = 0
    # Through JSON with sorted keys, as the metrics file is: the label order must survive.
    stored = json.dumps(to_json(score_table(RSNA_2025, targets, probabilities)), sort_keys=True)
    table = whole(Path("stage1_metrics.json"), json.loads(stored), ScoreTable)
    lines = format_table(RSNA_2025, table).splitlines()
    assert [line[:10].strip() for line in lines[1:15]] == [
        label[:10].strip() for label in RSNA_2025.labels
    ]
    assert len({len(line) for line in lines[:15]}) == 1 and len(lines[0]) <= 80
    assert lines[15].endswith("12 of 13")
    assert lines[16].endswith("200 series")
    assert lines[17] == "left out (one class only): Basilar Tip"


def test_the_printed_table_shows_a_dash_where_there_is_no_score():
    text = format_table(SMALL, score_table(SMALL, np.zeros((2, 3)), np.zeros((2, 3))), unit="spots")
    assert "nan" not in text.lower() and "none" not in text.lower()
    assert "    -" in text.splitlines()[5] and text.splitlines()[5].endswith("  2 spots")


def test_the_printed_table_shows_intervals_where_there_are_some():
    targets, probabilities = random_sample()
    table = score_table(RSNA_2025, targets, probabilities)
    table = replace(table, score=cell(0.75, (0.7, 0.8)))
    lines = format_table(RSNA_2025, table).splitlines()
    assert lines[16].split()[2:] == ["0.750", "0.700", "to", "0.800", "200", "series"]
    assert " to " not in "".join(lines[:16])
