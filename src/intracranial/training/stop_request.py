"""The request to end, SIGTERM, as the training loop hears it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class StopRequest:
    """Whether this process is asked to end.

    It outlives the training in which it came: one that came with the last scores of a fold is for
    the next fold to answer.
    """

    def __init__(self) -> None:
        """Start without a request."""
        self.pending = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Context in which SIGTERM is noted, and does not end the process."""
        previous = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _note(self, *_: object) -> None:
        self.pending = True


stop_request = StopRequest()
"""The one of this process."""
