"""What the training loop is fed with: keyed batches, cut into pieces, from loaders that explain.

A batch is computed in one piece, or in several: `--accumulate` cuts it in time, and several
processes cut it in space. Every piece is a strided part of the same keyed batch, so that the
number of processes decides where a sample is computed, and never which samples make a step.
"""

import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

import torch
from torch.utils.data import Dataset

from intracranial.compute import Compute, is_cuda, loading_processes
from intracranial.options.training import TrainingOptions
from intracranial.training.distributed import process_count, process_index
from intracranial.training.loaders import Batch, load

ItemT = TypeVar("ItemT")

WEIGHTS = "weights"
"""Names of batch entries that end in this hold the loss weights."""


def key(*parts: object) -> int:
    """A 32-bit seed from any parts, stable over processes and platforms."""
    return zlib.crc32(repr(parts).encode())


@dataclass(frozen=True)
class TrainingData:
    """The batches of every epoch.

    `pieces(epoch, first)` yields this process's pieces of the epoch's batches from number `first`
    on, `accumulate` of them per batch; `members(epoch, number)` says in JSON-ready words what a
    batch is made of; `close()` ends what loads them.
    """

    pieces: Callable[[int, int], Iterable[Batch]]
    batches_per_epoch: int
    accumulate: int = 1
    members: Callable[[int, int], list[dict[str, Any]]] = lambda epoch, number: []
    close: Callable[[], None] = lambda: None


def split(batch: Sequence[ItemT], accumulate: int, index: int, count: int) -> list[list[ItemT]]:
    """The pieces of a batch that process `index` of `count` computes, one after another.

    A piece is empty when the batch has fewer members than there are pieces.
    """
    stride = accumulate * count
    return [list(batch[number * count + index :: stride]) for number in range(accumulate)]


class PieceLoader:
    """This process's pieces of keyed batches, from one loader over all epochs.

    Its processes start once, and load for the next epoch while one is scored.
    """

    def __init__(
        self,
        dataset: Dataset[Batch],
        batches: Callable[[int], Sequence[Sequence[Any]]],
        per_epoch: int,
        epochs: int,
        accumulate: int,
        num_workers: int,
        pin_memory: bool,
        collate: Callable[[list[Batch]], Batch] | None = None,
    ) -> None:
        """Prepare; loading starts with the first batch.

        Args:
            dataset: what is loaded.
            batches: requests to it, by batch, of an epoch.
            per_epoch: batches of every epoch.
            epochs: where loading ends.
            accumulate: pieces of a batch, one after another, in every process.
            num_workers: processes that load, 0 for this one.
            pin_memory: see `load`.
            collate: see `load`.
        """
        self._dataset, self._batches = dataset, batches
        self._per_epoch, self._epochs, self._accumulate = per_epoch, epochs, accumulate
        self._how = num_workers, pin_memory, collate
        self._stream: Generator[Batch] | None = None
        self._place: tuple[int, int] | None = None
        """Epoch and batch that the stream continues with; None within a batch."""

    def pieces(self, epoch: int, first: int) -> Iterator[Batch]:
        """The pieces of an epoch from batch `first` on.

        In the place of an empty piece comes the batch's first member with loss weights of zero:
        every process takes part in every step.
        """
        if self._stream is None or self._place != (epoch, first):
            self.close()
            epochs = map(self._batches, range(epoch, self._epochs))
            batches = islice(chain.from_iterable(epochs), first, None)
            self._stream = _load_pieces(self._dataset, batches, self._accumulate, *self._how)
        for number in range(first, self._per_epoch):
            last = number + 1 == self._per_epoch
            after = (epoch + 1, 0) if last else (epoch, number + 1)
            for remaining in reversed(range(self._accumulate)):
                self._place = None if remaining else after
                yield next(self._stream)

    def close(self) -> None:
        """End the processes that load."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None


def keyed_data(
    options: TrainingOptions,
    dataset: Dataset[Batch],
    batches: Callable[[int], Sequence[Sequence[Any]]],
    per_epoch: int,
    member: Callable[[Any], dict[str, Any]],
    collate: Callable[[list[Batch]], Batch] | None = None,
) -> TrainingData:
    """Training data that are loaded as the options of a stage say.

    Args:
        options: of the stage.
        dataset: what is loaded.
        batches: requests to it, by batch, of an epoch.
        per_epoch: batches of every epoch.
        member: says of a request, JSON-ready, what it is of.
        collate: see `load`.
    """
    accumulate = options.optimization.accumulate
    loader = PieceLoader(
        dataset,
        batches,
        per_epoch,
        options.optimization.epochs,
        accumulate,
        loading_processes(options.num_workers, options.device),
        is_cuda(options.device),
        collate,
    )

    def members(epoch: int, number: int) -> list[dict[str, Any]]:
        return [member(request) for request in batches(epoch)[number]]

    return TrainingData(loader.pieces, per_epoch, accumulate, members, loader.close)


def _load_pieces(
    dataset: Dataset[Batch],
    batches: Iterable[Sequence[Any]],
    accumulate: int,
    num_workers: int,
    pin_memory: bool,
    collate: Callable[[list[Batch]], Batch] | None,
) -> Generator[Batch]:
    idle: deque[bool] = deque()

    def requests() -> Iterator[list[Any]]:
        for batch in batches:
            for piece in split(batch, accumulate, process_index(), process_count()):
                idle.append(not piece)
                yield piece or list(batch[:1])

    with closing(load(dataset, requests(), num_workers, pin_memory, collate)) as batches_loaded:
        for loaded in batches_loaded:
            if idle.popleft():
                for name in loaded:
                    if name.endswith(WEIGHTS):
                        loaded[name].zero_()
            yield loaded


def placed(
    batches: Iterable[list[Batch]], compute: Compute, copying: "torch.cuda.Stream | None"
) -> Iterator[list[Batch]]:
    """Batches on the device; a CUDA device copies the next one while it computes.

    Args:
        batches: pieces of each.
        compute: the device.
        copying: stream of a CUDA device for the copies, None on a CPU. Memory that was used on a
            stream is kept for it, so give the same one in every epoch.
    """
    if copying is None:
        for pieces in batches:
            yield [_place(piece, compute) for piece in pieces]
        return
    waiting: tuple[list[Batch], torch.cuda.Event] | None = None
    for pieces in batches:
        with torch.cuda.stream(copying):
            coming = [_place(piece, compute) for piece in pieces]
            copied = copying.record_event()
        if waiting is not None:
            yield _arrived(*waiting, compute.device)
        waiting = coming, copied
    if waiting is not None:
        yield _arrived(*waiting, compute.device)


def _place(piece: Batch, compute: Compute) -> Batch:
    return {name: compute.place(tensor) for name, tensor in piece.items()}


def _arrived(pieces: list[Batch], copied: torch.cuda.Event, device: torch.device) -> list[Batch]:
    """The pieces, which the device's stream may use from now on and may free when it is done."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(copied)
    for piece in pieces:
        for tensor in piece.values():
            tensor.record_stream(stream)
    return pieces
