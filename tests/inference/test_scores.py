"""Score tables of the stages and rows of their predictions."""

import numpy as np
import pytest

from src.errors import InputError
from src.inference.scores import prediction_rows, stage_metrics
from src.task import RSNA_2025, SERIES_COLUMN

TASK = RSNA_2025


def scored(n: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (n, 14)).astype(float), rng.random((n, 14))


def test_metrics_hold_the_held_out_table_beside_training_and_the_gap():
    held_out, training = scored(), scored(seed=1)
    metrics = stage_metrics(TASK, "stage 1", held_out, training, {"select": "last"})
    value, seen = metrics["weighted_auc"]["value"], metrics["training"]["weighted_auc"]["value"]
    assert metrics["gap"] == pytest.approx(seen - value)
    assert metrics["selected_on"] == "last"


def test_selection_on_the_held_out_fold_is_said_in_the_file_and_in_the_log(caplog):
    with caplog.at_level("WARNING", logger="aneurysm"):
        metrics = stage_metrics(TASK, "stage 1", scored(), scored(), {"select": "heldout"})
    assert metrics["selected_on"] == "this fold"
    assert "selected on this fold" in caplog.text


def test_a_fold_with_nothing_to_score_is_an_error():
    empty = (np.zeros((0, 14)), np.zeros((0, 14)))
    with pytest.raises(InputError, match="nothing to score"):
        stage_metrics(TASK, "stage 1", empty, scored(), {"select": "last"})
    assert stage_metrics(TASK, "x", scored(), empty, {"select": "last"})["gap"] is None


def test_a_row_has_its_keys_every_probability_and_the_truth_where_it_is_known():
    targets, probabilities = scored(2)
    keys = [{SERIES_COLUMN: "1.1", "index": 3}, {SERIES_COLUMN: "1.2", "index": 4}]
    columns, rows = prediction_rows(TASK, keys, targets, probabilities)
    assert columns[:3] == [SERIES_COLUMN, "index", TASK.labels[0]]
    assert columns[16:] == [f"true {label}" for label in TASK.labels]
    assert rows[1][TASK.overall] == probabilities[1, TASK.overall_index]
    assert rows[1]["index"] == 4 and rows[1][f"true {TASK.overall}"] in (0, 1)
    columns, _ = prediction_rows(TASK, keys, None, probabilities)
    assert len(columns) == 16
    assert prediction_rows(TASK, [], None, probabilities)[0][0] == SERIES_COLUMN
