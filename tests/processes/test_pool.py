"""Worker processes: what becomes of a call whose process dies, hangs or raises."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from intracranial.errors import InputError
from intracranial.processes import children
from intracranial.processes.pool import WorkerDied, WorkerPool
from tests.imaging.make_series import head, store, write_single_frames

ROOT = Path(__file__).parents[2]
LONG = 60.0

UNGUARDED = """
import multiprocessing
from dataclasses import replace
from pathlib import Path

from intracranial.caching.read_ahead import read_ahead
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import ReadLimits

print("the script runs", flush=True)
methods = {methods}
if methods:
    multiprocessing.get_all_start_methods = lambda: methods
folders = [Path({folder!r})] * 3
for series in read_ahead(folders, replace(STANDARD, size=32), ReadLimits(), 2, 60.0):
    print("read", series.uid, flush=True)
print("main is", __spec__ and __spec__.name, Path(__file__).name)
"""
"""A script whose work stands under no `if __name__ == "__main__"`."""


def _double(value: int) -> int:
    return 2 * value


def _kill_self(number: int) -> None:
    os.kill(os.getpid(), number)


def _hang_in_native_code(seconds: int) -> None:
    ctypes.PyDLL(None).sleep(seconds)  # PyDLL keeps the interpreter lock: no Python code runs


def _hang_in_python() -> None:
    while True:
        time.sleep(0.01)


def _wait_a_little(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def _forking() -> int:
    return os.getppid()


def _stop_self() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _stop_forking() -> None:
    os.kill(os.getppid(), signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGKILL)  # whose death it cannot report


def _kill_forking() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _raise_input_error() -> None:
    raise InputError("a file that is no use")


def _pid() -> int:
    return os.getpid()


def test_results_come_back_from_other_processes():
    with WorkerPool(2, LONG) as pool:
        assert [pool.submit(_double, k).result() for k in range(5)] == [0, 2, 4, 6, 8]
        assert pool.submit(_pid).result() != os.getpid()


def test_what_a_call_raises_is_raised_again_and_its_process_stays():
    with WorkerPool(1, LONG) as pool:
        before = pool.submit(_pid).result()
        with pytest.raises(InputError, match="no use"):
            pool.submit(_raise_input_error).result()
        assert pool.submit(_pid).result() == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_process_that_dies_costs_its_own_call_only(number):
    with WorkerPool(2, LONG) as pool:
        beside = pool.submit(_wait_a_little, 0.3)
        killed = pool.submit(_kill_self, number)
        later = [pool.submit(_double, k) for k in range(4)]
        with pytest.raises(WorkerDied) as died:
            killed.result()
        assert not died.value.timed_out
        assert beside.result() > 0
        assert [future.result() for future in later] == [0, 2, 4, 6]


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process is ended within a second."""
    monkeypatch.setattr(children, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(children, "STOPPED_SECONDS", 0.5)


@needs_proc
@pytest.mark.parametrize("act", [_stop_self, _stop_forking, _kill_forking])
def test_a_process_that_is_stopped_costs_its_own_call_as_one_that_dies(soon, act):
    with WorkerPool(1, LONG) as pool:
        before = pool.submit(_forking).result()
        with pytest.raises(WorkerDied) as died:
            pool.submit(act).result(20)
        assert not died.value.timed_out
        assert pool.submit(_double, 2).result(20) == 4
        after = pool.submit(_forking).result()
    assert (before == after) == (act is _stop_self)


def test_after_an_error_nobody_waits_for_a_call_that_takes_its_time():
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), WorkerPool(1, LONG) as pool:
        pool.submit(_pid).result()
        slow = pool.submit(_wait_a_little, 40)
        time.sleep(0.2)
        raise KeyboardInterrupt
    assert time.monotonic() - begin < 30
    with pytest.raises(WorkerDied):
        slow.result()


def test_a_pool_that_was_killed_starts_no_process_any_more():
    pool = WorkerPool(1, LONG)
    waiting = pool.submit(_wait_a_little, 0)
    pool.kill()
    assert waiting.cancelled() or waiting.exception() is not None or waiting.result()
    assert pool._workers[0]._process is None


def test_a_process_that_cannot_be_started_is_an_input_error_of_the_run(monkeypatch):
    def fail(context: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("intracranial.processes.pool._guard_forking", fail)
    with WorkerPool(1, LONG) as pool, pytest.raises(InputError, match=r"No space left.*TMPDIR"):
        pool.submit(_pid).result()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the platform has no interval timer")
@pytest.mark.parametrize(
    "hang", [(_hang_in_native_code, 30), (_hang_in_python,)], ids=["native", "python"]
)
def test_a_call_beyond_its_time_is_ended_by_the_operating_system(hang):
    started = time.monotonic()
    with WorkerPool(2, 0.5) as pool:
        slow = pool.submit(*hang)
        quick = [pool.submit(_double, k) for k in range(3)]
        with pytest.raises(WorkerDied) as died:
            slow.result()
        assert died.value.timed_out
        assert [future.result() for future in quick] == [0, 2, 4]
    assert time.monotonic() - started < 10


def test_the_time_limit_holds_for_each_call_not_for_all_together():
    with WorkerPool(1, 0.5) as pool:
        pids = {pool.submit(_wait_a_little, 0.2).result() for _ in range(4)}
    assert len(pids) == 1


def test_several_deaths_at_once_are_told_apart_by_their_exit_status():
    with WorkerPool(4, 0.5) as pool:
        calls = [(_hang_in_python,), (_kill_self, signal.SIGKILL)] * 4
        futures = [pool.submit(*call) for call in calls]
        ended = []
        for future in futures:
            with pytest.raises(WorkerDied) as died:
                future.result()
            ended.append(died.value.timed_out)
    assert ended == [True, False] * 4


def test_killing_the_pool_ends_calls_that_would_go_on():
    started = time.monotonic()
    pool = WorkerPool(2, LONG)
    future = pool.submit(_hang_in_python)
    assert pool.submit(_double, 1).result() == 2
    pool.kill()
    with pytest.raises(WorkerDied):
        future.result()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("as_module", [False, True], ids=["file", "module"])
@pytest.mark.parametrize("methods", [[], ["spawn"]], ids=["as here", "spawn"])
def test_a_script_without_a_guard_runs_once_and_keeps_its_main_module(tmp_path, methods, as_module):
    write_single_frames(tmp_path / "s", store(head(2)))
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED.format(methods=methods, folder=str(tmp_path / "s")))
    run = ["-m", "unguarded"] if as_module else [str(script)]
    found = subprocess.run(
        [sys.executable, *run],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    name = "unguarded" if as_module else None
    assert found.returncode == 0, found.stderr
    lines = ["the script runs", *["read 1.2.3"] * 3, f"main is {name} unguarded.py"]
    assert found.stdout.splitlines() == lines


def test_a_function_of_the_main_module_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(_double, "__module__", "__main__")
    with WorkerPool(1, LONG) as pool, pytest.raises(ValueError, match="_double is defined in"):
        pool.submit(_double, 1)
