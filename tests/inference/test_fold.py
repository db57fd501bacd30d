"""The predictor reads series as the caches of its model's training were made."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from intracranial.artifacts import FoldPaths
from intracranial.imaging.pixels import STANDARD, Phase, Pixels
from intracranial.inference import fold
from intracranial.inference.fold import FoldPredictor
from intracranial.lineage import TrainedFold
from intracranial.options.common import identity
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
    assert (found.pixels.size, found.pixels.mr_window) == (64, "fixed")
    assert (found.pixels.orient, found.pixels.rescale) == ("stored", "never")
    assert found.limits.max_gib == 2.0


def test_a_model_made_before_there_was_an_option_counts_as_what_was_done_then(monkeypatch):
    expected = Pixels(size=64, mr_window="fixed", orient="stored", rescale="auto", phase="first")
    assert predictor_of(OF_BEFORE, monkeypatch).pixels == expected


@pytest.mark.parametrize("phase", get_args(Phase))
def test_the_recipe_that_a_sidecar_tells_is_the_one_that_was_written(phase: Phase, monkeypatch):
    written = replace(STANDARD, size=64, rescale="always", phase=phase)
    assert predictor_of(identity(written), monkeypatch).pixels == written
