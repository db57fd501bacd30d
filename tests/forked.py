"""Scripts in processes of their own that need not import torch again: see tests/forked_server.py.

How a script starts (its imports, threads, folders) is tested by starting it; this is for tests of
what processes do afterwards.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""The number of threads decides the last bits of a sum."""

START_SECONDS = 300


class ForkedServer:
    """The process that scripts are forked from."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="forked-"))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked_server", str(self.folder)],
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.ended: dict[int, tuple[int, float]] = {}
        """Exit code and CPU seconds by process."""
        self._forked: list[int] = []
        self.news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout:
            said = json.loads(line)
            with self.news:
                if len(said) == 1:
                    self.ended.pop(said[0], None)  # of an earlier process with this number
                    self._forked += said
                else:
                    self.ended[said[0]] = (said[1], said[2])
                self.news.notify_all()

    def fork(self, script: dict[str, Any]) -> int:
        """Start a script; its process."""
        with self.news:
            self._process.stdin.write(json.dumps(script).encode() + b"\n")
            self._process.stdin.flush()
            assert self.news.wait_for(lambda: self._forked, START_SECONDS)
            return self._forked.pop()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def server() -> ForkedServer:
    """The one of this process, started when it is first needed; tests/conftest.py closes it."""
    return ForkedServer()


def close_server() -> None:
    if server.cache_info().currsize:
        server().close()
        server.cache_clear()


class Forked:
    """A running script, with what tests use of `subprocess.Popen`.

    It leads a session of its own, and what it prints on either stream is kept in one file.
    """

    def __init__(self, script: dict[str, Any], environment: Mapping[str, str], cwd: Path) -> None:
        self._said = tempfile.TemporaryFile()
        whole = {
            "environment": {**os.environ, **ONE_THREAD, **environment},
            "cwd": str(cwd),
            "output": f"/proc/{os.getpid()}/fd/{self._said.fileno()}",
        }
        self.pid = server().fork({**whole, **script})

    def poll(self) -> int | None:
        return self.returncode

    @property
    def returncode(self) -> int | None:
        return server().ended.get(self.pid, (None, 0.0))[0]

    @property
    def cpu_seconds(self) -> float:
        """Of the script and its children that it has waited for."""
        return server().ended[self.pid][1]

    def wait(self, timeout: float = START_SECONDS) -> int:
        with server().news:
            if not server().news.wait_for(lambda: self.returncode is not None, timeout):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        return self.returncode

    def text(self) -> str:
        """What it has printed so far."""
        return os.pread(self._said.fileno(), 1 << 30, 0).decode(errors="replace")

    def communicate(self, timeout: float = START_SECONDS) -> tuple[str, None]:
        self.wait(timeout)
        return self.text(), None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_script(command: Sequence[str], cwd: Path = ROOT, **environment: str) -> Forked:
    """Start `[sys.executable, script, flags...]`."""
    assert command[0] == sys.executable, command
    return Forked({"argv": list(command[1:])}, environment, cwd)


def start_function(function: Callable[[Path], None], folder: Path, **environment: str) -> Forked:
    """Call a function of a module of the tests with a folder, in a process of its own."""
    call = f"{function.__module__}:{function.__qualname__}"
    return Forked({"call": call, "folder": str(folder)}, environment, ROOT)


def wait_for(condition: Callable[[], bool], process: Any, seconds: float = 60) -> None:
    """Wait until something is so while a process runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the script ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.001)
