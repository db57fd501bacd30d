"""The one rule for reruns: nothing to do, goes on, or refuses with what has changed."""

import signal
from pathlib import Path

import pytest

from intracranial.config import STAGES
from tests.forked import wait_for
from tests.tiny_data import uid_of
from tests.tiny_runs import MODEL_STAGES, Place, read

LIMIT_SECONDS = 10
"""A rerun with nothing to do keeps a processor busy for less than this."""

CHANGED = {
    "preprocess_data": (("--size", "32"), "option --size: 64 -> 32"),
    "create_folds": (("--seed", "1"), "option seed: 0 -> 1"),
    "train_stage1": (("--lr", "1e-4"), "option lr: 0.003 -> 0.0001"),
    "eval_stage1": (("--batch_size", "16"), "option batch_size: 32 -> 16"),
    "extract_features": (("--augmented_views", "1"), "option augmented_views: 0 -> 1"),
    "train_stage2": (("--layers", "2"), "option layers: 1 -> 2"),
    "eval_end_to_end": (("--max_series_gib", "4"), "option max_series_gib: 8.0 -> 4.0"),
}
"""A changed option of each stage and how the refusal shows it; eval_stage2 has no such option."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_rerun_does_nothing_says_so_and_leaves_every_byte_alone(tiny: Place, stage: str):
    before = tiny.content()
    said = tiny.call(stage)
    assert said.code == 0 and "nothing to do" in said.text
    assert said.cpu_seconds < LIMIT_SECONDS
    assert tiny.content() == before


def test_a_rerun_from_the_shell_takes_seconds(tiny: Place):
    said = tiny.process("eval_end_to_end")
    assert said.code == 0 and "nothing to do" in said.text
    assert said.cpu_seconds < LIMIT_SECONDS


@pytest.mark.parametrize("stage", list(CHANGED))
def test_a_changed_option_is_refused_with_its_old_and_new_value(tiny: Place, stage: str):
    flags, shown = CHANGED[stage]
    before = tiny.content()
    said = tiny.call(stage, *flags)
    assert said.code == 5
    assert shown in said.text and f"{stage}.py --overwrite" in said.text
    assert tiny.content() == before


def refused(place: Place, stage: str, *words: str) -> None:
    said = place.call(stage)
    assert said.code == 5, said.text
    for word in words:
        assert word in said.text


def rebuild(place: Place, stage: str) -> None:
    said = place.call(stage, *CHANGED[stage][0], "--overwrite")
    assert said.code == 0, said.text


def test_after_new_caches_every_later_script_refuses_the_split(tiny_copy: Place):
    rebuild(tiny_copy, "preprocess_data")
    refused(tiny_copy, "create_folds", "folds.json", "input preprocess", "create_folds.py")
    for stage in MODEL_STAGES:
        refused(tiny_copy, stage, "train_3_folds.csv is stale", "Rerun create_folds.py")


def test_after_a_new_split_every_later_script_refuses_stage_1(tiny_copy: Place):
    rebuild(tiny_copy, "create_folds")
    refused(tiny_copy, "train_stage1", "stage1.json", "input folds", "train_stage1.py --overwrite")
    for stage in MODEL_STAGES[1:]:
        refused(tiny_copy, stage, "stage1.json is stale", "from folds", "Rerun train_stage1.py")


def test_after_a_new_stage_1_every_later_script_refuses_what_came_from_the_old_one(
    tiny_copy: Place,
):
    rebuild(tiny_copy, "train_stage1")
    refused(tiny_copy, "eval_stage1", "stage1_metrics.json", "input stage1", "eval_stage1.py")
    refused(tiny_copy, "extract_features", "features.json", "input stage1", "extract_features.py")
    for stage in ("train_stage2", "eval_stage2", "eval_end_to_end"):
        refused(tiny_copy, stage, "features.json is stale", "stage1", "Rerun extract_features.py")


def test_after_new_features_every_later_script_refuses_stage_2(tiny_copy: Place):
    rebuild(tiny_copy, "extract_features")
    refused(tiny_copy, "train_stage2", "stage2.json", "input features", "train_stage2.py")
    for stage in ("eval_stage2", "eval_end_to_end"):
        refused(tiny_copy, stage, "stage2.json is stale", "features", "Rerun train_stage2.py")
    # stage 1 was not touched
    assert "nothing to do" in tiny_copy.call("eval_stage1").text


def test_after_a_new_stage_2_its_scores_are_refused_until_they_are_made_again(
    tiny: Place, tiny_copy: Place
):
    rebuild(tiny_copy, "train_stage2")
    for stage in ("eval_stage2", "eval_end_to_end"):
        kind = stage.removeprefix("eval_")
        refused(tiny_copy, stage, f"{kind}_metrics.json", "input stage2", f"{stage}.py")
        plain = ("--no_report",) if stage == "eval_end_to_end" else ()
        assert tiny_copy.call(stage, "--overwrite", *plain).code == 0
        assert "nothing to do" in tiny_copy.call(stage, *plain).text
    staged = tiny_copy.fold().predictions("stage2").read_bytes()
    assert staged == tiny_copy.fold().predictions("end_to_end").read_bytes()
    assert staged != tiny.fold().predictions("stage2").read_bytes()


def test_a_folder_scored_by_an_older_model_is_refused(
    tiny: Place, tiny_copy: Place, others: Path, tmp_path: Path
):
    flags = ("--series_dir", str(others / "series"), "--out_dir", str(tmp_path / "out"))
    assert tiny.call("eval_end_to_end", *flags, "--no_report").code == 0
    rebuild(tiny_copy, "train_stage2")
    said = tiny_copy.call("eval_end_to_end", *flags)
    assert said.code == 5 and "input stage2" in said.text
    assert "end_to_end_metrics.json" in said.text


def test_other_resamples_are_another_evaluation(tiny_copy: Place):
    for stage in ("eval_stage1", "eval_stage2", "eval_end_to_end"):
        said = tiny_copy.call(stage, "--resamples", "100")
        assert said.code == 5 and "option resamples: 2000 -> 100" in said.text
        assert tiny_copy.call(stage, "--resamples", "5").code == 2
    before = tiny_copy.fold().metrics("stage2").read_bytes()
    assert tiny_copy.call("eval_stage2", "--overwrite").code == 0
    assert tiny_copy.fold().metrics("stage2").read_bytes() == before


def test_a_copied_data_set_with_other_times_is_not_stale(tiny: Place, tiny_copy: Place):
    uid = uid_of(0)
    path = next((tiny.data.series / uid).iterdir())
    copied = tiny_copy.data.series / uid / path.name
    assert copied.stat().st_mtime_ns != path.stat().st_mtime_ns
    for stage in STAGES:
        said = tiny_copy.call(stage)
        assert said.code == 0 and "nothing to do" in said.text, said.text
    before, after = tiny.content(), tiny_copy.content()
    for name, content in after.items():
        if not name.endswith("fingerprints.json"):  # it holds times, and only saves time
            assert content == before[name], name


def test_overwrite_with_nothing_changed_gives_the_same_bytes(tiny: Place, tiny_copy: Place):
    for stage in STAGES:
        said = tiny_copy.call(stage, "--overwrite")
        assert said.code == 0, said.text
    before, after = tiny.content(), tiny_copy.content()
    for name, content in after.items():
        if not name.endswith("fingerprints.json"):
            assert content == before[name], name


def test_another_seed_gives_another_model(tiny: Place, tiny_copy: Place):
    for stage, kind in (("train_stage2", "stage2"), ("train_stage1", "stage1")):
        assert tiny_copy.call(stage, "--seed", "1", "--overwrite").code == 0
        weights = tiny_copy.fold().weights(kind).read_bytes()
        assert weights != tiny.fold().weights(kind).read_bytes()


def test_kill_9_in_the_middle_of_extraction_goes_on_and_ends_with_the_same_bytes(
    tiny: Place, tmp_path: Path
):
    place = tiny.copy(tmp_path / "copy", "features", "features.json")
    fold = place.fold()
    process = place.start("extract_features")
    wait_for(lambda: len(list(fold.features.glob("*.safetensors"))) >= 5, process)
    process.kill()
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in fold.features.glob("*.safetensors")}
    assert 5 <= len(finished) < 26
    assert not read(fold.features_manifest)["complete"]

    said = place.call("train_stage2", "--overwrite")
    assert said.code == 3 and "run extract_features.py again, it resumes" in said.text
    said = place.call("extract_features")
    assert said.code == 0, said.text
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # none was made twice
    assert not list(fold.features.glob(".*"))
    assert fold.features_manifest.read_bytes() == tiny.fold().features_manifest.read_bytes()
    for path in tiny.fold().features.iterdir():
        assert (fold.features / path.name).read_bytes() == path.read_bytes()


def test_a_preempted_training_says_75_and_ends_with_the_same_bytes(tiny: Place, tmp_path: Path):
    place = tiny.copy(tmp_path / "copy", "model")
    flags = ("--epochs", "16")
    fold = place.fold(0, "stopped")
    process = place.start("train_stage1", "--run", "stopped", *flags)
    wait_for(fold.checkpoint("stage1").exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert fold.checkpoint("stage1").exists() and not fold.weights("stage1").exists()
    said = place.call("eval_stage1", "--run", "stopped")
    assert said.code == 3 and "run train_stage1.py again, it resumes" in said.text

    said = place.call("train_stage1", "--run", "stopped", *flags)
    assert said.code == 0 and "going on from epoch" in said.text
    assert not fold.checkpoint("stage1").exists()
    assert place.call("train_stage1", "--run", "undisturbed", *flags).code == 0
    undisturbed = place.fold(0, "undisturbed")
    assert fold.weights("stage1").read_bytes() == undisturbed.weights("stage1").read_bytes()
    assert fold.manifest("stage1").read_bytes() == undisturbed.manifest("stage1").read_bytes()
    assert fold.log_csv("stage1").read_bytes() == undisturbed.log_csv("stage1").read_bytes()


@pytest.mark.parametrize(
    ("stage", "lost"),
    [
        ("train_stage1", "stage1.safetensors"),
        ("eval_stage1", "stage1_predictions.csv"),
        ("extract_features", f"features/{uid_of(3)}.safetensors"),
        ("train_stage2", "stage2.safetensors"),
        ("eval_stage2", "stage2_predictions.csv"),
        ("eval_end_to_end", "end_to_end_predictions.csv"),
        ("eval_end_to_end", "report.html"),
    ],
)
def test_an_output_that_was_deleted_is_made_again(
    tiny: Place, tiny_copy: Place, stage: str, lost: str
):
    path = tiny_copy.fold().root / lost
    path.unlink()
    said = tiny_copy.call(stage)
    assert said.code == 0 and "nothing to do" not in said.text
    assert path.read_bytes() == (tiny.fold().root / lost).read_bytes()
    assert "nothing to do" in tiny_copy.call(stage).text
