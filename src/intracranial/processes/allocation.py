"""Memory that a process keeps from one series to the next, instead of giving it back each time."""

import ctypes
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt (glibc's malloc.h)."""

KEPT_BYTES = 1 << 28
"""A series of 150 slices of 512 x 512 is read into 75 MiB; a larger one gives back the rest."""

LARGEST_BLOCK = 1 << 25
"""Larger blocks come from the system one by one, as by glibc's own largest threshold."""


@cache
def keep_freed_memory() -> None:
    """Let malloc keep what a series has used; nothing where the C library has no mallopt.

    Else glibc may give it back after every series, as it happens to lie, and the system has to
    clear each page again: that costs up to half of the time of reading.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return
    mallopt(TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(MMAP_THRESHOLD, LARGEST_BLOCK)
