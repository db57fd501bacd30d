"""Loaders say in plain words what has happened to their processes."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from intracranial.errors import InputError
from intracranial.training import batches, loaders
from intracranial.training.batches import PieceLoader, TrainingData
from intracranial.training.loaders import Batch, deaths_explained, load
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
    from intracranial.compute import is_cuda

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = []
    monkeypatch.setattr(loaders, "DataLoader", lambda *_, **flags: asked.append(flags) or [])
    list(load(Deadly(), [], 0, is_cuda(device)))
    assert [flags["pin_memory"] for flags in asked] == [device == "cuda"]


class Numbers(Dataset[Batch]):
    """The number that is asked for, and a weight."""

    def __getitem__(self, number: int) -> Batch:
        return {"number": torch.tensor(number), "weights": torch.ones(1)}


def numbers_of(epoch: int) -> list[list[int]]:
    """Two batches of an epoch: 10, 11, 12 and 13 in the first epoch."""
    first = 10 * (epoch + 1)
    return [[first, first + 1, first + 2], [first + 3]]


def piece_loader(num_workers: int = 0) -> PieceLoader:
    return PieceLoader(Numbers(), numbers_of, 2, 3, 2, num_workers, pin_memory=False)


def given(pieces: Iterator[Batch], count: int = 99) -> list[tuple[list[int], list[float]]]:
    found = islice(pieces, count)
    return [(piece["number"].tolist(), piece["weights"].flatten().tolist()) for piece in found]


def epoch_of(number: int) -> list[tuple[list[int], list[float]]]:
    first = 10 * (number + 1)
    whole = [([first, first + 2], [1.0, 1.0]), ([first + 1], [1.0])]
    return [*whole, ([first + 3], [1.0]), ([first + 3], [0.0])]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_one_loader_serves_all_epochs(monkeypatch, num_workers: int):
    started = []

    def counting(*args, **flags):
        started.append(1)
        return load(*args, **flags)

    monkeypatch.setattr(batches, "load", counting)
    loader = piece_loader(num_workers)
    for epoch in range(3):
        # the training loop asks for so many pieces, and no further
        assert given(loader.pieces(epoch, 0), 4) == epoch_of(epoch)
    assert len(started) == 1


def test_a_closed_loader_leaves_no_process_behind():
    loader = piece_loader(2)
    first = loader.pieces(0, 0)
    next(first)
    before = {process.pid for process in multiprocessing.active_children()}
    loader.close()
    left = {process.pid for process in multiprocessing.active_children()}
    assert len(before - left) == 2
    assert given(loader.pieces(2, 0)) == epoch_of(2)


def test_loading_begins_anew_at_any_other_place():
    loader = piece_loader()
    assert given(loader.pieces(1, 1)) == epoch_of(1)[2:]
    assert given(loader.pieces(2, 0), 2) == epoch_of(2)[:2]
    assert given(loader.pieces(2, 1)) == epoch_of(2)[2:]
    assert given(loader.pieces(0, 0), 1) == epoch_of(0)[:1]  # stops within a batch
    assert given(loader.pieces(0, 0)) == epoch_of(0)
    assert given(loader.pieces(0, 0)) == epoch_of(0)
