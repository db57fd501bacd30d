"""What decoders in C print, caught and given to the log instead of to the terminal.

Their libraries write to the process's standard error, without a word about the file.
"""

import contextlib
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator

STANDARD_ERROR = 2

_ONE_AT_A_TIME = threading.Lock()
"""Standard error belongs to the process: two threads that exchange it would lose it."""

MOST_CHARACTERS = 500
"""Of one file's messages; some libraries repeat theirs for every block."""


@contextlib.contextmanager
def caught_output(messages: list[str]) -> Iterator[None]:
    """Context in which what is printed to standard error, and warned of, is added to `messages`.

    Args:
        messages: gets each distinct line once.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with tempfile.TemporaryFile() as file, _redirected(file.fileno()):
            try:
                yield
            finally:
                file.seek(0)
                printed = file.read(MOST_CHARACTERS).decode("utf-8", "replace")
    lines = [*printed.splitlines(), *(str(warning.message) for warning in warned)]
    for line in lines:
        line = " ".join(line.split())
        if line and line not in messages:
            messages.append(line)


@contextlib.contextmanager
def _redirected(descriptor: int) -> Iterator[None]:
    """Standard error goes to a descriptor meanwhile; a closed one stays closed."""
    try:
        kept = os.dup(STANDARD_ERROR)
    except OSError:
        yield
        return
    os.dup2(descriptor, STANDARD_ERROR)
    try:
        yield
    finally:
        os.dup2(kept, STANDARD_ERROR)
        os.close(kept)
