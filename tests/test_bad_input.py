"""Bad input: the documented exit code, and a message that says what is wrong and what to do."""

import json
import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from intracranial.artifacts import ScoredFolderPaths
from intracranial.config import STAGES
from tests.tiny_data import make_tiny_data, uid_of
from tests.tiny_runs import MODEL_STAGES, RECIPE, Place, Said, call_stage, edit, read


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Writing more than `limit` bytes to a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def ended(said: Said, code: int, *words: str) -> None:
    assert said.code == code, said.text
    assert "Traceback" not in said.text
    for word in words:
        assert word in said.text


# --- usage: exit code 2


@pytest.mark.parametrize("stage", STAGES)
def test_an_unknown_flag_is_a_usage_error_that_names_it(tiny: Place, stage: str):
    ended(tiny.call(stage, "--learning-rat", "1"), 2, "learning-rat")


@pytest.mark.parametrize("stage", MODEL_STAGES)
def test_a_fold_out_of_range_is_a_usage_error_that_says_which_there_are(tiny: Place, stage: str):
    ended(tiny.call(stage, "--fold", "9"), 2, "--fold 9", "0..2")
    ended(tiny.call(stage, "--fold", "first"), 2, "--fold first")


@pytest.mark.parametrize("stage", MODEL_STAGES)
def test_a_split_that_was_not_made_is_a_usage_error(tiny: Place, stage: str):
    ended(tiny.call(stage, "--folds", "7"), 2, "--folds 7", "only 3", "create_folds.py --folds 7")


def test_an_unknown_model_is_a_usage_error_with_the_nearest_names(tiny: Place):
    said = tiny.call("train_stage1", "--model", "resnet18x", "--run", "new")
    ended(said, 2, "--model resnet18x", "nearest", "resnet18")
    assert not tiny.fold(0, "new").root.exists()


def test_a_tool_that_does_not_exist_is_a_usage_error(tiny: Place):
    new = ("--run", "new")
    ended(tiny.call("train_stage1", *new, "--optimizer", "adamm"), 2, "--optimizer adamm")
    ended(tiny.call("train_stage1", *new, "--select", "best"), 2, "--select", "best", "inner")
    ended(tiny.call("train_stage1", *new, "--device", "cuda:77"), 2, "--device cuda:77")
    # A run that could not begin leaves nothing behind that the mended command would trip over.
    assert tiny.call("train_stage1", *new, "--epochs", "1").code == 0
    shutil.rmtree(tiny.model_dir / "new")


def test_flags_that_do_not_go_together_are_usage_errors(tiny: Place, others: Path, tmp_path: Path):
    series, out = ("--series_dir", str(others / "series")), ("--out_dir", str(tmp_path))
    ended(tiny.call("eval_end_to_end", *series), 2, "--series_dir and --out_dir go together")
    ended(tiny.call("eval_end_to_end", "--labels", "x.csv"), 2, "go with --series_dir")
    ended(tiny.call("eval_end_to_end", *series, *out, "--fold", "all"), 2, "one --fold")
    both = (*series, *out, "--localizers", "x.csv")
    ended(tiny.call("eval_end_to_end", *both), 2, "--localizers needs --labels")


def test_an_unknown_key_of_the_recipe_is_a_usage_error_with_the_nearest_name(
    tiny: Place, tmp_path: Path
):
    path = tmp_path / "recipe.yaml"
    path.write_text("train_stage1:\n  epoch: 3\n")
    said = call_stage("train_stage1", "--config", str(path), "--data_dir", str(tiny.data.root))
    ended(said, 2, "unknown option 'epoch'", "nearest: epochs")
    path.write_text("train_stage_1:\n  epochs: 3\n")
    said = call_stage("train_stage1", "--config", str(path), "--data_dir", str(tiny.data.root))
    ended(said, 2, "unknown section 'train_stage_1'", "train_stage1")


def test_no_name_for_the_run_is_a_usage_error(tiny: Place):
    flags = ("--data_dir", str(tiny.data.root), "--model_dir", str(tiny.model_dir))
    ended(call_stage("eval_stage2", *flags), 2, "which run? give --run")
    ended(call_stage("eval_stage2", *flags, "--run", "../up"), 2, "plain folder name")


# --- input: exit code 3


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_recipe_is_said(tiny: Place, stage: str):
    said = call_stage(stage, "--config", "configs/none.yaml", "--data_dir", str(tiny.data.root))
    ended(said, 3, "configs/none.yaml does not exist")


MISSING = [
    ("create_folds", "data/preprocess.json", "preprocess_data.py"),
    ("create_folds", "data/train_meta.csv", "preprocess_data.py"),
    ("train_stage1", "data/preprocess.json", "preprocess_data.py"),
    ("train_stage1", "data/folds.json", "create_folds.py"),
    ("train_stage1", "data/train_stage1_3_folds.csv", "create_folds.py"),
    ("train_stage1", "data/npy_sequence", "preprocess_data.py"),
    ("eval_stage1", "model/tiny/fold-0/stage1.json", "train_stage1.py"),
    ("eval_stage1", "model/tiny/fold-0/stage1.safetensors", "train_stage1.py"),
    ("extract_features", "model/tiny/fold-0/stage1.safetensors", "train_stage1.py"),
    ("extract_features", "data/npy_sequence", "preprocess_data.py"),
    ("train_stage2", "model/tiny/fold-0/stage1.json", "train_stage1.py"),
    ("train_stage2", "model/tiny/fold-0/features.json", "extract_features.py"),
    ("train_stage2", "model/tiny/fold-0/features", "extract_features.py"),
    ("eval_stage2", "model/tiny/fold-0/features", "extract_features.py"),
    ("eval_stage2", "model/tiny/fold-0/stage2.json", "train_stage2.py"),
    ("eval_stage2", "model/tiny/fold-0/stage2.safetensors", "train_stage2.py"),
    ("eval_end_to_end", "model/tiny/fold-0/stage1.safetensors", "train_stage1.py"),
    ("eval_end_to_end", "model/tiny/fold-0/stage2.json", "train_stage2.py"),
]


@pytest.mark.parametrize(("stage", "lost", "script"), MISSING)
def test_a_missing_artifact_is_named_with_the_script_that_makes_it(
    tiny_copy: Place, stage: str, lost: str, script: str
):
    path = tiny_copy.root / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = tiny_copy.call(stage, "--overwrite")
    ended(said, 3, path.name, script)
    assert "is missing" in said.text or "has no split" in said.text


def test_a_model_of_another_task_is_refused(tiny_copy: Place):
    for stage, script in (("stage1", "train_stage1.py"), ("stage2", "train_stage2.py")):
        path = tiny_copy.fold().manifest(stage)
        own = read(path)["task"]
        edit(path, task=json.loads(json.dumps(own).replace("Artery", "Vein")))
        words = ("predicts other labels", "Carotid Vein'", script)
        ended(tiny_copy.call(f"eval_{stage}", "--overwrite"), 3, str(path), *words)
        ended(tiny_copy.call("eval_end_to_end", "--overwrite"), 3, str(path), *words)
        edit(path, task=own)


UNTOLD = [
    ("stage1", "split", {"folds": 3}, "`split` lacks 'hash'"),
    ("stage1", "trained_on", 18, "`trained_on` is 18, not an object"),
    ("stage2", "trained_on", {"series": 18}, "`trained_on` lacks 'digest'"),
]


@pytest.mark.parametrize(("stage", "key", "value", "words"), UNTOLD)
def test_weights_that_do_not_tell_of_their_training_are_not_scored(
    tiny_copy: Place, stage: str, key: str, value: Any, words: str
):
    path = tiny_copy.fold().manifest(stage)
    edit(path, **{key: value})
    for script in (f"eval_{stage}", "eval_end_to_end"):
        said = tiny_copy.call(script, "--overwrite", "--device", "cpu")
        ended(said, 3, str(path), words)
        assert "CPU with" not in said.text  # before anything was computed


def test_weights_of_another_shape_are_refused_with_the_tensor(tiny_copy: Place):
    said = tiny_copy.call("train_stage2", "--run", "tiny", "--width", "32", "--overwrite")
    assert said.code == 0
    wide = load_file(tiny_copy.fold().weights("stage2"))
    assert tiny_copy.call("train_stage2", "--overwrite").code == 0
    save_file(wide, tiny_copy.fold().weights("stage2"))
    for stage in ("eval_stage2", "eval_end_to_end"):
        said = tiny_copy.call(stage, "--overwrite")
        ended(said, 3, "made for another network: tensor cls is (1, 1, 32)", "(1, 1, 16)")
        assert "train_stage2.py --overwrite" in said.text


def test_stage_1_weights_of_another_backbone_are_refused(tiny_copy: Place):
    model = read(tiny_copy.fold().manifest("stage1"))["model"]
    edit(tiny_copy.fold().manifest("stage1"), model={**model, "backbone": "test_convnext"})
    words = ("made for another network: tensor", "train_stage1.py --overwrite")
    for stage in ("eval_stage1", "eval_end_to_end", "extract_features"):
        ended(tiny_copy.call(stage, "--overwrite"), 3, *words)


def test_damaged_files_are_named_with_the_script_that_makes_them(tiny_copy: Place):
    fold = tiny_copy.fold()
    fold.weights("stage2").write_bytes(b"\0" * 100)
    ended(tiny_copy.call("eval_end_to_end", "--overwrite"), 3, "not a readable safetensors file")
    fold.manifest("stage2").write_text("{")
    ended(tiny_copy.call("eval_end_to_end"), 3, "stage2.json is not valid JSON", "train_stage2.py")
    fold.manifest("stage2").unlink()
    for feature in fold.features.iterdir():
        feature.write_bytes(feature.read_bytes()[:1000])
    said = tiny_copy.call("train_stage2", "--overwrite")
    ended(said, 3, ".safetensors is damaged", "delete it and run extract_features.py")
    sequence = tiny_copy.data.sequence(uid_of(2))
    sequence.write_bytes(b"not an array")
    said = tiny_copy.call("extract_features", "--overwrite")
    ended(said, 3, sequence.name, "not a readable npy file", "preprocess_data.py")


def test_a_damaged_checkpoint_is_named(tiny_copy: Place):
    path = tiny_copy.fold().checkpoint("stage1")
    edit(tiny_copy.fold().manifest("stage1"), complete=False)
    path.write_bytes(b"not a checkpoint")
    ended(tiny_copy.call("train_stage1"), 3, path.name, "delete it")


def test_without_a_network_pretrained_weights_fail_with_the_two_ways_out(
    tiny: Place, tmp_path: Path
):
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    start = time.monotonic()
    said = tiny.process("train_stage1", "--run", "pretrained", "--weights", "auto", **offline)
    ended(said, 3, "test_resnet", "--weights FILE", "--weights none")
    assert time.monotonic() - start < 60  # retries would take minutes
    assert not (tiny.model_dir / "pretrained").exists()  # nothing that looks like a run


def test_a_table_of_labels_without_a_column_is_refused_by_name(
    tiny: Place, others: Path, tmp_path: Path
):
    table = tmp_path / "labels.csv"
    table.write_text((others / "train.csv").read_text().replace("Basilar Tip", "Basilar"))
    series = ("--series_dir", str(others / "series"), "--out_dir", str(tmp_path / "out"))
    ended(tiny.call("eval_end_to_end", *series, "--labels", str(table)), 3, "Basilar Tip")
    missing = ("--labels", str(tmp_path / "none.csv"))
    ended(tiny.call("eval_end_to_end", *series, *missing), 3, "none.csv")


def test_a_folder_of_series_that_is_none_is_refused(tiny: Place, tmp_path: Path):
    out = ("--out_dir", str(tmp_path / "out"))
    said = tiny.call("eval_end_to_end", "--series_dir", str(tmp_path / "none"), *out)
    ended(said, 3, "is not a folder")
    (tmp_path / "empty").mkdir()
    said = tiny.call("eval_end_to_end", "--series_dir", str(tmp_path / "empty"), *out)
    ended(said, 3, "holds no folders")


@pytest.mark.parametrize(
    ("stage", "limit", "kept_out"),
    [
        ("create_folds", 2_000, "train_3_folds.csv"),
        ("train_stage1", 20_000, "stage1.safetensors"),
        ("eval_stage1", 8_000, "stage1_metrics.json"),
        ("extract_features", 4_000, f"{uid_of(0)}.safetensors"),
        ("train_stage2", 15_000, "stage2.safetensors"),
        ("eval_stage2", 8_000, "stage2_metrics.json"),
        pytest.param("eval_end_to_end", 100_000, "report.html", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_ends_with_code_3_and_leaves_nothing_half_written(
    tiny: Place, tiny_copy: Place, stage: str, limit: int, kept_out: str
):
    for path in (*tiny_copy.root.glob("data/*folds*"), *tiny_copy.root.rglob(kept_out)):
        if stage == "create_folds" or path.name == kept_out:
            path.unlink(missing_ok=True)
    with full_disk(limit):
        said = tiny_copy.call(stage, "--overwrite")
    ended(said, 3, "File too large", "run the same command again")
    assert str(tiny_copy.root) in said.text  # names the file
    assert not list(tiny_copy.root.rglob(kept_out))
    assert not list(tiny_copy.root.rglob("*.partial"))
    said = tiny_copy.call(stage)
    assert said.code == 0, said.text
    (made,) = tiny_copy.root.rglob(kept_out)
    assert made.read_bytes() == (tiny.root / made.relative_to(tiny_copy.root)).read_bytes()


# --- rejected series: exit code 4


def test_bad_series_are_rejected_by_name_and_the_others_are_scored(
    tiny: Place, others: Path, tmp_path: Path
):
    series = tmp_path / "series"
    shutil.copytree(others / "series", series)
    (series / "1.2.3.empty").mkdir()
    (series / "1.2.3.text").mkdir()
    (series / "1.2.3.text" / "notes.dcm").write_text("this is no DICOM file")
    out = ScoredFolderPaths(tmp_path / "out")
    flags = ("--series_dir", str(series), "--out_dir", str(out.root), "--no_report")
    ended(tiny.call("eval_end_to_end", *flags), 4, "1.2.3.empty", "1.2.3.text", "2 series were")
    metrics = read(out.metrics)
    assert metrics["series"] == 4
    assert {row["folder"] for row in metrics["rejected"]} == {"1.2.3.empty", "1.2.3.text"}
    assert all(row["reason"] and row["words"] for row in metrics["rejected"])
    ended(tiny.call("eval_end_to_end", *flags), 4, "nothing to do")
    ended(tiny.call("eval_end_to_end", *flags, "--allow_rejected"), 0, "nothing to do")


def test_no_readable_series_at_all_is_one_clear_error(tiny: Place, tmp_path: Path):
    (tmp_path / "series" / "1.2.3").mkdir(parents=True)
    flags = ("--series_dir", str(tmp_path / "series"), "--out_dir", str(tmp_path / "out"))
    ended(tiny.call("eval_end_to_end", *flags), 3, "none of 1 series could be read")


def test_bad_series_in_training_are_left_out_and_everything_else_goes_on(tmp_path: Path):
    place = Place(tmp_path)
    made = make_tiny_data(place.data.root, count=8)
    for path in (place.data.series / made[0].uid).iterdir():
        path.unlink()  # an empty folder
    shutil.rmtree(place.data.series / made[2].uid)  # in train.csv, not on disk
    (place.data.series / made[3].uid / "README.dcm").write_text("this is no DICOM file")
    ended(place.call("preprocess_data"), 4, "2 series were rejected", "rejected.csv")
    rejected = place.data.rejected_csv.read_text()
    assert made[0].uid in rejected and made[2].uid in rejected
    ended(place.call("preprocess_data"), 4, "nothing to do")
    ended(place.call("preprocess_data", "--allow_rejected"), 0, "nothing to do")
    ended(place.call("create_folds"), 0)
    ended(place.call("train_stage1", "--batch_size", "2", "--epochs", "1"), 0)


# --- results that cannot be had


def test_with_one_class_only_the_score_is_null_and_labels_are_left_out_by_name(
    tiny: Place, others: Path, tmp_path: Path
):
    lines = (others / "train.csv").read_text().splitlines()
    table = tmp_path / "labels.csv"
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if line.endswith(",0"))]))
    out = ScoredFolderPaths(tmp_path / "out")
    flags = ("--series_dir", str(others / "series"), "--out_dir", str(out.root))
    ended(tiny.call("eval_end_to_end", *flags, "--labels", str(table)), 0)
    metrics = read(out.metrics)
    assert metrics["score"]["value"] is None
    assert "Aneurysm Present" in metrics["left_out"] and len(metrics["left_out"]) == 14
    assert out.report.exists()


def test_a_loss_that_is_not_finite_ends_with_code_6(tiny: Place, tmp_path: Path):
    place = tiny.copy(tmp_path / "copy", "model")
    said = place.call("train_stage1", "--lr", "1e30", "--optimizer", "sgd", "--epochs", "8")
    ended(said, 6, "lower --lr", "stage1_not_finite.json")
    assert not place.fold().weights("stage1").exists()


def test_the_recipe_of_these_tests_is_the_one_in_configs():
    assert RECIPE.is_file() and os.fspath(RECIPE).endswith("configs/tiny.yaml")
