"""Processes that train together tell each other why one of them stops.

The first one that stops leaves its reason in the common store. The others look for it all the time:
one that is scoring, or waits in NCCL for the one that has gone, would not notice for an hour.
"""

import contextlib
import os
import threading
import time
from types import TracebackType

from torch import distributed

from src.errors import EXIT_PREEMPTED, exit_code_of
from src.ranks import Rank
from src.runlog import log

STOPPED = "stopped"
"""Key of the common store under which the first process that stops says why."""

HEARD = "heard"
"""Key of the number of processes that know."""

POLL_SECONDS = 1.0
"""How often a process looks whether another one has stopped."""

PATIENCE_SECONDS = 5.0
"""How long a process that has lost another one waits for its words, and how long process 0, with
which the store may end, waits until all others have them."""

GRACE_SECONDS = 30.0
"""How long a process may take to notice by itself that another one has stopped."""


class LastWords:
    """Of the processes of a training; a context manager, which listens until the block ends."""

    def __init__(self, store: distributed.Store, rank: Rank) -> None:
        """Hear nothing yet.

        Args:
            store: common to all processes.
            rank: which process this is.
        """
        self._rank = rank
        self._store = store
        # one client answers one call after another; older versions of torch make no second one
        self._heard_from = store.clone() if hasattr(store, "clone") else store
        self._lock = threading.Lock()
        self._counted = False
        self._said: tuple[int, str] | None = None
        self._known = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "LastWords":
        """Listen."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Listen no more; process 0, which stops, waits until all others know."""
        if error is not None:
            with contextlib.suppress(RuntimeError):  # the store has gone with its process
                self._count_as_knowing(self._store)
                if self._rank.index == 0:
                    self._keep_store()
        self._ended.set()
        self._thread.join(PATIENCE_SECONDS)

    def say(self, error: Exception) -> None:
        """Leave an error for the other processes, unless another one was first."""
        code = exit_code_of(error)
        words = f"process {self._rank.index} of {self._rank.count}: {type(error).__name__}: {error}"
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
            try:
                if self._heard_from.check([STOPPED]):
                    self._take(self._heard_from)
            except RuntimeError:
                self._known.set()  # what can be known: the store has gone
        if not self._ended.wait(GRACE_SECONDS):
            self._end()

    def _end(self) -> None:
        silent = EXIT_PREEMPTED, "process 0, which left no message (killed, or out of memory?)"
        code, words = self._said or silent
        log.error(
            "process %d of %d ends in the middle of its work, because of %s",
            self._rank.index,
            self._rank.count,
            words,
        )
        for handler in log.handlers:
            handler.flush()
        os._exit(code)

    def _keep_store(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while self._store.add(HEARD, 0) < self._rank.count and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 10)
