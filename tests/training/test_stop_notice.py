"""What becomes of the other processes of a training when one of them stops."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from intracranial.errors import NumericalError
from intracranial.training import stop_notice
from intracranial.training.distributed import is_first, processes, wait_for_all
from tests.training.test_distributed import in_processes

ASLEEP = 60.0
"""Seconds of work without a word to the others."""


def run(folder: Path, work: Callable[[], None]) -> None:
    """Work in the processes; ends with the exit code and leaves the words of the error."""
    stop_notice.GRACE_SECONDS = 1.0
    code = 0
    try:
        with processes("cpu"):
            work()
    except Exception as error:
        code = getattr(error, "exit_code", 1)
        (folder / os.environ["RANK"]).write_text(f"{type(error).__name__}: {error}")
    assert not [thread for thread in threading.enumerate() if "_listen" in thread.name]
    os._exit(code)


def work_of(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    return lambda: first() if is_first() else second()


def fail() -> None:
    raise NumericalError("the loss is nan")


def sleep() -> None:
    time.sleep(ASLEEP)


def die() -> None:
    os._exit(9)


def die_later() -> None:
    time.sleep(2)
    die()


def fail_later() -> None:
    time.sleep(4)
    fail()


def first_fails_second_works(folder: Path) -> None:
    run(folder, work_of(fail, sleep))


def second_fails_first_works(folder: Path) -> None:
    run(folder, work_of(sleep, fail))


@pytest.mark.parametrize("function", [first_fails_second_works, second_fails_first_works])
def test_a_process_that_works_by_itself_ends_with_the_code_of_the_one_that_failed(
    tmp_path: Path, capfd, function: Callable[[Path], None]
):
    begin = time.monotonic()
    assert in_processes(function, tmp_path) == [6, 6]
    assert time.monotonic() - begin < ASLEEP
    failed = function is second_fails_first_works
    words = f"because of process {failed:d} of 2: NumericalError: the loss is nan"
    assert f"process {not failed:d} of 2 ends in the middle of its work, {words}" in (
        capfd.readouterr().err
    )


def first_fails_second_waits(folder: Path) -> None:
    run(folder, work_of(fail, wait_for_all))


def test_the_store_outlives_the_first_process_until_its_words_are_heard(tmp_path: Path):
    assert in_processes(first_fails_second_waits, tmp_path) == [6, 6]
    said = (tmp_path / "1").read_text()
    assert said == "OtherStopped: stopped because of process 0 of 2: " + (
        "NumericalError: the loss is nan"
    )


def first_dies_second_works(folder: Path) -> None:
    run(folder, work_of(die_later, sleep))


def test_a_process_that_works_by_itself_notices_that_the_first_one_was_killed(
    tmp_path: Path, capfd
):
    assert in_processes(first_dies_second_works, tmp_path) == [9, 75]
    assert "because of process 0, which left no message" in capfd.readouterr().err


def waits_for_one_that_has_gone(folder: Path) -> None:
    """The other one was there when this one was started, and never joins."""
    monkeyed = stop_notice.Neighbours
    monkeyed.lost = lambda self, gathering: {1} if gathering else set()
    run(folder, sleep)


def test_a_process_that_was_lost_before_all_have_met_is_not_waited_for(tmp_path: Path, capfd):
    begin = time.monotonic()
    assert in_processes(waits_for_one_that_has_gone, tmp_path, count=1, of=2) == [75]
    assert time.monotonic() - begin < ASLEEP
    assert "because of process 1, which left no message" in capfd.readouterr().err


def first_dies_second_fails(folder: Path) -> None:
    stop_notice.POLL_SECONDS = ASLEEP  # so that the error comes before anything is noticed
    run(folder, work_of(die, fail_later))


def test_an_own_error_survives_the_loss_of_the_store(tmp_path: Path):
    assert in_processes(first_dies_second_fails, tmp_path) == [9, 6]
    assert (tmp_path / "1").read_text() == "NumericalError: the loss is nan"


def second_dies_first_waits(folder: Path) -> None:
    stop_notice.PATIENCE_SECONDS = 1.0
    run(folder, work_of(wait_for_all, die))


def test_who_has_lost_a_silent_process_quotes_the_error_that_showed_it(tmp_path: Path):
    assert in_processes(second_dies_first_waits, tmp_path) == [75, 9]
    said = (tmp_path / "0").read_text()
    assert said.startswith("Preempted: process 0 of 2 has lost another one")
    assert "the last checkpoint ([" in said and "gloo" in said


def badly_set_up(folder: Path) -> None:
    text = """NCCL error in: ProcessGroupNCCL.cpp:77, invalid usage, NCCL version 2.27
ncclInvalidUsage: This usually reflects invalid usage of NCCL library.
Last error:
Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 6000
"""

    def all_reduce(tensor: torch.Tensor) -> None:
        raise torch.distributed.DistBackendError(text)

    torch.distributed.all_reduce = all_reduce
    run(folder, lambda: None)


def test_processes_that_are_set_up_wrongly_do_not_ask_to_be_started_again(tmp_path: Path):
    assert in_processes(badly_set_up, tmp_path) == [3, 3]
    for rank in range(2):
        said = (tmp_path / str(rank)).read_text()
        assert said.startswith(f"InputError: process {rank} of 2 cannot work together")
        assert "NCCL version 2.27; Duplicate GPU detected : rank 1 and rank 0" in said
