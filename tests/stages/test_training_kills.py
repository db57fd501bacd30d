"""kill -9 at any moment of a training, then the same command: the bytes of an undisturbed run."""

import os
import signal
from pathlib import Path

import pytest

from intracranial.artifacts import TEMPORARY_SUFFIX
from intracranial.errors import EXIT_USAGE
from tests.forked import wait_for
from tests.tiny_runs import Place

FLAGS = {"train_stage1": ("--epochs", "12"), "train_stage2": ("--epochs", "40")}


@pytest.mark.parametrize("script", ["train_stage1", "train_stage2"])
def test_kill_9_at_three_moments_of_a_training_changes_no_byte(
    tiny: Place, tmp_path: Path, script: str
):
    stage = script.removeprefix("train_")
    place = tiny.copy(tmp_path / "copy")
    fold, checkpoint = place.fold(), place.fold().checkpoint(stage)
    flags = (*FLAGS[script], "--overwrite")
    assert place.call(script, *flags).code == 0
    undisturbed = [fold.weights(stage).read_bytes(), fold.log_csv(stage).read_bytes()]

    def just_begun() -> bool:
        return b'"complete": false' in fold.manifest(stage).read_bytes()

    def saving_again() -> bool:
        writing = fold.root.glob(f".{checkpoint.name}*{TEMPORARY_SUFFIX}")
        return checkpoint.exists() and any(writing)

    for number, moment in enumerate((just_begun, checkpoint.exists, saving_again)):
        process = place.start(script, *(flags if number == 0 else flags[:-1]))
        wait_for(moment, process)
        process.kill()
        process.wait()
        assert not fold.weights(stage).exists() or just_begun()
    said = place.call(script, *flags[:-1])
    assert said.code == 0 and "going on from epoch" in said.text, said.text
    assert [fold.weights(stage).read_bytes(), fold.log_csv(stage).read_bytes()] == undisturbed
    assert not list(fold.root.glob(f".*{TEMPORARY_SUFFIX}"))
    assert not checkpoint.exists()


def test_sigterm_to_all_processes_of_a_training_saves_its_state(tiny: Place, tmp_path: Path):
    """Clusters and torchrun signal the whole group, the loading processes too."""
    place = tiny.copy(tmp_path / "copy", "model")
    checkpoint = place.fold().checkpoint("stage1")
    flags = ("--epochs", "99", "--num_workers", "2")
    process = place.start("train_stage1", *flags)  # it leads a group of its own
    wait_for(checkpoint.exists, process)
    os.killpg(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "asked to stop" in said and checkpoint.exists()


@pytest.mark.parametrize("script", ["train_stage1", "train_stage2"])
def test_the_number_of_loading_processes_changes_no_byte(tiny: Place, tmp_path: Path, script: str):
    stage = script.removeprefix("train_")
    place = tiny.copy(tmp_path / "copy")
    said = place.call(script, "--overwrite", "--num_workers", "2")
    assert said.code == 0, said.text
    for file in (place.fold().weights(stage), place.fold().log_csv(stage)):
        assert file.read_bytes() == (tiny.fold().root / file.name).read_bytes()


@pytest.mark.parametrize(
    ("stage", "flag", "name"),
    [
        ("train_stage1", "--optimizer", "adamm"),
        ("train_stage1", "--pool", "nonsense"),
        ("train_stage1", "--schedule", "linear"),
        ("train_stage2", "--optimizer", "adamm"),
        ("train_stage2", "--pool", "nonsense"),
        ("train_stage2", "--precision", "half"),
    ],
)
def test_a_dry_run_refuses_the_names_that_a_run_refuses(
    tiny_copy: Place, stage: str, flag: str, name: str
):
    for more in ((), ("--dry_run",)):
        said = tiny_copy.call(stage, flag, name, "--overwrite", *more)
        assert said.code == EXIT_USAGE, said.text
        assert flag.strip("-") in said.text and name in said.text, said.text


def test_a_dry_run_touches_nothing(tiny: Place):
    before = tiny.content()
    said = tiny.call("train_stage1", "--dry_run", "--lr", "1e-5", "--run", "other")
    assert said.code == 0 and "would be trained" in said.text
    assert tiny.content() == before
    assert not tiny.fold(0, "other").root.exists()
