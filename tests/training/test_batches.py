"""Loaders say in plain words what has happened to their processes."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from src.errors import InputError
from src.training import batches
from src.training.batches import Batch, TrainingData, deaths_explained, load
from tests.training.test_loop import BATCHES, SquaredError, fit
from tests.training.test_loop import batches as ready


class Deadly(Dataset[Batch]):
    """The process that loads member 1 is killed, as for want of memory."""

    def __getitem__(self, number: int) -> Batch:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return {name: tensor[0] for name, tensor in ready(0, 0)[0].items()}


def deadly(epoch: int, first: int) -> Iterator[Batch]:
    requests = [[number] for number in range(first, BATCHES)]
    return load(Deadly(), requests, num_workers=1, pin_memory=False)


class Slow(SquaredError):
    """A step that still computes when the process dies that loads for the next one."""

    def __call__(self, model: torch.nn.Module, batch: Batch, counts: torch.Tensor) -> Batch:
        time.sleep(20)  # torch's handler of SIGCHLD raises in it
        return super().__call__(model, batch, counts)


@pytest.mark.parametrize("loss", [SquaredError(), Slow()])
def test_a_killed_loading_process_is_an_input_error_wherever_torch_tells_of_it(
    tmp_path: Path, loss: SquaredError
):
    with pytest.raises(InputError, match=r"loads data has died .*give fewer --num_workers"):
        fit(tmp_path, loss).run(TrainingData(deadly, BATCHES), None)


def test_a_dead_thread_that_pins_memory_is_explained_and_other_errors_stay():
    with pytest.raises(InputError, match="Pin memory thread"), deaths_explained():
        raise RuntimeError("Pin memory thread exited unexpectedly")
    with pytest.raises(RuntimeError, match="something else"), deaths_explained():
        raise RuntimeError("something else")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_is_pinned_only_for_a_training_on_a_cuda_device(monkeypatch, device: str):
    from src.compute import is_cuda

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = []
    monkeypatch.setattr(batches, "DataLoader", lambda *_, **flags: asked.append(flags) or [])
    list(load(Deadly(), [], 0, is_cuda(device)))
    assert [flags["pin_memory"] for flags in asked] == [device == "cuda"]
