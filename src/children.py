"""Processes that a command starts: what they need of the machine, and the end of stopped ones.

A process that dies is noticed by whoever waits for it. One that is stopped (SIGSTOP) looks alive
for ever: no timer of its own ends it, and whoever waits for its answer waits with it. Here it is
ended from outside, so that it counts as dead where it is waited for.
"""

import os
import signal
import socket
import threading
import time
from multiprocessing import util
from pathlib import Path

from src.errors import InputError

STOPPED_SECONDS = 5.0
"""How long a process may be stopped while the one that waits for it runs."""

POLL_SECONDS = 1.0
"""How often processes are looked at."""

PROC = Path("/proc")
"""Where the system tells about processes; elsewhere none counts as stopped."""


def require_sockets() -> None:
    """Check that processes can speak through sockets in the temporary folder.

    The folder is made here, so that processes that are forked later share it, and so that it goes
    when this process ends, however they have ended.

    Raises:
        InputError: they cannot; the message names the folder and TMPDIR.
    """
    if not hasattr(socket, "AF_UNIX"):
        return
    advice = "set TMPDIR to a folder with a short path that can be written, such as TMPDIR=/tmp"
    try:
        folder = Path(util.get_temp_dir())
    except OSError as error:
        raise InputError(f"there is no temporary folder ({error.strerror}): {advice}") from None
    path = folder / f"listener-{os.getpid():08}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)  # a cleaner of old files may have taken it
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        path.unlink()
    except OSError as error:
        raise InputError(
            f"processes cannot speak with each other through sockets in {folder} ({error}; its "
            f"path has {len(os.fsencode(folder))} bytes, about 85 are possible): {advice}"
        ) from None


def is_stopped(pid: int) -> bool:
    """Whether a process is there and stopped; not one that a debugger holds."""
    try:
        after_name = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2]
    except OSError:
        return False
    return after_name.split()[:1] == [b"T"]


class Guard:
    """Ends processes that stay stopped.

    Where all of them were stopped together (Ctrl-Z, a machine that slept) this one did not run
    either: only time in which it has run counts.
    """

    def __init__(self) -> None:
        """Guard nothing yet."""
        self._lock = threading.Lock()
        self._seen: dict[int, int] = {}
        """Process -> how often in a row it was seen stopped."""
        self._ended: set[int] = set()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Look at a process from now on."""
        with self._lock:
            self._ended.discard(pid)
            self._seen[pid] = 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, daemon=True, name="guard")
                self._thread.start()

    def forget(self, pid: int) -> None:
        """Look at it no more: its number may soon be another one's."""
        with self._lock:
            self._seen.pop(pid, None)

    def has_ended(self, pid: int) -> bool:
        """Whether this process was ended because it stayed stopped."""
        return pid in self._ended

    def _look(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(POLL_SECONDS)
            now = time.monotonic()
            late, last = now - last > 2 * POLL_SECONDS, now
            with self._lock:
                if not self._seen:
                    self._thread = None
                    return
                for pid, times in list(self._seen.items()):
                    times = 0 if late or not is_stopped(pid) else times + 1
                    self._seen[pid] = times
                    if times * POLL_SECONDS >= STOPPED_SECONDS:
                        self._end(pid)

    def _end(self, pid: int) -> None:
        del self._seen[pid]
        self._ended.add(pid)
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:  # it has gone by itself
            self._ended.discard(pid)


guard = Guard()
"""The one of this process."""
