"""The Python interface: a run's folder and a series' folder are enough."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from intracranial.artifacts import ScoredFolderPaths
from intracranial.caching.read_ahead import Rejected
from intracranial.errors import InputError, MissingArtifact, StaleArtifact, UsageError
from intracranial.imaging.outcome import SeriesError
from intracranial.inference.run import Prediction, Predictor
from tests.challenge import LABELS
from tests.tiny_data import MULTI_FRAME, SAGITTAL, uid_of
from tests.tiny_runs import Place, edit, read


@pytest.fixture(scope="module")
def predictor(tiny: Place) -> Predictor:
    return Predictor(tiny.model_dir / "tiny", device="cpu", precision="fp32")


@pytest.fixture
def run(tiny: Place, tmp_path: Path) -> Path:
    """A copy of what a run needs: weights and sidecars of fold 0, nothing else."""
    return run_with_folds(tiny, tmp_path / "model" / "elsewhere", 0)


def run_with_folds(tiny: Place, run: Path, *folds: int) -> Path:
    for fold in folds:
        (run / f"fold-{fold}").mkdir(parents=True)
        for stage in ("stage1", "stage2"):
            for path in (tiny.fold().weights(stage), tiny.fold().manifest(stage)):
                shutil.copy(path, run / f"fold-{fold}" / path.name)
    return run


def test_a_prediction_is_that_of_the_end_to_end_evaluation(tiny: Place, predictor):
    table = pd.read_csv(tiny.fold().predictions("end_to_end"), index_col=0)
    uid = str(table.index[0])
    found = predictor.predict(tiny.data.series / uid)
    assert found.uid == uid and found.labels == LABELS
    expected = table.loc[uid, list(LABELS)].to_numpy(dtype=float)
    assert np.allclose(found.probabilities, expected, atol=1e-3)  # the evaluation's precision
    assert found.probability("Aneurysm Present") == found.probabilities[13]
    with pytest.raises(KeyError):
        found.probability("Aneurysm")


def test_a_prediction_says_where_how_it_was_read_and_how_long_it_took(predictor, others: Path):
    found = predictor.predict(str(others / "series" / uid_of(101)))
    n = len(found.sop_uids)
    assert found.slice_probabilities.shape == (n, 14) and found.frames.shape == (n,)
    assert found.modality == "CT" and found.status == "read" and found.notes == ()
    assert found.points[0].rank == 1 and found.points[0].sop_uid in found.sop_uids
    assert {"read and prepare", "stage 1", "stage 2"} <= set(found.seconds)


@pytest.mark.parametrize("number", [SAGITTAL, MULTI_FRAME])
def test_points_name_a_slice_of_the_file_and_a_pixel_in_it(tiny: Place, predictor, number: int):
    found = predictor.predict(tiny.data.series / uid_of(number))
    for point in found.points:
        assert found.sop_uids[point.index] == point.sop_uid
        assert found.frames[point.index] == point.frame
        assert -0.5 <= point.x <= 63.5 and -0.5 <= point.y <= 63.5


def test_many_series_come_in_order_and_a_bad_one_costs_itself_alone(predictor, others, tmp_path):
    (tmp_path / "empty").mkdir()
    folders = [others / "series" / uid_of(101), tmp_path / "empty", others / "series" / uid_of(100)]
    first, bad, last = predictor.predict_many(iter(folders))
    assert isinstance(first, Prediction) and first.uid == uid_of(101)
    assert isinstance(bad, Rejected) and bad.code == "no_files"
    assert isinstance(last, Prediction) and last.uid == uid_of(100)


def test_a_series_that_cannot_be_read_is_an_error_with_a_code(predictor, tmp_path):
    with pytest.raises(SeriesError, match="is not a folder") as caught:
        predictor.predict(tmp_path / "nowhere")
    assert caught.value.code == "missing_folder"


def test_processes_that_read_ahead_change_nothing(tiny: Place, predictor, others):
    folder = others / "series" / uid_of(100)
    ahead = Predictor(tiny.model_dir / "tiny", device="cpu", precision="fp32", num_workers=1)
    alone, read_ahead = predictor.predict(folder), ahead.predict(folder)
    assert np.array_equal(alone.probabilities, read_ahead.probabilities)
    assert alone.points == read_ahead.points


def test_the_folder_of_a_run_is_enough(run: Path, predictor, others):
    found = Predictor(run, device="cpu", precision="fp32")
    folder = others / "series" / uid_of(100)
    assert np.array_equal(
        found.predict(folder).probabilities, predictor.predict(folder).probabilities
    )
    assert found.folds == ("0",) and found.identity == predictor.identity


def test_probabilities_are_the_mean_over_the_folds(tiny: Place, tmp_path, others):
    run = run_with_folds(tiny, tmp_path / "run", 0, 1)
    weights = run / "fold-1" / "stage2.safetensors"
    from safetensors.numpy import load_file, save_file

    tensors = load_file(weights)
    tensors["head.3.bias"] = tensors["head.3.bias"] + 1
    save_file(tensors, weights)
    folder = others / "series" / uid_of(100)
    one, two, both = (
        Predictor(run, folds, device="cpu", precision="fp32").predict(folder)
        for folds in ([0], [1], None)
    )
    assert not np.allclose(one.probabilities, two.probabilities)
    assert np.allclose(both.probabilities, (one.probabilities + two.probabilities) / 2)
    assert len(both.points) >= 14


def test_a_fold_that_is_not_trained_to_the_end_is_left_out_and_said(tiny, tmp_path, caplog):
    run = run_with_folds(tiny, tmp_path / "run", 0, 1)
    (run / "fold-1" / "stage2.json").unlink()
    with caplog.at_level("WARNING", logger="intracranial"):
        assert Predictor(run, device="cpu").folds == ("0",)
    assert "fold 1: train_stage2.py" in caplog.text


def test_the_final_model_is_taken_where_there_are_no_folds(tiny, tmp_path):
    run = run_with_folds(tiny, tmp_path / "run", 0)
    (run / "fold-0").rename(run / "final")
    assert Predictor(run, device="cpu").folds == ("final",)


def test_missing_runs_folds_and_weights_are_named(run: Path, tmp_path):
    with pytest.raises(MissingArtifact, match="nothing is not a folder"):
        Predictor(tmp_path / "nothing")
    with pytest.raises(MissingArtifact, match="no trained fold"):
        Predictor(tmp_path)
    with pytest.raises(UsageError, match=r"fold 3: run .* has folds 0$"):
        Predictor(run, [3])
    (run / "fold-3").mkdir()
    with pytest.raises(MissingArtifact, match=r"fold-3.*train_stage1\.py"):
        Predictor(run, [3])
    (run / "fold-0" / "stage1.safetensors").unlink()
    with pytest.raises(MissingArtifact, match=r"stage1\.safetensors"):
        Predictor(run, device="cpu")


def test_damaged_and_mixed_files_are_refused(tiny: Place, run: Path, tmp_path):
    sidecar = run / "fold-0" / "stage1.json"
    text = sidecar.read_text()
    edit(sidecar, identity="0123456789abcdef")
    with pytest.raises(StaleArtifact, match="stage1"):
        Predictor(run, device="cpu")
    sidecar.write_text(text[:50])
    with pytest.raises(InputError, match=r"stage1\.json is not valid JSON"):
        Predictor(run, device="cpu")
    sidecar.write_text(text)
    (run / "fold-0" / "stage1.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"stage1\.safetensors"):
        Predictor(run, device="cpu")


@pytest.mark.parametrize(
    ("stage", "key"), [("stage1", "preprocessing"), ("stage1", "steps"), ("stage2", "precision")]
)
def test_a_sidecar_that_lacks_what_its_readers_need_is_named(run: Path, stage: str, key: str):
    sidecar = run / "fold-0" / f"{stage}.json"
    content = read(sidecar)
    del content[key]
    sidecar.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"{stage}\.json lacks '{key}'.*train_{stage}\.py"):
        Predictor(run, device="cpu")


def test_a_series_with_a_probability_that_is_no_number_is_rejected(run: Path, others: Path):
    found = Predictor(run, device="cpu", precision="fp32")
    head = found.fold_predictors[0].sequences.model.head[3]
    torch.nn.init.constant_(head.bias, float("nan"))  # stands for an overflow
    folder = others / "series" / uid_of(100)
    (outcome,) = found.predict_many([folder])
    assert isinstance(outcome, Rejected) and outcome.code == "not_finite"
    with pytest.raises(SeriesError, match="not finite") as caught:
        found.predict(folder)
    assert caught.value.code == "not_finite" and uid_of(100) in str(caught.value)
    (outcome,) = found.fold_predictors[0].detect_folders([folder], 0, 60)
    assert isinstance(outcome, Rejected)


def test_folds_of_differently_prepared_series_are_refused(tiny: Place, tmp_path):
    run = run_with_folds(tiny, tmp_path / "run", 0, 1)
    sidecar = run / "fold-1" / "stage1.json"
    edit(sidecar, preprocessing={**read(sidecar)["preprocessing"], "size": 128})
    with pytest.raises(InputError, match="fold 0 was trained on series prepared with"):
        Predictor(run, device="cpu")


def test_an_unknown_device_is_named(run: Path):
    with pytest.raises(UsageError, match="abacus"):
        Predictor(run, device="abacus")


@pytest.mark.parametrize("fold", [0, "0", np.int64(0), "final"])
def test_one_fold_needs_no_list(run: Path, fold: int | str):
    (run / "fold-0").rename(run / ("final" if fold == "final" else "fold-0"))
    found = Predictor(run, fold, device="cpu")
    assert found.folds == (str(fold),)


@pytest.mark.parametrize("folds", [[], 1.5, True, -1, "last", "0,1", ["0", None], {}, [0.0]])
def test_what_is_no_fold_is_refused_with_what_to_give(run: Path, folds: object):
    with pytest.raises(UsageError, match=r"folds .*(give numbers or 'final'|name at least one)"):
        Predictor(run, folds, device="cpu")


@pytest.mark.parametrize(
    "limit",
    [
        {"num_workers": -1},
        {"num_workers": None},
        {"max_series_gib": -1},
        {"max_series_gib": float("inf")},
        {"max_series_seconds": 0},
    ],
)
def test_a_limit_that_nothing_keeps_is_named(run: Path, limit: dict[str, object]):
    (name,) = limit
    with pytest.raises(UsageError, match=f"{name} .*: give"):
        Predictor(run, device="cpu", **limit)


def test_a_fold_that_is_named_twice_counts_once(run: Path):
    predictor = Predictor(run, [0, "0"], device="cpu", precision="fp32")
    assert predictor.folds == ("0",) and len(predictor.fold_predictors) == 1


@pytest.mark.parametrize("kind", [str, Path])
def test_one_folder_is_not_taken_for_many(predictor, others: Path, kind: type):
    with pytest.raises(UsageError, match="one folder, not several: give a list"):
        predictor.predict_many(kind(others / "series"))


def test_the_evaluation_writes_the_points_of_every_series(tiny: Place):
    points = pd.read_csv(ScoredFolderPaths(tiny.fold().root).points)
    predictions = pd.read_csv(tiny.fold().predictions("end_to_end"))
    assert set(points["SeriesInstanceUID"]) == set(predictions["SeriesInstanceUID"])
    first = points[points["rank"] == 1]
    assert len(first) == len(predictions)
    assert points[["x", "y", "x_mm", "y_mm", "z_mm"]].notna().all(axis=None)
    table = read(tiny.fold().metrics("end_to_end"))["localisation"]
    assert table["judged"] + sum(table["not_judged"].values()) == len(predictions)
