"""Two commands on one artifact: one works, the other says which one does."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from intracranial.artifacts import LOCK_SUFFIX
from intracranial.errors import EXIT_PREEMPTED, Busy
from intracranial.processes import locks
from intracranial.processes.locks import only_one
from tests.tiny_runs import ROOT, Place, run_tool

HOLDS = """
import sys
from pathlib import Path
from intracranial.processes.locks import only_one
with only_one(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
print("free", flush=True)
"""


FORKS = """
import os, sys, time
from pathlib import Path
from intracranial.processes.locks import only_one
with only_one(Path(sys.argv[1]), "it"):
    child = os.fork()
    if not child:
        time.sleep(60)
    print(f"held\\n{child}", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(path: Path, script: str = HOLDS) -> Iterator[subprocess.Popen[str]]:
    """A process that works on an artifact until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / ".work.lock"


def test_the_second_process_is_told_who_works(path: Path):
    with another_process(path) as first:
        with pytest.raises(Busy) as refused, only_one(path, "the caches"):
            raise AssertionError("two work")
        words = str(refused.value)
        assert "another command works on the caches: " in words
        assert f"process {first.pid} on {os.uname().nodename} since 20" in words
        assert f"-c {path}" in words
        assert refused.value.exit_code == EXIT_PREEMPTED == 75
        assert path.exists()
        first.communicate("")
    with only_one(path, "the caches"):
        assert json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not path.exists()


def test_a_killed_owner_blocks_nobody(path: Path):
    with another_process(path) as first:
        first.kill()
        first.wait()
        assert path.exists()
        with only_one(path, "it"):
            assert json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid()


def test_processes_that_a_killed_owner_has_forked_block_nobody(path: Path):
    """Those that load data are forked, and outlive it for seconds."""
    with another_process(path, FORKS) as first:
        assert first.stdout is not None
        child = int(first.stdout.readline())
        first.kill()
        first.wait()
        try:
            with only_one(path, "it"):
                os.kill(child, 0)  # it is still there
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_file_that_a_killed_run_left_is_taken_over(path: Path):
    path.parent.mkdir()
    path.write_text("what a killed run left, and longer than what comes after it " * 10)
    with only_one(path, "it"):
        assert json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not path.exists()


def test_an_error_frees_the_artifact(path: Path):
    with pytest.raises(RuntimeError), only_one(path, "it"):
        raise RuntimeError
    with only_one(path, "it"):
        pass


def test_an_owner_without_words_is_still_one(path: Path):
    with another_process(path):
        path.write_text("")  # a full disk
        with (
            pytest.raises(Busy, match="a process that does not say who it is"),
            only_one(path, "it"),
        ):
            pass


def test_where_there_are_no_locks_a_run_goes_on_with_a_warning(path: Path, monkeypatch, caplog):
    def without(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks.fcntl, "lockf", without)
    with only_one(path, "the caches"):
        pass
    assert "has no locks" in caplog.text and "start no second command" in caplog.text
    assert not path.exists()


def test_a_folder_that_cannot_be_written_is_left_to_the_work_itself(path: Path, monkeypatch):
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(locks.os, "open", refuse)
    with only_one(path, "it"):
        pass


def test_a_file_that_its_owner_takes_away_meanwhile_is_no_lock(path: Path, monkeypatch):
    """Between opening and locking it the owner ends: the next one must not lock what is gone."""
    lockf, taken = locks.fcntl.lockf, threading.Event()

    def after_the_owner(descriptor: int, how: int) -> None:
        if not taken.is_set():
            taken.set()
            path.unlink()
        lockf(descriptor, how)

    monkeypatch.setattr(locks.fcntl, "lockf", after_the_owner)
    with only_one(path, "it"):
        assert path.stat().st_ino
        with pytest.raises(AssertionError), another_process(path):  # it is held for good
            pass


LOCKED = {
    "preprocess_data": ("data", "preprocess_data", "--overwrite"),
    "create_folds": ("data", "create_folds", "--overwrite"),
    "train_stage1": ("fold", "stage1", "--overwrite"),
    "eval_stage1": ("fold", "stage1_metrics", "--overwrite"),
    "extract_features": ("fold", "features", "--overwrite"),
    "train_stage2": ("fold", "stage2", "--overwrite"),
    "eval_stage2": ("fold", "stage2_metrics", "--overwrite"),
    "eval_end_to_end": ("fold", "end_to_end", "--overwrite"),
}


@pytest.mark.parametrize("stage", LOCKED)
def test_a_second_command_ends_with_75_and_touches_nothing(tiny: Place, stage: str):
    where, kind, *flags = LOCKED[stage]
    folder = tiny.data.root if where == "data" else tiny.fold().root
    before = tiny.content()
    with another_process(folder / f".{kind}{LOCK_SUFFIX}") as first:
        said = tiny.call(stage, *flags)
        assert said.code == EXIT_PREEMPTED, said.text
        assert f"process {first.pid} on " in said.text and "Traceback" not in said.text
        assert tiny.call(stage).code == 0  # there is nothing to do, whoever works
        first.communicate("")
    assert tiny.content() == before


def test_folds_and_stages_of_one_run_do_not_wait_for_each_other(tiny_copy: Place):
    with another_process(tiny_copy.fold(1).lock("stage1")):
        with another_process(tiny_copy.fold(0).lock("stage2")):
            said = tiny_copy.call("train_stage1", "--fold", "0", "--overwrite", "--max_steps", "1")
    assert said.code == 0, said.text


def test_a_second_prediction_into_a_folder_says_who_works(tiny: Place, tmp_path: Path):
    flags = ["--model", tiny.model_dir / "tiny", "--series_dir", tiny.data.series]
    with another_process(tmp_path / f".predict{LOCK_SUFFIX}") as first:
        said = run_tool("predict", *flags, "--out_dir", tmp_path)
    assert said.code == EXIT_PREEMPTED and f"process {first.pid} on " in said.text
