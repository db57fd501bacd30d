"""The shell files in examples/ do what they say."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from intracranial.artifacts import FoldPaths
from intracranial.config import STAGES
from tests.tiny_runs import ONE_THREAD, ROOT, Place


def checkout(folder: Path, place: Place) -> Path:
    """A folder that looks like the repository, with the tiny data in it and no models."""
    for path in ROOT.iterdir():
        if path.name not in ("data", "model", "demo", ".git", ".venv"):
            (folder / path.name).symlink_to(path)
    (folder / "data").symlink_to(place.data.root)
    return folder


def environment(folder: Path, **more: str) -> dict[str, str]:
    """With a `python` and an `scontrol` that writes down how it was called."""
    programs = folder / "programs"
    programs.mkdir()
    for name, does in (
        ("python", f'exec {sys.executable} "$@"'),
        ("scontrol", f'echo "$@" >> {folder}/scontrol.txt'),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return {**os.environ, **ONE_THREAD, "PATH": path, **more}


@pytest.mark.parametrize("script", ["reproduce.sh", "slurm_example.sbatch", "tiny.sh"])
def test_the_shell_can_read_them(script: str):
    shell = "sh" if script.endswith(".sh") else "bash"
    done = subprocess.run([shell, "-n", str(ROOT / "examples" / script)], capture_output=True)
    assert done.returncode == 0 and not done.stderr


def test_everything_is_reproduced_from_any_folder_with_the_interpreter_that_is_named(
    tmp_path: Path,
):
    """Folders are those of whoever starts it; without any they are the checkout's."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$(pwd)|$*" >> {tmp_path}/calls.txt\nexit 4\n')
    python.chmod(0o755)
    script = str(ROOT / "examples" / "reproduce.sh")
    for given in ((), ("recipe.yaml", "0", "here", "/there")):
        (tmp_path / "calls.txt").unlink(missing_ok=True)
        done = subprocess.run(
            ["sh", script, *given], cwd=tmp_path, env={**os.environ, "PYTHON": str(python)}
        )
        assert done.returncode == 0
        calls = (tmp_path / "calls.txt").read_text().splitlines()
        assert [line.split("|")[1].split(".py")[0] for line in calls] == list(STAGES)
        assert {line.split("|")[0] for line in calls} == {str(ROOT)}
        recipe, data, model = "configs/convnext_base_dinov3.yaml", "data", "model"
        if given:
            recipe, data, model = f"{tmp_path}/recipe.yaml", f"{tmp_path}/here", "/there"
        assert all(f"--config {recipe} --data_dir {data}" in line for line in calls)
        assert all(f"--model_dir {model} --fold" in line for line in calls[2:])


def test_a_preempted_task_of_the_cluster_is_queued_again(tiny: Place, tmp_path: Path):
    place = tiny.copy(tmp_path / "copy", "model")
    (tmp_path / "repository").mkdir()
    folder = checkout(tmp_path / "repository", place)
    recipe = tmp_path / "slow.yaml"
    recipe.write_text(
        (ROOT / "configs" / "tiny.yaml").read_text().replace("epochs: 2", "epochs: 99")
    )
    slurm = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_JOB_ID": "17", "SLURM_CPUS_PER_TASK": "0"}
    task = subprocess.Popen(
        ["bash", str(ROOT / "examples" / "slurm_example.sbatch")],
        cwd=folder,
        env=environment(tmp_path, RECIPE=str(recipe), **slurm),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    fold = FoldPaths(folder / "model", "slow", 0)
    deadline = time.monotonic() + 90
    while not fold.checkpoint("stage1").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    task.send_signal(signal.SIGTERM)
    said, _ = task.communicate(timeout=60)
    assert task.returncode == 0, said
    assert "asked to stop in epoch" in said
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 17\n"
    assert fold.checkpoint("stage1").exists() and not fold.weights("stage1").exists()


@pytest.mark.slow
def test_the_tiny_example_runs_all_stages_for_all_folds(tiny: Place, tmp_path: Path):
    folder = tmp_path / "given"
    shutil.copytree(tiny.data.series, folder / "series")
    for table in (tiny.data.train_csv, tiny.data.localizers_csv):
        shutil.copyfile(table, folder / table.name)
    done = subprocess.run(
        ["sh", str(ROOT / "examples" / "tiny.sh"), str(folder)],
        env={**os.environ, **ONE_THREAD, "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    for fold in range(3):
        assert (folder / "model" / "tiny" / f"fold-{fold}" / "report.html").exists()
    for name in ("end_to_end_metrics.json", "report.html"):
        assert (folder / "model" / "tiny" / "all" / name).exists()
