"""Series in worker processes: a dead process costs one call a second try, alone."""

import os
import signal
import time
from pathlib import Path

import pytest

from intracranial.caching.jobs import in_workers

LONG = 60.0
BUSY = 0.3
"""Seconds of a call, so that two run at a time."""


def _call(name: str, folder: Path) -> str:
    """The name, and how many other calls were running; `once` and `always` end their process."""
    tries = len(list(folder.glob(f"{name}.*.tried")))
    (folder / f"{name}.{tries}.tried").touch()
    if name == "always" or (name == "once" and not tries):
        time.sleep(BUSY)
        os.kill(os.getpid(), signal.SIGKILL)
    while name == "hangs":
        time.sleep(0.01)
    mine = folder / f"{name}.running"
    mine.touch()
    time.sleep(BUSY)
    others = len(list(folder.glob("*.running"))) - 1
    mine.unlink()
    return f"{name} beside {others}" if name == "once" else name


def _lost(name: str, code: str, words: str) -> str:
    assert words
    return f"{name} {code}"


NAMES = ["a", "always", "b", "once", "c", "d", "e", "f"]


@pytest.mark.parametrize("in_order", [True, False])
def test_a_dead_process_costs_its_call_a_second_try_alone(tmp_path: Path, in_order: bool):
    found = list(in_workers(_call, NAMES, (tmp_path,), 2, LONG, _lost, in_order))
    expected = ["a", "always worker_died", "b", "once beside 0", "c", "d", "e", "f"]
    if in_order:
        assert found == expected
    else:
        assert sorted(found) == sorted(expected)
        assert found[-2:] == ["always worker_died", "once beside 0"]
    tried = sorted(path.name for path in tmp_path.glob("*.tried"))
    twice = ["always.1.tried", "once.1.tried"]
    assert tried == sorted([*(f"{name}.0.tried" for name in NAMES), *twice])


@pytest.mark.parametrize("in_order", [True, False])
def test_a_call_that_takes_too_long_is_not_tried_again(tmp_path: Path, in_order: bool):
    found = in_workers(_call, ["a", "hangs", "b"], (tmp_path,), 2, 2.0, _lost, in_order)
    assert sorted(found) == ["a", "b", "hangs timed_out"]
    assert not (tmp_path / "hangs.1.tried").exists()


def test_few_calls_begin_before_their_results_are_taken(tmp_path: Path):
    begun = []

    def series():
        for number in range(20):
            begun.append(number)
            yield str(number)

    found = in_workers(_call, series(), (tmp_path,), 1, LONG, _lost, True)
    assert next(found) == "0"
    assert len(begun) == 3
    found.close()
