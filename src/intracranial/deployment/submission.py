"""One answer for every series, whatever the series: what the challenge's gateway needs.

The networks run in a process of their own. A series that crashes it, hangs in it or takes it more
than the budget costs that process, which is started anew, and is answered with the prior. The time
that the networks take to load is no part of the budget; `START_SECONDS` bounds it.
"""

import contextlib
import json
import math
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from intracranial.artifacts import read_json, write_json
from intracranial.errors import InputError
from intracranial.runlog import log

if TYPE_CHECKING:
    import pandas as pd

SUBMISSION_FILE = "submission.json"
PACKED_BY = "tools/kaggle_submission.py"

START_SECONDS = 600.0
"""Time to load the networks; importing torch from a cold disk alone has taken minutes."""

STARTS = 3
"""Starts that fail in a row before every further series is answered with the prior at once."""

BLOCK = 65536
"""Bytes read from the process at once."""


@dataclass(frozen=True)
class SubmissionConfig:
    """What was decided when the folder was packed.

    Attributes:
        run: folder of the run, below the submission's.
        folds: folds that are averaged.
        views: test-time augmentation, see `inference.views`.
        seconds: budget of one series, reading and networks together.
        shared: folder where the gateway puts series; it is emptied after the answer to one in it.
        labels: columns of the answer, in order.
        prior: the answer for a series that cannot be read, by label.
        prior_from: what the prior is, in words.
    """

    run: str
    folds: tuple[str, ...]
    views: tuple[str, ...]
    seconds: float
    shared: str
    labels: tuple[str, ...]
    prior: dict[str, float]
    prior_from: str

    def save(self, folder: Path) -> None:
        """Write it into the submission's folder."""
        write_json(folder / SUBMISSION_FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "SubmissionConfig":
        """Read it from the submission's folder.

        Raises:
            InputError: it is missing or damaged, the prior is not one of its labels, or emptying
                the shared folder would delete something else.
        """
        content = read_json(folder / SUBMISSION_FILE, PACKED_BY)
        try:
            content |= {name: tuple(content[name]) for name in ("folds", "views", "labels")}
            found = cls(**content)
            reason = not_to_be_emptied(found.shared, folder, folder / found.run)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{folder / SUBMISSION_FILE} is not of this version ({error}): run {PACKED_BY}"
            ) from None
        if set(found.prior) != set(found.labels):
            raise InputError(
                f"{folder / SUBMISSION_FILE}: the prior has other labels than the answer; run "
                f"{PACKED_BY} again"
            )
        if reason is not None:
            raise InputError(
                f"{folder / SUBMISSION_FILE}: `shared`: {reason}; run {PACKED_BY} again"
            )
        return found


def not_to_be_emptied(shared: str, packed: Path, run: Path) -> str | None:
    """Why a folder cannot be the one that is emptied after each answer; None if it can.

    Args:
        shared: the folder.
        packed: of the submission.
        run: of the model.
    """
    if not Path(shared).is_absolute():
        return f"{shared!r} is not an absolute path"
    folder = Path(shared).resolve()
    kept = {
        "the root": Path("/"),
        "the home folder": Path(os.path.expanduser("~")),  # Path.home() fails where there is none
        "the current folder": Path.cwd(),
        "the packed folder": packed,
        "the model": run,
    }
    for name, path in kept.items():
        if path.resolve().is_relative_to(folder):
            return f"{shared} is or holds {name}, {path}, and would be emptied after each answer"
    if folder.is_relative_to(packed.resolve()):
        return f"{shared} lies in the packed folder, {packed}, and would be emptied"
    return None


class Submission:
    """Predicts series one by one; see the module."""

    def __init__(self, folder: Path) -> None:
        """Open a packed folder; the networks are loaded when they are first needed.

        Raises:
            InputError: it is not one.
        """
        self.folder = folder
        self.config = SubmissionConfig.load(folder)
        self._networks: _Networks | None = None
        self._failed_starts = 0

    def predict(self, series_path: str | Path) -> "pd.DataFrame":
        """One row with the labels in order and no id; never an error.

        Args:
            series_path: folder of one series.
        """
        import pandas as pd

        found: Mapping[str, float] = self.config.prior
        try:
            found = self._ask(str(series_path))
        except Exception as error:  # whatever happens, the gateway must get its row
            log.warning("%s: answered with the prior (%s)", series_path, error)
        self._delete_shared(series_path)
        labels = list(self.config.labels)
        return pd.DataFrame([[found[label] for label in labels]], columns=labels)

    def _delete_shared(self, series_path: str | Path) -> None:
        """Empty the shared folder if the series was in it; what cannot be deleted stays."""
        shared, series = Path(self.config.shared), Path(str(series_path))
        given = os.path.abspath(series), os.path.abspath(shared)  # a series may be a link out of it
        # whatever the path is, the gateway must get its row
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            places = (tuple(map(Path, given)), (series.resolve(), shared.resolve()))
            if not any(folder in place.parents for place, folder in places):
                return
            for path in shared.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()

    def close(self) -> None:
        """End the process with the networks."""
        if self._networks is not None:
            self._networks.kill()
            self._networks = None

    def _ask(self, series_path: str) -> Mapping[str, float]:
        if not Path(series_path).parts:
            raise InputError(f"{series_path!r} names no folder of a series")
        networks = self._started()
        try:
            answer = networks.ask({"series": series_path}, self.config.seconds)
        except OSError:
            self.close()
            if self._failed_starts < STARTS:
                self._networks = _Networks(self.folder)  # loads while the gateway continues
            raise
        if "probabilities" not in answer:
            raise InputError(answer.get("reason", "no reason given"))
        found: dict[str, float] = answer["probabilities"]
        if not all(math.isfinite(found[label]) for label in self.config.labels):
            raise InputError("a probability is not finite")
        return found

    def _started(self) -> "_Networks":
        if self._failed_starts >= STARTS:
            raise InputError(f"the networks could not be loaded in {STARTS} attempts")
        if self._networks is None:
            self._networks = _Networks(self.folder)
        try:
            self._networks.wait_until_ready()
        except OSError:
            self._failed_starts += 1
            self.close()
            raise
        self._failed_starts = 0
        return self._networks


class _Networks:
    """The process that holds the networks; one line of JSON per question and answer."""

    def __init__(self, folder: Path) -> None:
        """Start it; it says that it is ready when the networks are loaded."""
        module = f"{__name__}_worker"
        code = Path(__file__).resolve().parents[__name__.count(".")]
        path = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            # -m would look into the working directory first
            env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        )
        self.ready = False

    def wait_until_ready(self) -> None:
        """Return when it can be asked.

        Raises:
            OSError: it died, or took too long.
        """
        if not self.ready:
            self._read_line(START_SECONDS)
            self.ready = True

    def ask(self, question: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Its answer.

        Raises:
            OSError: it died, or took too long; then it must be killed, for its answer may follow.
        """
        line = json.dumps(question).encode() + b"\n"
        self._pipe(self.process.stdin).write(line)
        answer: dict[str, Any] = json.loads(self._read_line(seconds))
        return answer

    def kill(self) -> None:
        """End it and wait for its end."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            self._pipe(pipe).close()

    def _read_line(self, seconds: float) -> bytes:
        pipe, line = self._pipe(self.process.stdout), b""
        until = time.monotonic() + seconds
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise TimeoutError(f"no answer within {seconds:g} s")
            block = os.read(pipe.fileno(), BLOCK)
            if not block:
                raise OSError("the process with the networks died")
            line += block
        return line

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None  # both were asked for
        return pipe
