"""Processes that a command starts: what they need of the machine, and the end of stopped ones.

A process that dies is noticed by whoever waits for it. One that is stopped (SIGSTOP) looks alive
for ever: no timer of its own ends it, and whoever waits for its answer waits with it. Here it is
ended from outside, so that it counts as dead where it is waited for.
"""

import atexit
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing import util
from pathlib import Path

from intracranial.errors import InputError

STOPPED_SECONDS = 3.0
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


def _status(pid: int) -> list[bytes]:
    """State, parent and more of a process; nothing where there is none."""
    try:
        return (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def is_stopped(pid: int) -> bool:
    """Whether a process is there and stopped; not one that a debugger holds."""
    return _status(pid)[:1] == [b"T"]


def is_alive(pid: int) -> bool:
    """Whether a process is there, and is no mere entry that its parent has not taken note of."""
    return _status(pid)[:1] not in ([], [b"Z"], [b"X"])


def parent_of(pid: int) -> int:
    """The process that has started this one; 0 where the system cannot tell."""
    return int((_status(pid)[1:2] or [b"0"])[0])


def all_processes() -> set[int]:
    """Every process that this one can see, where the system can tell."""
    try:
        return {int(name) for name in os.listdir(PROC) if name.isdigit()}
    except OSError:
        return set()


def environment_of(pid: int) -> dict[str, str]:
    """Variables that a process was started with; none where they cannot be read."""
    try:
        content = (PROC / str(pid) / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in content.split("\0") if "=" in entry)


def command_of(pid: int) -> bytes:
    """Program and arguments of a process; empty where they cannot be read."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


class Guard:
    """Ends processes that stay stopped.

    Where all of them were stopped together (Ctrl-Z, a machine that slept) this one did not run
    either: not time counts, but how often in a row it has seen a process stopped.
    """

    def __init__(self) -> None:
        """Guard nothing yet."""
        self._lock = threading.Lock()
        self._seen: dict[int, int] = {}
        """Process -> how often in a row it was seen stopped."""
        self._ended: set[int] = set()
        self._finders: list[Callable[[], Iterable[int]]] = []
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Look at a process from now on."""
        with self._lock:
            self._ended.discard(pid)
            self._seen.setdefault(pid, 0)
            self._start()

    def forget(self, pid: int) -> None:
        """Look at it no more: its number may soon be another one's."""
        with self._lock:
            self._seen.pop(pid, None)

    def follow(self, find: Callable[[], Iterable[int]]) -> None:
        """Look at the processes, too, that `find` names at every look."""
        with self._lock:
            self._finders.append(find)
            self._start()

    def follow_no_more(self, find: Callable[[], Iterable[int]]) -> None:
        """Look no more at what `find` names."""
        with self._lock:
            self._finders.remove(find)

    def has_ended(self, pid: int) -> bool:
        """Whether this process was ended because it stayed stopped."""
        return pid in self._ended

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, daemon=True, name="guard")
            self._thread.start()

    def _look(self) -> None:
        found: dict[int, int] = {}
        while True:
            time.sleep(POLL_SECONDS)
            with self._lock:
                if not self._seen and not self._finders:
                    self._thread = None
                    return
                named = {pid for find in self._finders for pid in find()}
                found = {pid: found.get(pid, 0) for pid in named}
                for seen in (self._seen, found):
                    for pid, times in list(seen.items()):
                        seen[pid] = times + 1 if is_stopped(pid) else 0
                        if seen[pid] * POLL_SECONDS >= STOPPED_SECONDS:
                            del seen[pid]
                            self._end(pid)

    def _end(self, pid: int) -> None:
        self._ended.add(pid)
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:  # it has gone by itself
            self._ended.discard(pid)


guard = Guard()
"""The one of this process."""


@atexit.register
def _end_stopped() -> None:
    """Leave no guarded process behind that was stopped too late to be seen so for long."""
    for pid in [pid for pid in list(guard._seen) if is_stopped(pid)]:
        guard._end(pid)
