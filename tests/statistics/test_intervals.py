"""The score table with intervals: which figures get one, why others do not, and their coverage."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from intracranial.jsonable import to_json
from intracranial.metrics import Cell, Ends, score_table
from intracranial.statistics.bootstrap import draw_resamples
from intracranial.statistics.delong import auc_interval
from intracranial.statistics.intervals import (
    MORE_FIGURES,
    Settings,
    resampled_values,
    table_with_intervals,
)
from intracranial.statistics.sample import Sample
from intracranial.tasks import RSNA_2025, Task
from tests.challenge import OVERALL

TASK = Task(
    "small",
    ("Left A", "Right A", "Rare", "Any"),
    "Any",
    ("Left A", "Right A", "Rare"),
    weights=(1 / 6, 1 / 6, 1 / 6, 1 / 2),
)


def a_sample(seed=0, patients=80, per_patient=1, rare=3, distance=1.0):
    """Half of the patients have an aneurysm: Left A and Right A in turn, `rare` of them Rare."""
    rng = np.random.default_rng(seed)
    number = np.repeat(np.arange(patients), per_patient)
    half = patients // 2
    targets = np.zeros((len(number), 4), dtype=int)
    targets[:, 3] = number < half
    targets[:, 0] = (number < half) & (number % 2 == 0)
    targets[:, 1] = (number < half) & (number % 2 == 1)
    targets[:, 2] = number < rare
    scores = rng.normal(distance * targets, 1)
    names = np.array([f"p{k:03d}" for k in number])
    uids = np.array([f"1.{k}" for k in range(len(number))])
    return Sample(targets, norm.cdf(scores), uids, names)


def test_the_figures_are_those_of_the_plain_score_table():
    sample = a_sample()
    table, _ = table_with_intervals(TASK, sample, Settings(200))
    plain = score_table(TASK, sample.targets, sample.probabilities)
    for key in ("score", "others_mean"):
        assert getattr(table, key).value == getattr(plain, key).value
    for label in TASK.labels:
        for key in ("value", "positives", "negatives"):
            one, other = table.per_label[label], plain.per_label[label]
            assert getattr(one, key) == pytest.approx(getattr(other, key))


def test_every_interval_holds_its_figure_and_the_weighted_one_equals_a_slow_bootstrap():
    sample = a_sample(patients=60)
    table, _ = table_with_intervals(TASK, sample, Settings(2000))
    for cell in (table.score, table.others_mean, table.per_label["Any"]):
        assert cell.low < cell.value < cell.high
    rng, slow = np.random.default_rng(1), []
    ones, zeros = np.arange(30), np.arange(30, 60)

    def auc(rows, label):
        return roc_auc_score(sample.targets[rows, label], sample.probabilities[rows, label])

    def draw():
        return np.concatenate([rng.choice(ones, 30), rng.choice(zeros, 30)])

    for _ in range(400):
        rows = draw()
        terms = []
        for label in range(4):
            own = rows
            while not 0 < sample.targets[own, label].sum() < 60:
                own = draw()
            terms.append(auc(own, label))
        slow.append(0.5 * terms[3] + 0.5 * np.mean(terms[:3]))
    ends = (table.score.low, table.score.high)
    assert ends == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.02)


def test_nineteen_of_twenty_weighted_intervals_hold_the_true_value():
    # Every label's true AUC is P(N(1, 1) > N(0, 1)).
    true, held = norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(150):
        cell = table_with_intervals(TASK, a_sample(seed, rare=20), Settings(200, seed))[0].score
        held += cell.low <= true <= cell.high
    assert 134 <= held <= 149  # 142.5 with a standard deviation of 2.7


def test_there_is_no_interval_below_five_patients_with_the_label():
    table, _ = table_with_intervals(TASK, a_sample(rare=4), Settings(200), more=True)
    rare = table.per_label["Rare"]
    assert rare.value is not None and rare.low is None and rare.high is None
    assert rare.no_interval == "fewer than 5 patients with it"
    assert all(
        one.value is not None and one.low is None
        for one in (getattr(rare, name) for name in MORE_FIGURES)
    )
    assert rare.delong is None and table.rare == ("Rare",)
    assert rare.groups_with == 4 and rare.redrawn > 0
    table, _ = table_with_intervals(TASK, a_sample(rare=5), Settings(200))
    assert table.per_label["Rare"].low is not None and table.rare == ()


def test_five_series_of_one_patient_are_one_patient():
    sample = a_sample(per_patient=5, rare=1)
    rare = table_with_intervals(TASK, sample, Settings(200))[0].per_label["Rare"]
    assert rare.positives == 5 and rare.groups_with == 1 and rare.low is None


def test_a_rare_label_is_drawn_again_and_the_share_is_told():
    table, _ = table_with_intervals(TASK, a_sample(rare=1), Settings(2000))
    # One of 40 patients is missing from (1 - 1/40)^40 of the resamples.
    assert table.per_label["Rare"].redrawn == pytest.approx((39 / 40) ** 40, abs=0.04)
    assert table.per_label["Any"].redrawn == 0
    assert table.score.low is not None


def test_a_label_with_one_class_is_left_out_of_every_resample():
    sample = a_sample(rare=0)
    table, _ = table_with_intervals(TASK, sample, Settings(200), more=True)
    assert table.left_out == ("Rare",)
    rare = table.per_label["Rare"]
    assert rare.value is None and rare.no_interval == "one class only"
    assert rare.average_precision == Cell(None, None, None)
    assert table.score.low is not None
    json.dumps(to_json(table), allow_nan=False)


def test_delong_is_there_only_where_every_patient_has_one_series():
    sample = a_sample()
    table, _ = table_with_intervals(TASK, sample, Settings(2000))
    cell = table.per_label["Any"]
    low, high = auc_interval(sample.targets[:, 3], sample.probabilities[:, 3])
    assert cell.delong == Ends(low, high)
    assert (cell.low, cell.high) == pytest.approx((low, high), abs=0.03)
    table, _ = table_with_intervals(TASK, a_sample(per_patient=2), Settings(200))
    assert table.per_label["Any"].delong is None and table.groups == 80


def test_a_perfect_label_has_no_interval_and_the_reason_is_given():
    sample = a_sample()
    perfect = Sample(sample.targets, sample.targets * 0.8, sample.uids, sample.groups)
    table, _ = table_with_intervals(TASK, perfect, Settings(200))
    cell = table.per_label["Any"]
    assert cell.value == 1 and cell.low is None
    assert cell.no_interval == "all resamples give one value"
    assert table.score.low is None


@pytest.mark.parametrize("resamples", [0, 200])
def test_samples_without_one_class_or_without_rows_give_tables_that_json_accepts(resamples):
    sample = a_sample()
    for chosen in (sample.targets[:, 3] == 1, sample.targets[:, 3] == 0, np.zeros(80, dtype=bool)):
        table, _ = table_with_intervals(TASK, sample.rows(chosen), Settings(resamples), more=True)
        assert table.score == Cell(None, None, None)
        json.dumps(to_json(table), allow_nan=False)


def test_without_resamples_there_are_figures_and_no_intervals():
    table, drawn = table_with_intervals(TASK, a_sample(), Settings(0), more=True)
    assert drawn is None and table.score.low is None
    assert table.per_label["Any"].no_interval == "no resamples were asked for"
    assert table.per_label["Any"].sensitivity.value > 0


def test_2000_resamples_of_500_series_take_less_than_a_second():
    """Of one core's time, with the challenge's 14 labels."""
    rng = np.random.default_rng(0)
    present = np.zeros((500, len(RSNA_2025.labels)), dtype=int)
    for row in range(0, 500, 2):
        present[row, rng.integers(len(RSNA_2025.locations))] = 1
    present[:, OVERALL] = present.any(axis=1)
    scores = norm.cdf(rng.normal(present, 1))
    names = np.array([f"p{row:03d}" for row in range(500)])
    sample = Sample(present, scores, names, names)
    table = score_table(RSNA_2025, sample.targets, sample.probabilities)
    start = time.process_time()
    drawn = draw_resamples(sample.groups, present[:, OVERALL], 2000, 0)
    found = resampled_values(RSNA_2025, sample, table, drawn)
    assert time.process_time() - start < 1
    assert len(found) == 14 and all(len(values) == 2000 for values in found.values())


def test_means_of_rare_locations_alone_have_no_interval():
    sample = a_sample(rare=4)
    targets = sample.targets.copy()
    for column in (0, 1):
        targets[np.flatnonzero(targets[:, column])[4:], column] = 0
    table, _ = table_with_intervals(TASK, replace(sample, targets=targets), Settings(200))
    assert set(table.rare) == set(TASK.locations)
    for name in ("score", "others_mean"):
        assert getattr(table, name).value is not None and getattr(table, name).low is None
    targets[:, 0] = sample.targets[:, 0]
    table, _ = table_with_intervals(TASK, replace(sample, targets=targets), Settings(200))
    assert table.score.low is not None
