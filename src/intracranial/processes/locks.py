"""One command at a time works on an artifact; a second one ends at once and says who does.

The lock is one of the operating system (POSIX record lock) on a hidden file beside the artifact, so
that it ends with its process however that ends, and also holds between machines where the network
file system passes locks on. The file tells who has it; one that a killed run left behind locks
nothing. Readers take no lock: they compare the identities of what they have read.
"""

import contextlib
import errno
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from intracranial.errors import Busy
from intracranial.runlog import log

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HELD = frozenset({errno.EACCES, errno.EAGAIN})
"""What the system says of a lock that another process has."""

NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What it says where nothing can be written: the work itself will tell, if it writes at all."""

TELLING_SECONDS = 1.0
"""How long to wait for the owner of a lock to say who it is."""


@contextlib.contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Context in which no other process works on an artifact.

    Args:
        path: of the lock file. Its folder is made if it is not there; the file is removed at the
            end.
        what: the artifact in words, for the message.

    Raises:
        Busy: another process works on it.
    """
    descriptor = _locked(path, what)
    if descriptor is None:
        yield
        return
    try:
        _tell(descriptor)
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is free: who opens it now sees that it is gone
        os.close(descriptor)


def _locked(path: Path, what: str) -> int | None:
    """The open lock file; None where nothing can be locked."""
    if fcntl is None:
        return None
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno in NOT_OURS:
                return None
            raise
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_file(descriptor, path):
                return descriptor
        except OSError as error:
            if error.errno in HELD:
                owner = _owner(descriptor)
                os.close(descriptor)
                raise Busy(
                    f"another command works on {what}: {owner}. Nothing was done; when it has "
                    "ended, the same command resumes or finds nothing to do"
                ) from None
            log.warning(
                "the file system of %s has no locks (%s): start no second command that works on %s",
                *(path.parent, error.strerror, what),
            )
            os.close(descriptor)
            path.unlink(missing_ok=True)
            return None
        os.close(descriptor)  # its owner has just ended and taken it away


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _tell(descriptor: int) -> None:
    said = {
        "host": platform.node(),
        "pid": os.getpid(),
        "command": shlex.join(sys.argv),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with contextlib.suppress(OSError):  # a full disk; the lock holds without words
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(said) + "\n").encode(), 0)


def _owner(descriptor: int) -> str:
    """Who has the lock, in words."""
    until = time.monotonic() + TELLING_SECONDS
    while time.monotonic() < until:
        try:
            said = json.loads(os.pread(descriptor, 100_000, 0))
            return (
                f"process {said['pid']} on {said['host']} since {said['since']}, {said['command']}"
            )
        except (OSError, ValueError, KeyError, TypeError):  # it is just writing
            time.sleep(TELLING_SECONDS / 20)
    return "a process that does not say who it is"
