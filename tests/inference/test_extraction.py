"""Extraction: augmented views say what they did, and hard negatives are mined where they may be."""

from dataclasses import replace

import numpy as np
import pytest

from intracranial.artifacts import DataPaths, FoldPaths, save_array
from intracranial.compute import choose_compute
from intracranial.inference.encoder import Encoder, FeatureSet
from intracranial.inference.extraction import encode_sets, prepare_views
from intracranial.lineage import open_stage1
from intracranial.options.stage1 import StackAugmentation
from intracranial.sampling.features import features_identity, load_features, save_features
from tests.sampling.test_slice_samples import MIRROR_ALWAYS, series
from tests.tiny_runs import Place

NOTHING = replace(MIRROR_ALWAYS, flip_lr=0.0)


@pytest.fixture(scope="module")
def encoder(tiny: Place) -> Encoder:
    return Encoder(tiny.fold(), open_stage1(tiny.fold(), {}), choose_compute("cpu", "fp32"))


@pytest.fixture
def extract(encoder: Encoder, tmp_path):
    data, paths = DataPaths(tmp_path / "data"), FoldPaths(tmp_path / "model", "run", 0)
    volume = np.random.default_rng(0).uniform(0, 5, (18, 64, 64)).astype(np.float16)

    def call(views: int, spec: StackAugmentation, axis: str | None = "columns", seed: int = 0):
        info = replace(series("1.1", n=18), axis=axis)
        save_array(data.sequence("1.1"), volume)
        prepared = prepare_views(encoder, data, info, views, spec, seed)
        save_features(paths.feature("1.1"), encode_sets(encoder, prepared), "name")
        assert features_identity(paths.feature("1.1")) == "name"
        return load_features(paths.feature("1.1"))

    return call


def test_views_stand_beside_the_plain_features_of_every_step(extract):
    plain, found = extract(0, StackAugmentation()), extract(2, StackAugmentation())
    assert set(plain) == {(1, 0), (2, 0)}
    assert set(found) == {(step, view) for step in (1, 2) for view in (0, 1, 2)}
    assert np.array_equal(plain[1, 0].features, found[1, 0].features)
    assert not np.array_equal(found[1, 1].features, found[1, 2].features)


def test_a_view_that_changes_nothing_gives_the_plain_features(extract):
    found = extract(1, NOTHING)
    assert np.array_equal(found[1, 0].features, found[1, 1].features)
    assert np.array_equal(found[2, 0].peaks, found[2, 1].peaks)
    assert not found[1, 1].mirrored and not found[1, 1].reversed_slices


@pytest.mark.parametrize(
    ("axis", "mirrored", "reversed_slices"),
    [("columns", True, False), ("slices", True, True), (None, False, False)],
)
def test_a_view_says_whether_it_mirrored_and_reversed(extract, axis, mirrored, reversed_slices):
    found = extract(1, MIRROR_ALWAYS, axis)
    for step in (1, 2):
        assert found[step, 1].mirrored is mirrored
        assert found[step, 1].reversed_slices is reversed_slices
        assert not found[step, 0].mirrored and not found[step, 0].reversed_slices
    if axis == "columns":
        assert not np.array_equal(found[1, 0].features, found[1, 1].features)


def test_views_depend_on_the_seed_and_the_plain_features_do_not(extract):
    one, again, other = (extract(1, StackAugmentation(), seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one[1, 1].features, again[1, 1].features)
    assert not np.array_equal(one[1, 1].features, other[1, 1].features)
    assert np.array_equal(one[1, 0].features, other[1, 0].features)


def test_stage_1_output_keeps_its_shapes_in_the_file(extract, encoder: Encoder):
    found = extract(0, NOTHING)[1, 0]
    assert isinstance(FeatureSet(found.features, found.logits, found.peaks), FeatureSet)
    assert found.features.shape == (18, encoder.width) and found.peaks.shape == (18, 14, 3)
