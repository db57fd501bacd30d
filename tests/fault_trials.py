"""Trials of faults on stages, and how they ended.

A trial starts one stage as one or as several processes, does something to it at some moment, waits
for its end, undoes what it did, and gives the same command again.
"""

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from intracranial.processes.children import is_alive, is_stopped
from tests.faults import (
    FAULTS,
    WAYS,
    Fault,
    Run,
    Way,
    begin,
    children,
    outputs,
    place_for,
)
from tests.forked import ROOT, start_script
from tests.tiny_runs import Place

LIMIT_SECONDS = 20.0
"""A command has ended so long after its fault."""

LAST_SECONDS = 2.0
"""A rank that is stopped so shortly before or after the end of all others is ended by nobody: to
stop it is to stop the command, which goes on when it is continued."""

UNDISTURBED_SECONDS = 120.0
"""A command without a fault has ended after so long."""


@dataclass(frozen=True)
class Trial:
    stage: str
    way: Way
    fault: Fault
    moment: float
    """Share of the time that an undisturbed run takes."""

    seed: int


@dataclass
class Ending:
    """How a trial ended: codes and seconds after the fault, what was wrong, what was printed."""

    trial: Trial
    at: float
    codes: list[int | None]
    seconds: float
    wrong: list[str]
    text: str

    def row(self) -> str:
        trial = self.trial
        codes = ",".join(map(str, self.codes))
        place = f"{trial.stage:17} {trial.way!s:14} {trial.fault.name:20}"
        return f"{place} {self.at:5.2f} s {codes:12} {self.seconds:5.1f} s {'; '.join(self.wrong)}"


class Sweep:
    """Trials on copies of a place in which all stages have run."""

    def __init__(self, base: Place, folder: Path) -> None:
        self.base, self.folder = base, folder
        # the server is there before any time is taken
        start_script([sys.executable, str(ROOT / "create_folds.py"), "--help"]).wait()
        self._references: dict[tuple[str, str], tuple[dict[str, bytes], float]] = {}

    def reference(self, stage: str, way: Way) -> tuple[dict[str, bytes], float]:
        """What an undisturbed run makes, and its seconds."""
        name = stage, str(way)
        if name not in self._references:
            place = place_for(stage, self.base, self.folder / "undisturbed")
            begun = time.monotonic()
            run = begin(place, stage, way)
            assert run.wait(UNDISTURBED_SECONDS), run.text()
            seconds = time.monotonic() - begun
            assert set(run.codes()) == {0}, (stage, way, run.codes(), run.text())
            self._references[name] = outputs(place), seconds
        return self._references[name]

    def try_it(self, trial: Trial) -> Ending:
        expected, seconds = self.reference(trial.stage, trial.way)
        rng = random.Random(trial.seed)
        place = place_for(trial.stage, self.base, self.folder / "trial")
        environment = trial.fault.environment(self.folder)
        begun = time.monotonic()
        run = begin(place, trial.stage, trial.way, **environment)
        if run.wait(trial.moment * seconds) and not environment:  # it was faster this time
            return self.try_it(replace(trial, moment=0.6 * trial.moment))
        struck = time.monotonic()
        undo = trial.fault.strike(run, place, trial.stage, rng)
        while undo is None and not run.ended():
            time.sleep(0.01)
            struck = time.monotonic()
            undo = trial.fault.strike(run, place, trial.stage, rng)
        left = max(0.0, begun + seconds - struck)
        if trial.fault.name == "stop a rank" and is_last(run, struck + left + LAST_SECONDS, struck):
            for pid in run.processes():
                os.kill(pid, signal.SIGCONT)
        in_time = run.wait(LIMIT_SECONDS + left)
        ending = Ending(
            trial, struck - begun, run.codes(), time.monotonic() - struck, [], run.text()
        )
        if not in_time:
            ending.wrong.append("hangs")
        allowed = {1} if trial.way.torchrun else trial.fault.codes  # torchrun's only other code
        if not {0, *allowed}.issuperset(run.codes()):
            ending.wrong.append("another code")
        # torchrun tells of a lost process with one of its own
        if "Traceback" in ending.text and not ("SIGINT" in trial.fault.name or trial.way.torchrun):
            ending.wrong.append("traceback")
        left = left_behind(run)
        if left and in_time:
            ending.wrong.append(f"left {left}")
        for pid in {*left, *(run.pids if not in_time else ())}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.wait(10)
        if undo is not None:
            undo()
        self._go_on(place, trial, expected, ending)
        return ending

    def _go_on(
        self, place: Place, trial: Trial, expected: dict[str, bytes], ending: Ending
    ) -> None:
        run = None
        if set(ending.codes) != {0} or "file" in trial.fault.name:
            run = begin(place, trial.stage, trial.way)
        if run is not None and run.wait(UNDISTURBED_SECONDS) and set(run.codes()) == {5}:
            # it was finished with other files, and says so
            if not {0, 4}.issuperset(ending.codes):
                ending.wrong.append("stale afterwards")
            run = begin(place, trial.stage, trial.way, flags=["--overwrite"])
        if run is not None and not run.wait(UNDISTURBED_SECONDS):
            ending.wrong.append("hangs afterwards")
            for pid in run.processes():
                os.kill(pid, signal.SIGKILL)
        elif run is not None and set(run.codes()) != {0}:
            ending.wrong.append(f"afterwards {run.codes()}: {run.text()[-300:]}")
        else:
            found = outputs(place)
            differing = sorted(
                name for name in {*found, *expected} if found.get(name) != expected.get(name)
            )
            if differing:
                ending.wrong.append(f"other bytes: {differing[:3]}")


def is_last(run: Run, end: float, struck: float) -> bool:
    """Whether all ranks but one that is stopped have just ended, and well."""
    while not run.ended() and time.monotonic() < end:
        launched = run.launched is not None
        ranks = children(run.pids[0]) if launched else run.pids
        alive = [pid for pid in ranks if is_alive(pid)]
        if len(alive) == 1 and is_stopped(alive[0]) and {None, 0}.issuperset(run.codes()):
            return time.monotonic() - struck <= LAST_SECONDS
        time.sleep(0.02)
    return False


def left_behind(run: Run) -> list[int]:
    """Processes that are still there some seconds after the end."""
    end = time.monotonic() + 8
    while (left := run.processes()) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def combinations() -> list[tuple[str, Way, Fault]]:
    """Every kind of fault on every stage and number of processes."""
    return [
        (stage, way, fault)
        for stage, ways in WAYS.items()
        for way in ways
        for fault in FAULTS
        if fault.fits(stage, way)
    ]


def trials(seed: int) -> Iterator[Trial]:
    """Trials at random moments without end: every combination once before any comes again."""
    rng = random.Random(seed)
    while True:
        for stage, way, fault in rng.sample(combinations(), len(combinations())):
            yield Trial(stage, way, fault, rng.uniform(0, 1.0), rng.randrange(2**32))
