"""Several processes on the CPU (gloo) train as one would."""

import multiprocessing
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from src.errors import NumericalError
from src.training.batches import Batch, TrainingData
from src.training.distributed import (
    OtherStopped,
    is_first,
    on_first,
    process_count,
    process_index,
    processes,
)
from tests.training.test_loop import BATCHES, SPEC, batches, fit, unknown

ONE_STEP = replace(SPEC, optimizer="sgd", lr=1.0, schedule="constant", warmup_epochs=0, max_steps=1)
"""One step of plain gradient descent with rate 1 moves the weights by the gradient."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def in_processes(function, folder: Path, count: int = 2) -> list[int]:
    """Exit codes of `count` processes that run `function(folder)` together."""
    context = multiprocessing.get_context("spawn")
    port = free_port()
    running = [
        context.Process(target=run_rank, args=(function, folder, rank, count, port))
        for rank in range(count)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join(120)
    return [process.exitcode for process in running]


def run_rank(function, folder: Path, rank: int, count: int, port: int) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    function(folder)


def my_part(epoch: int, first: int) -> Iterator[Batch]:
    """This process's share of every batch: 5 and 3 of its 8 members."""
    for batch in unknown(batches(epoch, first)):
        part = slice(5) if is_first() else slice(5, None)
        yield {name: tensor[part] for name, tensor in batch.items()}


def gradient(folder: Path, pieces) -> torch.Tensor:
    run = fit(folder, spec=ONE_STEP)
    run.model[1].p = 0.0  # dropout differs by process
    before = nn.utils.parameters_to_vector(run.model.parameters()).detach().clone()
    run.run(TrainingData(pieces, BATCHES), None)
    return before - nn.utils.parameters_to_vector(run.model.parameters()).detach()


def save_gradient(folder: Path) -> None:
    with processes("cpu"):
        assert process_count() == 2
        found = gradient(folder / "run", my_part)
        torch.save(found, folder / f"{process_index()}.pt")


def test_the_gradient_of_two_processes_is_that_of_one_with_the_joint_batch(tmp_path):
    """Entries are masked unevenly: each process alone would divide by another count."""
    assert in_processes(save_gradient, tmp_path) == [0, 0]
    whole = gradient(tmp_path / "whole", lambda *at: unknown(batches(*at)))
    assert whole.norm() > 0.1
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(together, whole, atol=1e-5, rtol=0)


def fail_in_the_second(folder: Path) -> None:
    try:
        with processes("cpu"):
            if not is_first():
                raise NumericalError("the loss is nan")
            on_first(lambda: None)
            fit(folder / "run").run(TrainingData(my_part, BATCHES), None)
    except Exception as error:
        name = type(error).__name__
        (folder / ("first" if os.environ["RANK"] == "0" else "second")).write_text(
            f"{name} {getattr(error, 'exit_code', None)} {error}"
        )


def test_all_processes_end_with_the_error_of_the_one_that_failed(tmp_path):
    in_processes(fail_in_the_second, tmp_path)
    assert (tmp_path / "second").read_text() == "NumericalError 6 the loss is nan"
    said = (tmp_path / "first").read_text()
    assert said.startswith(f"{OtherStopped.__name__} 6 ")
    assert "process 1 of 2: NumericalError: the loss is nan" in said


def test_without_torchrun_there_is_one_process_and_nothing_is_initialised(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    with processes("cpu"):
        assert (process_count(), process_index(), is_first()) == (1, 0, True)
        assert not torch.distributed.is_initialized()
    assert on_first(lambda: SimpleNamespace(value=1)).value == 1


@pytest.fixture(autouse=True)
def not_distributed():
    yield
    assert not torch.distributed.is_initialized()
