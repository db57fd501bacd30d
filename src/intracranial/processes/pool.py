"""Processes that may die or never come back without taking the run along.

`concurrent.futures.ProcessPoolExecutor` fails every call in flight when one process dies, and does
not say which process it was or how it ended. Here a dead process costs the one call that it was
running, and its exit status tells the time limit from a crash.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, TypeVar

from intracranial.errors import InputError
from intracranial.processes.allocation import keep_freed_memory
from intracranial.processes.children import guard, require_sockets
from intracranial.surroundings import OwnModules
from intracranial.threads import cores_for_processes

PRELOADED = ("intracranial.caching.job", "intracranial.caching.read_ahead")
"""Modules that the fork server imports once, so that a worker starts in milliseconds."""

STARTS = 5
"""Attempts to start a process: the one that forks it may have died, and is then started anew."""

AGAIN_SECONDS = 0.1
"""Between the attempts, longer from one to the next."""

T = TypeVar("T")

_PROCESS_TABLE = threading.Lock()
"""multiprocessing polls all its children whenever it starts one; two threads that poll the same
child lose its exit status."""


class WorkerDied(Exception):
    """The process that ran a call ended before the call did."""

    def __init__(self, timed_out: bool) -> None:
        """`timed_out` tells the time limit from every other death."""
        super().__init__("ended by its time limit" if timed_out else "died")
        self.timed_out = timed_out


class WorkerPool:
    """Processes of one thread each that run one call at a time.

    Calls start in the order in which they were submitted. A process is started when it is first
    needed, and started anew after it has died.
    """

    def __init__(self, workers: int, seconds: float) -> None:
        """Prepare; processes start when calls are submitted.

        Args:
            workers: processes, 1 or more.
            seconds: wall-clock limit of one call. The operating system's timer ends the process
                (ITIMER_REAL, default action of SIGALRM), also inside native code that never
                returns. Where the platform has no such timer (Windows) no limit holds.

        Raises:
            InputError: the processes could not be spoken with; see `require_sockets`.
        """
        require_sockets()
        self._threads = ThreadPoolExecutor(workers)  # each waits for one process
        self._workers = [_Worker(seconds) for _ in range(workers)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def __enter__(self) -> "WorkerPool":
        """The pool itself; leaving the block waits for the calls that have started."""
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        """Drop calls that have not started and end the processes: after an error at once."""
        if kind is None:
            try:
                self._threads.shutdown(wait=True, cancel_futures=True)
            except BaseException:  # Ctrl-C
                self.kill()
                raise
        self.kill()

    def kill(self) -> None:
        """End the processes now, whatever they do: what they write is whole or not there."""
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.bury()

    def submit(self, function: Callable[..., T], *args: object) -> Future[T]:
        """Run `function(*args)` in a process; both must be picklable.

        A process imports the module of the function, but never the program's main module. The
        future raises what the function raised, or `WorkerDied`, or `InputError` where no process
        could be started.

        Raises:
            ValueError: the function is defined in the main module.
        """
        if function.__module__ == "__main__":
            name = getattr(function, "__qualname__", function)
            raise ValueError(f"{name} is defined in the main module: put it into one to import")
        return self._threads.submit(self._call, function, args)

    def _call(self, function: Callable[..., T], args: tuple[object, ...]) -> T:
        worker = self._idle.get()
        try:
            return worker.call(function, args)
        finally:
            self._idle.put(worker)


class _Worker:
    """One process and the pipe to it, used by one thread at a time; `kill` is for any other."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._killed = False

    def call(self, function: Callable[..., T], args: tuple[object, ...]) -> T:
        process, pipe = self._started()
        try:
            pipe.send((function, args))
            wait([pipe, process.sentinel])
            done, value = pipe.recv()
        except (EOFError, OSError):
            raise WorkerDied(timed_out=self.bury() == -_alarm()) from None
        if not done:
            raise value
        result: T = value
        return result

    def kill(self) -> None:
        """End the process, and start none any more."""
        with _PROCESS_TABLE:
            self._killed = True
            if self._process is not None:
                self._process.kill()

    def _started(self) -> tuple[BaseProcess, Connection]:
        if self._process is not None and self._pipe is not None:
            return self._process, self._pipe
        failure: Exception | None = None
        for attempt in range(STARTS):
            try:
                return self._start()
            except (EOFError, OSError) as error:
                failure = error
                time.sleep(AGAIN_SECONDS * attempt)  # one that was killed takes a while to go
        raise InputError(
            f"a process that reads series cannot be started ({failure}): is there room in the "
            "temporary folder (TMPDIR) and in /dev/shm, and are more processes and open files "
            "allowed? Fewer --num_workers need less, 0 starts none"
        )

    def _start(self) -> tuple[BaseProcess, Connection]:
        context = _context()
        pipe, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.seconds), daemon=True)
        # so that the pipe ends with the process
        with closing(theirs), _PROCESS_TABLE, _main_left_alone(), OwnModules(), _ctrl_c_later():
            if self._killed:
                raise WorkerDied(timed_out=False)
            _guard_forking(context)
            process.start()
            self._process, self._pipe = process, pipe
        guard.watch(_pid(process))
        return process, pipe

    def bury(self) -> int | None:
        """Forget a process that is dead or about to end; returns its exit status."""
        process, pipe = self._process, self._pipe
        if process is None or pipe is None:
            return None
        pipe.close()
        wait([process.sentinel])
        with _PROCESS_TABLE:
            self._process = self._pipe = None
            process.join()
        guard.forget(_pid(process))
        return process.exitcode


def _guard_forking(context: Any) -> None:  # noqa: ANN401
    """Guard the process that forks the others: a stopped one starts none and reports no death."""
    if context.get_start_method() == "forkserver":
        forkserver.ensure_running()
        tracker = resource_tracker._resource_tracker
        for owner, name in ((forkserver._forkserver, "_forkserver_pid"), (tracker, "_pid")):
            pid = getattr(owner, name, None)
            if pid is not None:
                guard.watch(pid)


def _pid(process: BaseProcess) -> int:
    assert process.pid is not None  # it was started
    return process.pid


@contextmanager
def _main_left_alone() -> Iterator[None]:
    """A process started inside does not import the program's main module.

    multiprocessing has every new process import it, for the sake of functions that are defined
    there; a script without `if __name__ == "__main__"` would then run again in each. As in an
    interactive session, where there is no file of it, the module states none meanwhile.
    """
    names: dict[str, Any] = vars(sys.modules["__main__"])
    hidden: dict[str, Any] = {}
    for name in ("__spec__", "__file__"):
        if name in names:
            hidden[name] = names.pop(name)
    names["__spec__"] = None
    try:
        yield
    finally:
        del names["__spec__"]
        names.update(hidden)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Processes started inside hear nothing of Ctrl-C until `_serve` knows how to answer it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows has none
        yield
        return
    resource_tracker.ensure_running()  # lifts the block where it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _alarm() -> int:
    return getattr(signal, "SIGALRM", 0)  # Windows has none


def _context() -> Any:  # noqa: ANN401
    # Never fork: OpenCV and the decoders may hold locks.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(list(PRELOADED))
    return context


def _serve(pipe: Connection, seconds: float) -> None:
    """Run calls until the pipe ends, in a worker process."""
    cores_for_processes()
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a traceback
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            with _time_limit(seconds):
                reply = (True, function(*args))
        except Exception as error:  # raised again where the call came from
            reply = (False, error)
        pipe.send(reply)


def _leave_with(sentinel: int) -> None:
    """No worker outlives a killed run."""
    wait([sentinel])
    os._exit(1)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """The block ends within `seconds`, or its process does."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
