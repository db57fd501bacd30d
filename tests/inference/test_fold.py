"""The predictor reads series as the caches of its model's training were made."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from intracranial.errors import MissingArtifact
from intracranial.imaging.pixels import STANDARD, Phase, Pixels
from intracranial.inference.fold import Detection, FoldPredictor
from intracranial.lineage import open_fold
from intracranial.options.common import identity
from intracranial.tasks import RSNA_2025
from tests.imaging.make_series import store, write_single_frames
from tests.tiny_runs import edit
from tests.untrained_runs import write_untrained_run

OF_BEFORE = {"size": 64, "mr_window": "fixed", "orient": "stored"}


def predictor_of(preprocessing: dict[str, Any], tmp_path: Path) -> FoldPredictor:
    paths = write_untrained_run(tmp_path / "model" / "run", RSNA_2025)
    edit(paths.manifest("stage1"), preprocessing=preprocessing)
    return FoldPredictor(open_fold(paths), "cpu", "fp32", max_gib=2.0)


def test_a_fold_of_stage_1_alone_answers_with_its_largest_slice(tmp_path: Path):
    paths = write_untrained_run(tmp_path / "model" / "run", RSNA_2025)
    paths.weights("stage2").unlink()
    paths.manifest("stage2").unlink()
    alone = open_fold(paths, stage1_alone=True)
    assert alone.stage2 is None and list(alone.sidecars) == ["stage1"]
    with pytest.raises(MissingArtifact, match=r"train_stage2\.py"):
        open_fold(paths)
    volume = np.random.default_rng(0).normal(1100, 50, (9, 32, 32)).astype(np.int16)
    folder = tmp_path / "incoming" / "1.2.3"
    write_single_frames(folder, store(volume), modality="CT", uid="1.2.3")
    predictor = FoldPredictor(alone, "cpu", "fp32", max_gib=2.0)
    (found,) = predictor.detect_folders([folder], 0, 60)
    assert isinstance(found, Detection)
    labels = len(RSNA_2025.labels)
    assert found.slice_probabilities.shape == (9, labels) and found.points
    assert np.array_equal(found.slice_probabilities, found.stage1_probabilities)
    assert np.array_equal(found.probabilities, found.slice_probabilities.max(axis=0))


def test_size_window_orientation_and_rescale_are_those_of_the_caches(tmp_path):
    found = predictor_of({**OF_BEFORE, "rescale": "never"}, tmp_path)
    assert (found.pixels.size, found.pixels.mr_window) == (64, "fixed")
    assert (found.pixels.orient, found.pixels.rescale) == ("stored", "never")
    assert found.limits.max_gib == 2.0


def test_a_model_made_before_there_was_an_option_counts_as_what_was_done_then(tmp_path):
    expected = Pixels(size=64, mr_window="fixed", orient="stored", rescale="auto", phase="first")
    assert predictor_of(OF_BEFORE, tmp_path).pixels == expected


@pytest.mark.parametrize("phase", get_args(Phase))
def test_the_recipe_that_a_sidecar_tells_is_the_one_that_was_written(phase: Phase, tmp_path: Path):
    written = replace(STANDARD, size=64, rescale="always", phase=phase)
    assert predictor_of(identity(written), tmp_path).pixels == written
