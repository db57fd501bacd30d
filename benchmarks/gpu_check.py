"""Everything that only a GPU can show, in one run of some minutes: does it work, and how fast.

Every part is a process of its own with a limit of its own, so that one that fails, crashes or hangs
ends none of the others. Parts that check are run together, parts that measure one by one. The
record (JSON) is written after every part, so that it is whole whenever the run is ended; at the
end it is printed as a table. No network is needed.

    python -m benchmarks.gpu_check --out_dir /tmp/gpu
    python -m benchmarks.gpu_check --out_dir /tmp/gpu --small --device cpu
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tyro

from benchmarks.side_by_side import machine
from intracranial.threads import bound_spinning

ROOT = Path(__file__).resolve().parent.parent
RECORD, TABLE = "gpu_check.json", "gpu_check.md"
DONE, FAILED, ENDED, LEFT_OUT = "done", "failed", "ended at its limit", "left out"
POLL = 0.1  # seconds
RESERVE = 4.0
"""Seconds of the budget that are kept for the table."""

SLOWER = 3
"""How much more time a part has in the small form, on machines that have other work too."""

TAIL, SHORT_TAIL, SHOWN = 80, 8, 5
"""Last lines of a part's output in the record, where it failed and where not, and on the screen."""

MOST_CHARACTERS = 7900
"""Of the table, which is meant to be pasted."""

SPEEDS = ("per_s", "step_ms", "share_of_rate", "waiting", "peak_gib", "reserved_gib")
SPEED_HEAD = (
    "training",
    "samples/s",
    "ms a step",
    "share of the matrix rate",
    "waiting for the loader",
    "peak GiB",
    "reserved GiB",
    "steps left out",
    "loss",
)


@dataclass(frozen=True)
class Part:
    """A process of the check.

    `name` is that in gpu_parts.py; it is ended after `limit` seconds, and begins only while `least`
    seconds are left; `whole` says that the small form is without it.
    """

    name: str
    limit: float
    least: float
    whole: bool = False


GROUPS: tuple[tuple[Part, ...], ...] = (
    (Part("facts", 100, 5), Part("caches", 100, 5), Part("data", 120, 5)),
    (
        Part("chain", 220, 60),
        Part("resume", 220, 60),
        Part("tests", 220, 40),
        Part("compile bf16", 220, 60, whole=True),  # for the training that is measured later
    ),
    (Part("training bf16", 70, 25),),
    (Part("stage 2", 50, 20),),
    (Part("extraction", 60, 20),),
    (Part("end to end", 60, 20),),
    (Part("training bf16 compiled", 90, 30, whole=True),),
    (Part("training fp16", 60, 25, whole=True),),
    (Part("dicom", 90, 40),),
    (Part("training fp16 compiled", 150, 60, whole=True),),
)
"""Parts of a group are run together. What is worth most comes first."""


@dataclass(frozen=True)
class Options:
    """What to check, and in which time."""

    out_dir: Path
    """Folder of the record and the table."""

    work_dir: Path | None = None
    """Generated data and scratch space, some GB (default: `work` in out_dir)."""

    minutes: float = 6.0
    """Time for all; parts that would not fit are left out, and the last one is ended."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX."""

    small: bool = False
    """Tiny networks and data, to try this script on a CPU; the figures mean nothing."""

    parts: tuple[str, ...] = ()
    """Parts to run (default: all)."""

    @property
    def work(self) -> Path:
        """Folder for generated data."""
        return self.work_dir or self.out_dir / "work"


@dataclass
class Outcome:
    """What became of a part."""

    status: str
    why: str = ""
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    tail: list[str] = field(default_factory=list)


class Running:
    """A part that has begun."""

    def __init__(self, part: Part, command: Sequence[str], options: Options, end: float) -> None:
        """Start its process.

        Args:
            part: which.
            command: how it is started, without the file for its figures.
            options: of the run.
            end: time on the monotonic clock at which the whole run must end.
        """
        self.part = part
        name = part.name.replace(" ", "_")
        self.result, self.log = options.work / f"{name}.json", options.work / f"{name}.log"
        self.result.unlink(missing_ok=True)
        self.start = time.monotonic()
        self.end = min(self.start + part.limit * (SLOWER if options.small else 1), end)
        one = {"OMP_NUM_THREADS": "1"} if options.small else {}
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, "--result", str(self.result)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **one, "PYTHONPATH": path},
                process_group=0,  # so that what it has started ends with it
            )

    def poll(self) -> Outcome | None:
        """What became of it, once it has ended or reached its limit."""
        code = self.process.poll()
        if code is None and time.monotonic() < self.end:
            return None
        taken = time.monotonic() - self.start
        self.kill()
        outcome = Outcome(DONE, seconds=round(taken, 1), figures=self._figures())
        if code is None:
            outcome.status, outcome.why = ENDED, f"after {taken:.0f} s"
        elif code:
            outcome.status, outcome.why = FAILED, f"exit code {code}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        outcome.tail = lines[-(SHORT_TAIL if code == 0 else TAIL) :]
        return outcome

    def kill(self) -> None:
        """End its process and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _figures(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found


class Check:
    """All parts, and the record of what became of them."""

    def __init__(self, options: Options, groups: Sequence[Sequence[Part]] = GROUPS) -> None:
        """Write an empty record."""
        self.options, self.groups = options, groups
        self.start = time.monotonic()
        self.end = self.start + 60 * options.minutes - RESERVE
        self.most = max(2, len(os.sched_getaffinity(0)) // 2)
        self.outcomes: dict[str, Outcome] = {}
        options.work.mkdir(parents=True, exist_ok=True)
        options.out_dir.mkdir(parents=True, exist_ok=True)
        self.write()

    def command(self, part: Part) -> list[str]:
        """How a part is started."""
        options = self.options
        form = ["--small"] if options.small else []
        where = ["--work_dir", str(options.work.resolve()), "--device", options.device, *form]
        return [sys.executable, "-m", "benchmarks.gpu_parts", "--part", part.name, *where]

    def run(self) -> None:
        """Run one group after the other, at most `most` parts at a time."""
        for group in self.groups:
            waiting, running = list(group), list[Running]()
            try:
                while waiting or running:
                    while waiting and len(running) < self.most:
                        running += self._begin(waiting.pop(0))
                    running = [one for one in running if not self._ended(one)]
                    time.sleep(POLL)
            finally:
                for one in running:
                    one.kill()

    def _begin(self, part: Part) -> list[Running]:
        options, left = self.options, self.end - time.monotonic()
        if options.parts and part.name not in options.parts:
            return []
        if options.small and part.whole:
            self._note(part, Outcome(LEFT_OUT, "not in the small form"))
        elif left < part.least:
            self._note(part, Outcome(LEFT_OUT, "no time"))
        else:
            print(f"[{time.monotonic() - self.start:5.0f} s] {part.name} begins", flush=True)
            return [Running(part, self.command(part), options, self.end)]
        return []

    def _ended(self, running: Running) -> bool:
        outcome = running.poll()
        if outcome is not None:
            self._note(running.part, outcome)
        return outcome is not None

    def _note(self, part: Part, outcome: Outcome) -> None:
        self.outcomes[part.name] = outcome
        self.write()
        why = f" ({outcome.why})" if outcome.why else ""
        print(
            f"[{time.monotonic() - self.start:5.0f} s] {part.name}: {outcome.status}{why}, "
            f"{outcome.seconds:g} s",
            flush=True,
        )
        if outcome.status in (FAILED, ENDED):
            for line in outcome.tail[-SHOWN:]:
                print(f"    {line}", flush=True)

    def write(self) -> None:
        """Write the record in the place of the last one."""
        content = {
            "machine": machine(),
            "options": {name: str(value) for name, value in asdict(self.options).items()},
            "seconds": round(time.monotonic() - self.start, 1),
            "parts": {name: asdict(outcome) for name, outcome in self.outcomes.items()},
        }
        path = self.options.out_dir / RECORD
        new = path.with_suffix(".new")
        new.write_text(json.dumps(content, indent=1), encoding="utf-8")
        new.replace(path)
        text = f"{machine()}\n\n{table(self.outcomes)}\n"
        (self.options.out_dir / TABLE).write_text(text, encoding="utf-8")


def words(figures: object) -> str:
    """Figures in one line."""
    if isinstance(figures, dict):
        return ", ".join(
            f"{name}: ({words(value)})" if isinstance(value, dict) else f"{name} {words(value)}"
            for name, value in figures.items()
        )
    if isinstance(figures, list):
        return ", ".join(map(words, figures)) or "none"
    return str(figures)


def rows_of(lines: Iterable[Sequence[str]]) -> list[str]:
    """Rows of a Markdown table."""
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]


def speed_rows(outcomes: dict[str, Outcome]) -> list[list[str]]:
    """A row for every way of every training that was measured."""
    found = []
    for part, outcome in outcomes.items():
        for way, figures in outcome.figures.items():
            if isinstance(figures, dict) and "step_ms" in figures:
                cells = [str(figures.get(name, "")) for name in SPEEDS]
                more = [str(figures.get(name, "")) for name in ("skipped_steps", "loss")]
                found.append([f"{part}, {way}", *cells, *more])
    return found


def table(outcomes: dict[str, Outcome]) -> str:
    """What became of every part, in Markdown."""
    speeds = speed_rows(outcomes)
    shown = {row[0] for row in speeds}
    lines = []
    for part, outcome in outcomes.items():
        figures = {
            name: value for name, value in outcome.figures.items() if f"{part}, {name}" not in shown
        }
        status = outcome.status + (f": {outcome.why}" if outcome.why else "")
        lines.append([part, status, f"{outcome.seconds:g}", words(figures)])
    found = ["| part | result | s | figures |", "| --- | --- | --: | --- |", *rows_of(lines)]
    if speeds:
        numbers = " --: |" * (len(SPEED_HEAD) - 1)
        found += ["", *rows_of([SPEED_HEAD]), f"| --- |{numbers}", *rows_of(speeds)]
    longest = 1500
    while len(text := "\n".join(line[:longest] for line in found)) > MOST_CHARACTERS:
        longest -= 20
    return text


def main(options: Options) -> None:
    """Run all parts, and print the table."""
    bound_spinning()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # parts end with it
    check = Check(options)
    try:
        check.run()
    finally:
        print((options.out_dir / TABLE).read_text(encoding="utf-8"), flush=True)
    bad = [name for name, one in check.outcomes.items() if one.status in (FAILED, ENDED)]
    if bad:
        raise SystemExit(f"not done: {', '.join(bad)}")


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
