"""Rows of the predictions tables."""

import numpy as np

from intracranial.evaluation.predictions import prediction_rows
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.challenge import OVERALL

TASK = RSNA_2025


def scored(n: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (n, 14)).astype(float), rng.random((n, 14))


def test_a_row_has_its_keys_every_probability_and_the_truth_where_it_is_known():
    targets, probabilities = scored(2)
    keys = [{SERIES_COLUMN: "1.1", "index": 3}, {SERIES_COLUMN: "1.2", "index": 4}]
    columns, rows = prediction_rows(TASK, keys, targets, probabilities)
    assert columns[:3] == [SERIES_COLUMN, "index", TASK.labels[0]]
    assert columns[16:] == [f"true {label}" for label in TASK.labels]
    assert rows[1][TASK.overall] == probabilities[1, OVERALL]
    assert rows[1]["index"] == 4 and rows[1][f"true {TASK.overall}"] in (0, 1)
    columns, _ = prediction_rows(TASK, keys, None, probabilities)
    assert len(columns) == 16
    assert prediction_rows(TASK, [], None, probabilities)[0][0] == SERIES_COLUMN
