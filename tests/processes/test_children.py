"""Stopped processes are ended; sockets that cannot be made are named."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import process, util
from pathlib import Path

import pytest

from intracranial.errors import InputError
from intracranial.processes import children
from intracranial.processes.children import (
    Guard,
    all_processes,
    environment_of,
    is_alive,
    is_stopped,
    parent_of,
    require_sockets,
)

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


@pytest.fixture
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], env={"RANK": "1"}) as started:
        yield started
        started.kill()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(children, "STOPPED_SECONDS", 0.25)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@needs_proc
def test_a_stopped_process_is_ended_and_one_that_runs_is_not(sleeping, quick):
    guard = Guard()
    guard.watch(sleeping.pid)
    time.sleep(0.5)
    assert sleeping.poll() is None
    sleeping.send_signal(signal.SIGSTOP)
    assert sleeping.wait(10) == -signal.SIGKILL
    assert guard.has_ended(sleeping.pid)


@needs_proc
def test_a_process_that_goes_on_soon_is_left_alone(sleeping, quick):
    guard = Guard()
    guard.watch(sleeping.pid)
    for _ in range(3):
        sleeping.send_signal(signal.SIGSTOP)
        time.sleep(0.15)
        sleeping.send_signal(signal.SIGCONT)
        time.sleep(0.15)
    assert sleeping.poll() is None and not guard.has_ended(sleeping.pid)


@needs_proc
def test_time_in_which_this_process_has_not_run_either_does_not_count(sleeping, quick, monkeypatch):
    asleep = time.sleep

    def late(seconds: float) -> None:
        asleep(20 * seconds)  # as if all had been stopped meanwhile

    monkeypatch.setattr(children.time, "sleep", late)
    guard = Guard()
    guard.watch(sleeping.pid)
    sleeping.send_signal(signal.SIGSTOP)
    asleep(2.5)
    assert sleeping.poll() is None
    assert sleeping.wait(10) == -signal.SIGKILL


@needs_proc
def test_processes_that_others_name_are_looked_at_while_they_are_followed(sleeping, quick):
    guard = Guard()

    def find() -> list[int]:
        return [sleeping.pid]

    guard.follow(find)
    guard.follow_no_more(find)
    sleeping.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    assert sleeping.poll() is None
    guard.follow(find)
    assert sleeping.wait(10) == -signal.SIGKILL


@needs_proc
def test_the_system_tells_what_has_become_of_a_process(sleeping):
    assert is_alive(sleeping.pid) and not is_stopped(sleeping.pid)
    wait_until(lambda: environment_of(sleeping.pid) == {"RANK": "1"})
    assert sleeping.pid in all_processes() and parent_of(sleeping.pid) == os.getpid()
    sleeping.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(sleeping.pid))
    sleeping.kill()
    wait_until(lambda: not is_alive(sleeping.pid))  # nobody has waited for it yet
    sleeping.wait()
    assert (
        not is_alive(sleeping.pid)
        and not parent_of(sleeping.pid)
        and environment_of(sleeping.pid) == {}
    )


@pytest.fixture
def fresh_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder for sockets is made anew."""
    monkeypatch.setitem(process.current_process()._config, "tempdir", None)
    monkeypatch.setattr(util, "Finalize", lambda *args, **flags: None)


def test_a_temporary_folder_with_a_long_path_is_named(fresh_folder, tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(InputError, match=r"AF_UNIX path too long.* set TMPDIR to a folder") as said:
        require_sockets()
    assert str(folder) in str(said.value)


def test_no_temporary_folder_at_all_is_an_input_error(fresh_folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    with pytest.raises(InputError, match=r"there is no temporary folder .* set TMPDIR"):
        require_sockets()


def test_a_temporary_folder_that_a_cleaner_took_is_made_again(fresh_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", tempfile.mkdtemp(dir="/tmp"))
    require_sockets()
    folder = Path(util.get_temp_dir())
    assert folder.is_dir() and not list(folder.iterdir())
    folder.rmdir()
    require_sockets()
    assert folder.is_dir()
    folder.rmdir()
    folder.parent.rmdir()


LONG_TMPDIR = """
from dataclasses import replace
from pathlib import Path

from intracranial.caching.read_ahead import read_ahead
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import ReadLimits
list(read_ahead([Path("x")], replace(STANDARD, size=32), ReadLimits(), 1, 60.0))
"""


def test_processes_that_read_are_not_started_without_sockets(tmp_path):
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LONG_TMPDIR],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "InputError: processes cannot speak with each other" in done.stderr
