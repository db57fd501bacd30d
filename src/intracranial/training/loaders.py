"""Processes that load batches, and what becomes of the one that waits for them.

torch starts them and hands their batches over: tensors lie in shared memory (/dev/shm), and their
file descriptors come through sockets in the temporary folder (TMPDIR). Errors travel as data, since
torch would raise them again with a traceback in the place of their message.
"""

import atexit
import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info
from torch.utils.data._utils.signal_handling import _remove_worker_pids
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from intracranial.errors import InputError, PipelineError
from intracranial.processes.children import STOPPED_SECONDS, guard, is_stopped, require_sockets
from intracranial.threads import cores_for_processes

Batch = dict[str, torch.Tensor]

LOADING = ("DataLoader worker (pid", "Pin memory thread", "Communication with the workers")
"""Words of torch about a process or thread of a loader that has died, or cannot be heard."""

SHARING = ("shared memory", "</torch_")
"""Words of torch about shared memory that it cannot have."""

SHARED_MEMORY = Path("/dev/shm")
"""Where tensors lie that one process hands to another."""

PATIENCE_SECONDS = 2.0
"""How long loading processes may take to end by themselves."""

ADVICE = (
    "If the machine's memory or /dev/shm is full, or no more files may be open (ulimit -n), give "
    "fewer --num_workers (0 loads without other processes); the same command resumes"
)


class LoadingError(Exception):
    """An internal error in a loading process, with its traceback there."""


def load(
    dataset: Dataset[Batch],
    batches: Iterable[list[Any]],
    num_workers: int,
    pin_memory: bool,
    collate: Callable[[list[Batch]], Batch] | None = None,
) -> Generator[Batch]:
    """Load batches of requests to the data set; consume them within `deaths_explained`.

    The processes end when the generator does: close it.

    Args:
        dataset: what is loaded.
        batches: requests of each batch; read ahead of what is loaded.
        num_workers: processes that load, 0 for this one.
        pin_memory: place batches in memory that a CUDA device copies from by itself.
        collate: makes a batch of what was requested; torch's own way by default.

    Raises:
        PipelineError: what the data set has raised, without a loading process's traceback.
        InputError: the processes cannot be started, or cannot hand over what they have loaded.
        LoadingError: any other error in a loading process.
    """
    if num_workers:
        require_sockets()
        # before they are forked: what is left of OpenCV's threads in a forked process hangs there
        cores_for_processes()
    heard, words = multiprocessing.Pipe(duplex=False)
    loader = DataLoader(
        _Made(dataset, collate or default_collate),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=functools.partial(_settle, words),
    )
    with contextlib.closing(heard), _Loaders(loader, heard, words) as loaded:
        for batch in loaded:
            if isinstance(batch, _Failure):
                raise batch.error
            yield batch


@dataclass(frozen=True)
class _Failure:
    """What a loading process hands over in the place of a batch that it could not make."""

    error: Exception


class _Made(Dataset[Any]):
    """Whole batches of a data set."""

    def __init__(self, dataset: Dataset[Batch], collate: Callable[[list[Batch]], Batch]) -> None:
        self._dataset, self._collate = dataset, collate

    def __getitems__(self, requests: Sequence[Any]) -> Batch | _Failure:
        if get_worker_info() is None:
            return self._make(requests)
        try:
            batch = self._make(requests)
            for tensor in batch.values():
                tensor.share_memory_()  # later a full /dev/shm would be nobody's error
        except Exception as error:
            return _Failure(_to_send(error))
        return batch

    def _make(self, requests: Sequence[Any]) -> Batch:
        return self._collate([self._dataset[request] for request in requests])


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401
    return batch


def _to_send(error: Exception) -> Exception:
    """An error as the main process raises it."""
    if isinstance(error, PipelineError):
        return type(error)(str(error))
    if isinstance(error, RuntimeError) and any(words in str(error) for words in SHARING):
        return InputError(f"a process that loads data has no room for a batch ({error}). {ADVICE}")
    if isinstance(error, OSError | MemoryError):
        return InputError(f"a process that loads data: {type(error).__name__}: {error}. {ADVICE}")
    return LoadingError("".join(traceback.format_exception(error)))


def _settle(words: Connection, worker: int) -> None:
    """Prepare a loading process.

    A cluster sends SIGTERM, and a terminal SIGINT, to the whole group: the main process answers
    them, and torch would take dead loading processes for a crash.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # by default the batch is dropped, and waited for in vain
    Queue._on_queue_feeder_error = staticmethod(functools.partial(_leave, words))  # type: ignore[attr-defined]


def _leave(words: Connection, error: Exception, batch: object) -> None:
    """End a loading process that cannot hand over a batch."""
    with contextlib.suppress(OSError):
        words.send_bytes(f"{type(error).__name__}: {error}".encode())
    os._exit(1)


class _Loaders:
    """The processes of one loader; a context manager, at whose end they are gone."""

    def __init__(self, loader: DataLoader[Any], heard: Connection, words: Connection) -> None:
        """Prepare; processes start with the first batch, and report through `words` to `heard`."""
        self._loader, self._heard, self._words = loader, heard, words
        self._iterator: Any = None
        self._processes: list[BaseProcess] = []

    def __enter__(self) -> Iterator[Batch | _Failure]:
        before = multiprocessing.active_children()
        # one that cannot be made is none to shut down
        _MultiProcessingDataLoaderIter._shutdown = True
        with contextlib.closing(self._words):
            try:
                self._iterator = iter(self._loader)
            except OSError as error:
                raise InputError(
                    f"processes that load data cannot be started ({error}). {ADVICE}"
                ) from None
            finally:
                self._processes = [
                    child for child in multiprocessing.active_children() if child not in before
                ]
                if self._iterator is None:
                    _kill(self._processes)
        for process in self._processes:
            guard.watch(_pid(process))
        _running.append(self)
        return self._batches()

    def __exit__(self, *error: object) -> None:
        self.end(PATIENCE_SECONDS)

    def _batches(self) -> Iterator[Batch | _Failure]:
        while True:
            try:
                with deaths_explained():
                    batch = next(self._iterator)
            except StopIteration:
                return
            except (OSError, EOFError) as error:  # of the sockets: those of the data set are data
                if not self._processes:
                    raise
                raise _death(f"{type(error).__name__}: {error}") from None
            yield batch

    def why(self) -> str | None:
        """What is known about the end of one of them."""
        if any(guard.has_ended(_pid(process)) for process in self._processes):
            return f"it was stopped (SIGSTOP) for {STOPPED_SECONDS:g} s and has been ended"
        with contextlib.suppress(OSError, EOFError):
            if self._heard.poll():
                return self._heard.recv_bytes().decode()
        return None

    def end(self, patience: float) -> None:
        """End the processes, those by force that have not gone within `patience` seconds."""
        if self not in _running:
            return
        _running.remove(self)
        for process in self._processes:
            guard.forget(_pid(process))
        if not self._processes:
            return
        # from here on torch would take what dies for a crash
        if self._iterator._worker_pids_set:
            _remove_worker_pids(id(self._iterator))
            self._iterator._worker_pids_set = False
        stopped = [one for one in self._processes if not patience or is_stopped(_pid(one))]
        _kill(stopped)
        timer = threading.Timer(patience, _strike, [self._processes])
        timer.daemon = True
        try:
            if patience:
                timer.start()
            self._iterator._shutdown_workers()
        finally:
            timer.cancel()
            _kill(self._processes)
            self._iterator = None


_running: list[_Loaders] = []
"""Those of this process."""


@atexit.register  # so runs before multiprocessing waits for processes that ignore its SIGTERM
def _end_all() -> None:
    for loaders in list(_running):
        loaders.end(patience=0)


def _strike(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.kill()


def _kill(processes: Sequence[BaseProcess]) -> None:
    """End processes now, and take away what they have left in shared memory."""
    _strike(processes)
    for process in processes:
        process.join()
        for path in SHARED_MEMORY.glob(f"torch_{process.pid}_*"):
            path.unlink(missing_ok=True)


def _pid(process: BaseProcess) -> int:
    assert process.pid is not None  # it was started
    return process.pid


@contextmanager
def deaths_explained() -> Iterator[None]:
    """Context in which loaded batches are consumed.

    torch tells of a killed process wherever the main thread is: in its handler of SIGCHLD.

    Raises:
        InputError: a loading process or the thread that pins memory has died.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in LOADING):
            raise
        raise _death(str(error)) from None


def _death(words: str) -> InputError:
    known = next((why for loaders in _running if (why := loaders.why())), None)
    return InputError(f"a process that loads data has died ({known or words}). {ADVICE}")
