"""Stage 2 is scored on plain views alone."""

from pathlib import Path

import numpy as np
import torch

from intracranial.compute import choose_compute
from intracranial.inference.series_prediction import plain_views, predict_series
from intracranial.models.sequence_classifier import SequenceClassifier, SequenceClassifierConfig
from intracranial.sampling import features
from intracranial.sampling.features import FeatureSet, load_features, save_features
from intracranial.sampling.sequences import SequenceSpec

LABELS, SLICES = 3, 6


def a_set(seed: int) -> FeatureSet:
    random = np.random.default_rng(seed)
    return FeatureSet(
        random.normal(size=(SLICES, 4)).astype(np.float16),
        random.normal(size=(SLICES, LABELS)).astype(np.float32),
        random.normal(size=(SLICES, LABELS, 3)).astype(np.float32),
    )


def test_plain_views_are_all_that_is_read_and_all_that_counts(tmp_path: Path, monkeypatch):
    path = tmp_path / "1.2.safetensors"
    keys = [(1, 0), (1, 1), (2, 0), (2, 1)]
    save_features(path, {key: a_set(number) for number, key in enumerate(keys)}, "identity")
    everything = load_features(path)
    read = []
    original = features._read_set
    monkeypatch.setattr(
        features, "_read_set", lambda *args: read.append(args[2:]) or original(*args)
    )
    plain = load_features(path, plain_views)
    assert read == [(1, 0), (2, 0)]
    torch.manual_seed(0)
    config = SequenceClassifierConfig(LABELS, LABELS, 8, 8, 1, 2, "gem", 0.0, 0.0, skip=0)
    model, compute = SequenceClassifier(config).eval(), choose_compute("cpu", "fp32")
    spec = SequenceSpec(("logits",), 100, 5.0)
    found = [predict_series(model, sets, 1.0, True, spec, compute) for sets in (everything, plain)]
    assert np.array_equal(found[0].probabilities, found[1].probabilities)
    assert np.array_equal(found[0].slice_probabilities, found[1].slice_probabilities)
