"""Several processes on the CPU (gloo) train as one would."""

import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from torch import nn

from intracranial.artifacts import FoldPaths
from intracranial.config import with_values
from intracranial.errors import NumericalError, Preempted, UsageError
from intracranial.training.batches import Batch, TrainingData
from intracranial.training.distributed import (
    OtherStopped,
    freeze_unused,
    is_first,
    on_first,
    process_count,
    process_index,
    processes,
    share_work,
    wait_for_all,
)
from intracranial.training.loop import Fit
from intracranial.training.step_report import STEPS_AHEAD
from tests.forked import start_function
from tests.training.test_loop import BATCHES, SPEC, batches, fit, network, unknown

ONE_STEP = with_values(
    SPEC, optimizer="sgd", lr=1.0, schedule="constant", warmup_epochs=0, max_steps=1
)
"""One step of plain gradient descent with rate 1 moves the weights by the gradient."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def in_processes(function, folder: Path, count: int = 2, of: int | None = None) -> list[int]:
    """Exit codes of `count` processes that run `function(folder)` together, of `of` in all."""
    launch = {"WORLD_SIZE": str(of or count), **meeting()}
    running = [start_function(function, folder, RANK=str(rank), **launch) for rank in range(count)]
    codes = [process.wait() for process in running]
    for process in running:
        sys.stderr.write(process.text())
    return codes


def meeting() -> dict[str, str]:
    """Where the processes of a launch meet: variables of their environment."""
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}


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


STEPS = with_values(SPEC, optimizer="sgd", schedule="constant", max_steps=3, select="heldout")


def with_an_idle_parameter(folder: Path) -> Fit:
    model = network()
    model[1].p = 0.0  # dropout differs by process
    model.idle = nn.Parameter(torch.ones(3))
    return fit(folder, spec=STEPS, model=model)


def train_with_an_idle_parameter(folder: Path) -> None:
    with processes("cpu"):
        warned = Memory(logging.WARNING)
        logging.getLogger("intracranial").addHandler(warned)
        run = with_an_idle_parameter(folder / "run")
        run.run(TrainingData(my_part, BATCHES), lambda ema: {"score": 0.5})
        assert not run.network.find_unused_parameters
        assert [name for name, p in run.model.named_parameters() if not p.requires_grad] == ["idle"]
        assert warned.messages == []
        torch.save(run.model.state_dict(), folder / f"{process_index()}.pt")


class Memory(logging.Handler):
    """Keeps messages."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def test_two_processes_train_as_one_with_a_parameter_that_takes_no_part(tmp_path):
    """The wrapper neither waits for its gradient nor searches for it, and nothing is warned of."""
    assert in_processes(train_with_an_idle_parameter, tmp_path) == [0, 0]
    whole = with_an_idle_parameter(tmp_path / "whole")
    whole.run(TrainingData(lambda *at: unknown(batches(*at)), BATCHES), None)
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, tensor in whole.model.state_dict().items():
            torch.testing.assert_close(together[name], tensor, atol=1e-6, rtol=0)


def test_the_search_for_idle_parameters_changes_no_buffer_and_no_gradient():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    model.idle = nn.Parameter(torch.ones(3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    freeze_unused(model, lambda: model(torch.randn(6, 5)).sum())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["idle"]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert all(module.training for module in model.modules())


def a_third(epoch: int, first: int) -> Iterator[Batch]:
    for batch in unknown(batches(epoch, first)):
        yield {name: tensor[process_index() :: 3] for name, tensor in batch.items()}


def broken_off(epoch: int, first: int) -> Iterator[Batch]:
    if epoch == 1:
        raise NumericalError("broken off")
    yield from a_third(epoch, first)


class LastFirst(nn.Module):
    """A network whose last layer was made first: its gradient comes where none expects it."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(40, 1)
        self.first = nn.Sequential(nn.Linear(5, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x))


def resume_as_three(folder: Path) -> None:
    def made(name: str) -> Fit:
        torch.manual_seed(0)
        return fit(folder / name, spec=SPEC, model=LastFirst())

    with processes("cpu"):
        whole = made("whole")
        whole.run(TrainingData(a_third, BATCHES), None)
        with pytest.raises(NumericalError):
            made("cut").run(TrainingData(broken_off, BATCHES), None)
        wait_for_all()  # the first process writes the checkpoint
        cut = made("cut")
        cut.run(TrainingData(a_third, BATCHES), None)
        for one, other in zip(whole.parameters, cut.parameters, strict=True):
            assert torch.equal(one, other)


def test_a_training_of_three_processes_is_resumed_to_the_same_bytes(tmp_path):
    """From three on, the sum of the gradients depends on the order in which they are added."""
    assert in_processes(resume_as_three, tmp_path, 3) == [0, 0, 0]


def work_on_five(folder: Path) -> None:
    with processes("cpu"):
        shares = []

        def work(share):
            shares.append(list(share))
            return [item**2 for item in share]

        assert share_work([1, 2, 3, 4, 5], work) == [1, 4, 9, 16, 25]
        assert share_work([1], work) == [1]
        assert shares == ([[1, 3, 5], [1]] if is_first() else [[2, 4], []])


def test_work_is_shared_and_its_results_are_known_to_all(tmp_path):
    assert in_processes(work_on_five, tmp_path) == [0, 0]
    assert share_work([1, 2, 3], lambda share: [-item for item in share]) == [-1, -2, -3]


def score_a_running_mean(folder: Path) -> None:
    def mean(ema: nn.Module) -> dict[str, float]:
        return {"score": float(ema[0].running_mean.sum())}

    with processes("cpu"):
        model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 1))
        run = fit(folder / "run", spec=STEPS, model=model)
        run.run(TrainingData(my_part, BATCHES), mean)
        scores = [row["score"] for row in run.rows]
        assert scores[-1] == on_first(lambda: scores)[-1] != 0


def test_processes_score_with_the_statistics_of_the_first(tmp_path):
    assert in_processes(score_a_running_mean, tmp_path) == [0, 0]


def stop_the_second(folder: Path) -> None:
    def interrupted(epoch: int, first: int) -> Iterator[Batch]:
        for number, batch in enumerate(my_part(epoch, first), start=first):
            if (epoch, number) == (1, 0) and not is_first():
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with processes("cpu"):
        run = fit(folder / "run", ahead=STEPS_AHEAD)
        with pytest.raises(Preempted):
            run.run(TrainingData(interrupted, BATCHES), None)
        assert (run.epoch, run.batch) == (1, 1 + STEPS_AHEAD)
        fit(folder / "run", ahead=STEPS_AHEAD).run(TrainingData(my_part, BATCHES), None)
        whole = fit(folder / "whole")
        whole.run(TrainingData(my_part, BATCHES), None)
        wait_for_all()  # the first process writes the logs
        logs = [FoldPaths(folder / name, "run", 0).log_csv("stage1") for name in ("run", "whole")]
        assert logs[0].read_bytes() == logs[1].read_bytes()


def test_all_processes_stop_after_the_same_step_when_one_of_them_is_asked_to(tmp_path):
    assert in_processes(stop_the_second, tmp_path) == [0, 0]


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


class Tight(nn.Linear):
    """A first layer whose backward pass finds no memory for more than some members."""

    fits = 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = super().forward(x)
        if len(x) > self.fits:
            found.register_hook(out_of_memory)
        return found


def out_of_memory(gradient: torch.Tensor) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")


def run_out_of_memory(folder: Path) -> None:
    model = network()
    model[0] = Tight(5, 8)

    def growing(epoch: int, first: int) -> Iterator[Batch]:
        for number, batch in enumerate(my_part(epoch, first), start=first):
            model[0].fits = 8 if number == 0 else 2
            yield batch

    run = fit(folder / "run", model=model)
    try:
        with processes("cpu"):
            run.run(TrainingData(growing, BATCHES), None)
    except UsageError as error:
        (folder / os.environ["RANK"]).write_text(str(error))


def test_two_processes_are_told_what_fits_after_a_backward_pass_that_broke_off(tmp_path):
    """The first gradients of the step have been reported to DistributedDataParallel by then."""
    assert in_processes(run_out_of_memory, tmp_path) == [0, 0]
    for rank, size in enumerate((5, 3)):
        said = (tmp_path / str(rank)).read_text()
        assert f"a piece of {size} does not fit, 2 went" in said, said


def resume_from_an_old_checkpoint(folder: Path) -> None:
    """The second process sees the checkpoint of one epoch, the first one that of two."""
    rank = os.environ["RANK"]
    try:
        with processes("cpu"):
            seen = fit(folder / rank)
            seen.epoch = 2 - process_index()
            with patch("intracranial.training.loop.is_first", lambda: True):
                seen._save()
            fit(folder / rank).run(TrainingData(my_part, BATCHES), None)
    except (Preempted, OtherStopped) as error:
        (folder / f"{rank}.txt").write_text(f"{error.exit_code} {error}")


def test_processes_that_see_different_checkpoints_do_not_train_together(tmp_path):
    assert in_processes(resume_from_an_old_checkpoint, tmp_path) == [0, 0]
    for rank in range(2):
        said = (tmp_path / f"{rank}.txt").read_text()
        assert said.startswith("75 "), said
        assert "process 1 of 2 would resume from epoch 2, batch 0, process 0 from epoch 3" in said


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
