"""Processes that train together tell each other why one of them stops.

The first one that stops leaves its reason in the common store. The others look for it all the time:
one that is scoring, or waits in NCCL for the one that has gone, would not notice for an hour.
"""

import contextlib
import multiprocessing
import os
import threading
import time
from types import TracebackType

from torch import distributed

from intracranial.errors import EXIT_PREEMPTED, exit_code_of
from intracranial.processes.team import Neighbours, Rank
from intracranial.runlog import log

STOPPED = "stopped"
"""Key of the common store under which the first process that stops says why."""

HEARD = "heard"
"""Key of the number of processes that know."""

POLL_SECONDS = 1.0
"""How often a process looks whether another one has stopped."""

PATIENCE_SECONDS = 5.0
"""How long a process that has lost another one waits for its words, and how long process 0, with
which the store may end, waits until all others have them."""

GRACE_SECONDS = 8.0
"""How long a process may take to notice by itself that another one has stopped; what it saves
meanwhile is whole or not there."""


class StopNotice:
    """Tells all processes of a training why the first one stopped.

    Use it as a context manager around the training: it listens until the block ends.
    """

    def __init__(self, rank: Rank) -> None:
        """Prepare to listen; `rank` is this process."""
        self._rank = rank
        self._neighbours = Neighbours(rank)
        self._store: distributed.Store | None = None
        self._heard_from: distributed.Store | None = None
        self._lock = threading.Lock()
        self._counted = False
        self._said: tuple[int, str] | None = None
        self._silent = 0
        """Process that has gone without a word; the store goes with the first one."""
        self._known = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def speak_through(self, store: distributed.Store) -> None:
        """From now on words come through a store that is common to all processes."""
        self._store = store
        # one client answers one call after another; older versions of torch make no second one
        self._heard_from = store.clone() if hasattr(store, "clone") else store

    def __enter__(self) -> "StopNotice":
        """Listen: until there is a store, for neighbours that have gone."""
        self._neighbours.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Listen no more; process 0, which stops, waits until all others know.

        Processes that have done their work end one after the other, see `Neighbours.see_off`.
        """
        if error is not None and self._store is not None:
            with contextlib.suppress(RuntimeError):  # the store has gone with its process
                self._count_as_knowing(self._store)
                if self._rank.index == 0:
                    self._keep_store(self._store)
        self._ended.set()
        self._thread.join(PATIENCE_SECONDS)
        if error is None:
            self._neighbours.see_off()
        self._neighbours.__exit__()

    def say(self, error: Exception) -> None:
        """Leave an error for the other processes, unless another one was first."""
        code = exit_code_of(error)
        words = f"process {self._rank.index} of {self._rank.count}: {type(error).__name__}: {error}"
        if self._store is None:
            return
        with contextlib.suppress(RuntimeError):
            self._store.compare_set(STOPPED, "", f"{code} {words}")
            self._take(self._store)

    def wait(self) -> tuple[int, str] | None:
        """Exit code and words of the process that has stopped first, or None if it said nothing."""
        self._known.wait(PATIENCE_SECONDS)
        return self._said

    def _take(self, store: distributed.Store) -> None:
        code, words = store.get(STOPPED).decode().split(" ", 1)
        self._said = int(code), words
        self._known.set()
        self._count_as_knowing(store)

    def _count_as_knowing(self, store: distributed.Store) -> None:
        with self._lock:
            if not self._counted:
                self._counted = True
                store.add(HEARD, 1)

    def _listen(self) -> None:
        while not self._known.is_set():
            if self._ended.wait(POLL_SECONDS):
                return
            # what it has left is read after that
            lost = self._neighbours.lost(gathering=self._store is None)
            try:
                if self._heard_from is not None and self._heard_from.check([STOPPED]):
                    self._take(self._heard_from)
            except RuntimeError:
                self._known.set()  # what can be known: the store has gone
            if lost and not self._known.is_set():
                self._silent = min(lost)
                self._known.set()
        joining = self._store is None  # nothing there tells of a process that has gone
        if not self._ended.wait(0 if joining else GRACE_SECONDS):
            self._end()

    def _end(self) -> None:
        gone = f"process {self._silent}, which left no message (killed, or out of memory?)"
        code, words = self._said or (EXIT_PREEMPTED, gone)
        log.error(
            "process %d of %d ends in the middle of its work, because of %s",
            self._rank.index,
            self._rank.count,
            words,
        )
        for handler in log.handlers:
            handler.flush()
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(code)

    def _keep_store(self, store: distributed.Store) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while store.add(HEARD, 0) < self._rank.count and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 10)
