"""--compile changes how fast a network runs and, but for last bits, nothing else."""

from pathlib import Path

import numpy as np
import pytest

from intracranial.sampling.features import load_features
from tests.tiny_runs import Place, read


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["", "/none"])
def test_compiled_features_are_the_plain_ones_also_without_a_compiler(
    tiny: Place, tmp_path: Path, compiler: str
):
    place = tiny.copy(tmp_path / "copy", "features", "features.json")
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    if compiler:
        environment["CXX"] = compiler
    said = place.process("extract_features", "--compile", "--limit", "3", **environment)
    assert said.code == 0, said.text
    made = sorted(path.stem for path in place.fold().features.iterdir())
    assert len(made) == read(place.fold().features_manifest)["series"] == 3
    for uid in made:
        plain, found = (load_features(one.fold().feature(uid)) for one in (tiny, place))
        for key in plain:
            assert np.allclose(plain[key].logits, found[key].logits, atol=1e-3)
            assert np.allclose(plain[key].peaks, found[key].peaks, atol=0.1)


@pytest.mark.slow
def test_a_compiled_training_ends_with_weights_that_later_stages_take(tiny: Place, tmp_path: Path):
    place = tiny.copy(tmp_path / "copy", "model")
    flags = ("--compile", "--max_steps", "3")
    said = place.process("train_stage1", *flags, TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
    assert said.code == 0, said.text
    said = place.call("eval_stage1")
    assert said.code == 0, said.text
