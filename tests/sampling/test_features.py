"""Feature files keep what stage 1 said, bit for bit."""

from pathlib import Path

import numpy as np
import pytest

from intracranial.errors import InputError, MissingArtifact
from intracranial.sampling.features import (
    FeatureSet,
    features_identity,
    load_features,
    save_features,
)


def feature_set(seed: int, n: int = 7, mirrored: bool = False, reversed_: bool = False):
    rng = np.random.default_rng(seed)
    return FeatureSet(
        rng.normal(size=(n, 16)).astype(np.float16),
        rng.normal(size=(n, 14)).astype(np.float32),
        rng.random((n, 14, 3)).astype(np.float32),
        mirrored,
        reversed_,
    )


SETS = {
    (1, 0): feature_set(0),
    (2, 0): feature_set(1),
    (1, 1): feature_set(2, mirrored=True),
    (2, 12): feature_set(3, reversed_=True),
}


def test_steps_and_views_come_back_with_their_flags(tmp_path: Path):
    save_features(tmp_path / "1.2.safetensors", SETS, "abc")
    found = load_features(tmp_path / "1.2.safetensors")
    assert set(found) == set(SETS)
    for key, expected in SETS.items():
        for name in ("features", "logits", "peaks"):
            array = getattr(found[key], name)
            assert array.dtype == getattr(expected, name).dtype
            assert np.array_equal(array, getattr(expected, name))
        assert found[key].mirrored == expected.mirrored
        assert found[key].reversed_slices == expected.reversed_slices


def test_equal_features_give_equal_bytes(tmp_path: Path):
    save_features(tmp_path / "a", SETS, "abc")
    save_features(tmp_path / "b", dict(reversed(SETS.items())), "abc")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_says_what_it_was_made_from_and_a_damaged_one_says_nothing(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    assert features_identity(path) is None
    save_features(path, SETS, "abc")
    assert features_identity(path) == "abc"
    path.write_bytes(path.read_bytes()[:-5])  # half written by a machine that lost power
    assert features_identity(path) is None
    path.write_bytes(b"")
    assert features_identity(path) is None


def test_a_missing_and_a_damaged_file_name_the_script(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(MissingArtifact, match=r"is missing: run extract_features\.py first"):
        load_features(path)
    path.write_bytes(b"\xff" * 50)
    with pytest.raises(InputError, match=r"is damaged.*delete it and run extract_features\.py"):
        load_features(path)
