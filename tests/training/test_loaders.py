"""Loading processes that fail, stop, die or have no room: the one that waits always goes on."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from intracranial.errors import InputError, StaleArtifact
from intracranial.processes import children
from intracranial.training import loaders
from intracranial.training.loaders import Batch, LoadingError, deaths_explained, load

ROOT = Path(__file__).parents[2]


class Acting(Dataset[Batch]):
    """Does something before it gives number 2."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __getitem__(self, number: int) -> Batch:
        if number == 2:
            self.act()
        return {"number": torch.tensor(number), "room": torch.zeros(10_000)}


def load_all(act: Callable[[], object], workers: int = 1, **flags) -> list[int]:
    loaded = load(Acting(act), [[n] for n in range(6)], workers, pin_memory=False, **flags)
    with closing(loaded), deaths_explained():
        return [int(batch["number"]) for batch in loaded]


def raise_(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_batches_come_in_their_order():
    assert load_all(lambda: None, 2) == load_all(lambda: None, 0) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_data_set_is_raised_as_it_is(workers: int):
    with pytest.raises(StaleArtifact) as said:
        load_all(raise_(StaleArtifact("what is wrong")), workers)
    assert str(said.value) == "what is wrong"


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error", "a.npy"), MemoryError("no room")]
)
def test_an_error_of_the_machine_in_a_loading_process_is_an_input_error(error: Exception):
    with pytest.raises(InputError, match=r"a process that loads data: .*(a\.npy|no room)"):
        load_all(raise_(error))


def test_any_other_error_in_a_loading_process_is_an_internal_one_with_its_traceback():
    with pytest.raises(LoadingError, match=r"(?s)Traceback .*in act.*ZeroDivisionError: by 0"):
        load_all(raise_(ZeroDivisionError("by 0")))


def leave_no_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def test_a_full_shared_memory_is_named():
    with pytest.raises(InputError, match=r"has no room for a batch .*/dev/shm is full"):
        load_all(leave_no_room)


class NotToBeSent(torch.Tensor):
    """A tensor that cannot be handed over."""

    def __reduce_ex__(self, version: int) -> str:
        raise OSError(28, "No space left on device")


def not_to_be_sent(made: list[Batch]) -> Batch:
    return {"number": torch.zeros(()).as_subclass(NotToBeSent)}


def test_a_batch_that_cannot_be_handed_over_is_not_waited_for():
    with pytest.raises(InputError, match=r"has died \(OSError: .* No space left on device\)"):
        load_all(lambda: None, collate=not_to_be_sent)


def test_loading_processes_that_cannot_be_started_are_explained(monkeypatch):
    def fail(loader: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loaders.DataLoader, "__iter__", fail)
    with pytest.raises(InputError, match=r"cannot be started .* If .*/dev/shm is full"):
        load_all(lambda: None)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_a_stopped_loading_process_is_ended_and_named(monkeypatch):
    monkeypatch.setattr(children, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(children, "STOPPED_SECONDS", 0.5)
    begin = time.monotonic()
    with pytest.raises(InputError, match=r"has died \(it was stopped \(SIGSTOP\) for"):
        load_all(lambda: os.kill(os.getpid(), signal.SIGSTOP), 2)
    assert time.monotonic() - begin < 10


def test_signals_to_the_whole_group_are_for_the_main_process_to_answer():
    def act() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

    assert load_all(act) == [0, 1, 2, 3, 4, 5]


def test_processes_that_are_busy_are_ended_all_the_same(monkeypatch):
    monkeypatch.setattr(loaders, "PATIENCE_SECONDS", 0.2)
    loaded = load(Acting(lambda: time.sleep(60)), [[1], [2]], 1, pin_memory=False)
    next(loaded)
    begin = time.monotonic()
    loaded.close()
    assert time.monotonic() - begin < 5
    assert not multiprocessing.active_children()


FAILS = """
from tests.training.test_loaders import Acting, load
loaded = load(Acting(lambda: None), [[n] for n in range(6)], 2, pin_memory=False)
next(loaded)
raise ValueError("kept alive by its traceback", loaded)
"""


def test_no_program_waits_at_its_end_for_loading_processes_that_nobody_has_closed():
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", FAILS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "kept alive by its traceback" in done.stderr
    assert time.monotonic() - begin < 40
