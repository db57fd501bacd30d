"""The predictor reads series as the caches of its model's training were made."""

from pathlib import Path
from typing import Any

import pytest

from intracranial.artifacts import FoldPaths
from intracranial.inference import fold
from intracranial.inference.fold import FoldPredictor
from intracranial.lineage import TrainedFold
from intracranial.tasks import RSNA_2025

OF_BEFORE = {"size": 64, "mr_window": "fixed", "orient": "stored"}


def predictor_of(preprocessing: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> FoldPredictor:
    monkeypatch.setattr(fold, "Encoder", lambda *args: None)
    monkeypatch.setattr(fold, "SequencePredictor", lambda *args: None)
    paths = FoldPaths(Path("model"), "run", 0)
    trained = TrainedFold(paths, RSNA_2025, {"preprocessing": preprocessing}, {})
    return FoldPredictor(trained, "cpu", "fp32", max_gib=2.0)


def test_size_window_orientation_and_rescale_are_those_of_the_caches(monkeypatch):
    found = predictor_of({**OF_BEFORE, "rescale": "never"}, monkeypatch)
    assert (found.cache.size, found.cache.mr_window) == (64, "fixed")
    assert (found.read.orient, found.read.rescale, found.read.max_gib) == ("stored", "never", 2.0)


def test_a_model_made_before_there_was_a_rescale_option_counts_as_auto(monkeypatch):
    assert predictor_of(OF_BEFORE, monkeypatch).read.rescale == "auto"
