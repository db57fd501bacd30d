"""What a metrics file says: one schema, no NaN, and honesty about selection and training."""

import json

import numpy as np
import pytest

from intracranial.errors import InputError
from intracranial.evaluation.metrics_files import ReadAt
from intracranial.evaluation.stage_scores import stage_metrics
from intracranial.evaluation.tables import evaluate, log_tables, selected_on
from intracranial.jsonable import to_json
from intracranial.lineage import Trained
from intracranial.metrics import Cell
from intracranial.statistics.crossfit import over_patients
from intracranial.statistics.intervals import Settings
from tests.statistics.test_intervals import TASK, a_sample

LAST = [Trained(task=TASK, select="last")]

DOCUMENTED = (
    "score",
    "score_name",
    "metric",
    "higher_is_better",
    "with_finding",
    "task",
    "others_mean",
    "per_label",
    "left_out",
    "rare",
    "series",
    "groups",
    "read_at",
    "intervals",
    "subgroups",
    "calibration",
    "operating_points",
    "selected_on",
)


def evaluated(sample, selected="last", seen=0):
    crossfit = over_patients(sample, sample.targets[:, 3], 0)
    return evaluate(TASK, sample, Settings(100), crossfit, selected, seen)


def test_the_table_has_every_documented_key_and_is_valid_json():
    table = evaluated(a_sample())
    assert set(to_json(table)) == set(DOCUMENTED)
    assert json.loads(json.dumps(to_json(table), allow_nan=False)) == to_json(table)
    assert evaluated(a_sample().rows(np.zeros(80, dtype=bool))).series == 0


def test_the_same_sample_gives_the_same_table():
    assert evaluated(a_sample()) == evaluated(a_sample())


@pytest.mark.parametrize(
    ("kinds", "held_out", "words"),
    [
        (("last", "last"), True, "last"),
        (("heldout", "last"), True, "this fold"),
        (("last", "heldout"), True, "this fold"),
        (("last", "inner"), True, "inner, last"),
        (("heldout", "last"), False, "last, the held-out fold"),
    ],
)
def test_either_stage_can_have_selected_on_the_scored_fold(kinds, held_out, words):
    assert selected_on([Trained(task=TASK, select=kind) for kind in kinds], held_out) == words


def test_intervals_after_selection_or_training_on_the_scored_series_are_called_optimistic(caplog):
    assert evaluated(a_sample()).intervals.optimistic is None
    table = evaluated(a_sample(), "this fold", seen=3)
    assert "selected on this fold; 3 scored series" in table.intervals.optimistic
    with caplog.at_level("INFO", logger="intracranial"):
        log_tables(TASK, "end to end", table)
    assert "intervals are optimistic" in caplog.text
    assert "100 resamples of 80 patients" in caplog.text
    assert "fewer than 5 patients: Rare" in caplog.text


def test_the_threshold_of_an_operating_point_is_not_the_best_of_the_scored_series():
    table = evaluated(a_sample(patients=200))
    point = table.operating_points.per_label["Any"].at_specificity
    assert len(set(point.thresholds)) > 1
    assert table.read_at == ReadAt(specificity=0.9, sensitivity=0.9)


def test_a_stage_has_its_held_out_table_beside_training_and_the_gap():
    sample, seen = a_sample(patients=200), a_sample(1, distance=3.0)
    metrics = stage_metrics(TASK, "stage 1", sample, seen, LAST, Settings(200))
    for name, pick in (
        ("score", lambda table: table.score),
        ("Any", lambda table: table.per_label["Any"]),
    ):
        held_out, trained, gap = pick(metrics), pick(metrics.training), metrics.gap.figures[name]
        assert gap.value == pytest.approx(trained.value - held_out.value)
        widths = [one.high - one.low for one in (held_out, trained, gap)]
        assert gap.low < gap.value < gap.high and gap.value > 0
        # The variances of two independent figures add up.
        assert widths[2] == pytest.approx(np.hypot(widths[0], widths[1]), rel=0.25)


def test_the_gap_is_over_the_labels_that_both_sides_score():
    sample, seen = a_sample(patients=200, rare=0), a_sample(1, distance=3.0, rare=12)
    metrics = stage_metrics(TASK, "stage 1", sample, seen, LAST, Settings(200))
    assert metrics.left_out == ("Rare",) and metrics.training.left_out == ()
    labels = ["Left A", "Right A", "Any"]
    assert metrics.gap.labels == tuple(labels)

    def mean(table):
        left, right, overall = (table.per_label[name].value for name in labels)
        return TASK.overall_weight * overall + (1 - TASK.overall_weight) * (left + right) / 2

    gap = metrics.gap.figures["score"]
    assert gap.value == pytest.approx(mean(metrics.training) - mean(metrics))
    assert gap.value != pytest.approx(metrics.training.score.value - metrics.score.value)
    assert gap.low < gap.value < gap.high


def test_a_stage_without_training_rows_or_resamples_has_no_gap_or_no_interval_of_it():
    sample, last = a_sample(), LAST
    none = sample.rows(np.zeros(80, dtype=bool))
    metrics = stage_metrics(TASK, "x", sample, none, last, Settings(0))
    assert metrics.gap is None and metrics.training is None
    gap = stage_metrics(TASK, "x", sample, sample, last, Settings(0)).gap
    assert gap.figures["score"] == Cell(0.0, None, None)


def test_a_fold_with_nothing_to_score_is_an_error():
    sample = a_sample()
    nothing = sample.rows(np.zeros(80, dtype=bool))
    with pytest.raises(InputError, match="nothing to score"):
        stage_metrics(TASK, "stage 1", nothing, sample, LAST, Settings(100))
