"""What the scripts cost alone and beside processes that keep every core busy, before and after.

Every script is run as a user runs it, in alternating rounds: with the bound on spinning threads
(src/intracranial/threads.py) and as it was without, alone and beside one endless loop for each
core. The tiny recipe runs on the tests' data; the scripts that compute most run the demo's nets on
a few of its series too. CPU time is that of all processes of a script, its start included.

Made data are kept for the next run, and `--minutes 0` only makes them. Without the bound a script
beside busy processes is run in the first round alone, and ended after `--limit` seconds.

    python -m benchmarks.busy --out_dir /tmp/benchmark --minutes 0
    python -m benchmarks.busy --out_dir /tmp/benchmark
    python -m benchmarks.busy --out_dir /tmp/benchmark --spins 0 300 3000
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.side_by_side import (
    Measured,
    Rounds,
    Target,
    machine,
    middle,
    print_table,
    print_targets,
    ratio,
)
from intracranial.config import STAGES
from intracranial.errors import EXIT_DONE, EXIT_REJECTED
from intracranial.threads import CHOSEN
from tests.tiny_data import make_tiny_data

ROOT = Path(__file__).resolve().parent.parent
DATA_STAGES = ("preprocess_data", "create_folds")
MEASURED = {
    "tiny": tuple(STAGES),
    "demo": ("train_stage1", "extract_features", "train_stage2", "eval_end_to_end"),
}
"""Scripts by recipe."""

SHORT = {("demo", "train_stage1"): ("--max_steps", "6")}
"""Flags that keep a script short."""

BEFORE, AFTER = "before", "after"
UNBOUNDED = "300000"
"""GNU OpenMP's own default."""

DIE_WITH_PARENT = "import ctypes; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG"
BUSY_LOOP = f"{DIE_WITH_PARENT}\nwhile True: pass"

METER = """
import ctypes, os, resource, signal, subprocess, sys, time
libc = ctypes.CDLL(None)
libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: also what outlives the script
libc.prctl(1, signal.SIGTERM, 0, 0, 0)  # PR_SET_PDEATHSIG
signal.signal(signal.SIGTERM, lambda *_: sys.exit("the benchmark has ended"))
start = time.perf_counter()
script = subprocess.Popen(sys.argv[2:], start_new_session=True)
try:
    code = script.wait(float(sys.argv[1]))
except subprocess.TimeoutExpired:
    code = -1
    os.killpg(script.pid, signal.SIGKILL)
except BaseException:
    os.killpg(script.pid, signal.SIGKILL)
    raise
wall = time.perf_counter() - start
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("METER", code, used.ru_utime + used.ru_stime, wall)
"""
"""Runs a script for so many seconds at most; says its code, CPU and wall time."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out_dir: Path
    """Made data (kept for the next run) and scratch space."""

    recipes: tuple[str, ...] = tuple(MEASURED)
    """tiny, demo."""

    stages: tuple[str, ...] = tuple(STAGES)
    """Scripts to measure."""

    series: int = 24
    """Series of the demo; fewer give no batch."""

    minutes: float = 11.0
    """No round is begun that would not end by then; the first one always is, but for 0."""

    rounds: int = 5
    """Alternating rounds at most; the tables show medians."""

    limit: float = 40.0
    """Seconds after which a script is ended that runs without the bound beside busy processes."""

    spins: tuple[int, ...] = ()
    """Further bounds to measure, one way each."""

    base: Path | None = None
    """Another checkout that is `before`; by default this one without the bound."""


@dataclass(frozen=True)
class Way:
    """A checkout and what its environment says of spinning; nothing leaves it to the checkout."""

    name: str
    root: Path = ROOT
    spins: str | None = None

    def environment(self) -> dict[str, str]:
        """The environment of a script."""
        kept = {name: value for name, value in os.environ.items() if name not in CHOSEN}
        return kept if self.spins is None else {**kept, "GOMP_SPINCOUNT": self.spins}


def ways(options: Options) -> list[Way]:
    """Before, after, and further bounds."""
    before = Way(BEFORE, options.base) if options.base else Way(BEFORE, spins=UNBOUNDED)
    return [
        before,
        Way(AFTER),
        *(Way(f"{count} spins", spins=str(count)) for count in options.spins),
    ]


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many endless loops beside what is done within."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def command(root: Path, recipe: str, stage: str, place: Path) -> list[str]:
    """A script of a checkout on the data and models of a place."""
    flags = [
        "--config",
        str(root / "configs" / f"{recipe}.yaml"),
        "--data_dir",
        str(place / "data"),
    ]
    if stage not in DATA_STAGES:
        flags += ["--model_dir", str(place / "model")]
    return [sys.executable, str(root / f"{stage}.py"), *flags, *SHORT.get((recipe, stage), ())]


def run(way: Way, line: list[str], limit: float) -> Measured | None:
    """CPU and wall time of a script; None when it took longer than the limit in seconds."""
    done = subprocess.run(
        [sys.executable, "-c", METER, str(limit), *line],
        cwd=way.root,
        env=way.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    _, code, cpu, wall = done.stdout.splitlines()[-1].split()
    if code == "-1":
        return None
    if int(code) not in (EXIT_DONE, EXIT_REJECTED):
        raise SystemExit(f"{' '.join(line)} ended with {code}:\n{done.stdout}")
    return Measured(float(cpu), float(wall))


def prepare(options: Options, recipe: str) -> Path:
    """Data and every stage's results of a recipe, made once."""
    place = options.out_dir / f"busy-{recipe}"
    if (place / "done").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    if recipe == "tiny":
        make_tiny_data(place / "data")
    else:
        tool = [sys.executable, str(ROOT / "tools" / "make_demo_data.py")]
        flags = ["--out_dir", str(place / "data"), "--series", str(options.series)]
        subprocess.run([*tool, *flags], check=True, stdout=subprocess.DEVNULL)
    for stage in STAGES:
        run(Way(AFTER), command(ROOT, recipe, stage, place), 600.0)
    (place / "done").touch()
    return place


def measure_script(way: Way, recipe: str, stage: str, made: Path, limit: float) -> Measured | None:
    """One run of a script on a fresh copy of what was made, so that none sees another's rest."""
    copy = made.with_name(f"{made.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(made, copy, ignore=shutil.ignore_patterns("runs"))
    try:
        return run(way, [*command(way.root, recipe, stage, copy), "--overwrite"], limit)
    finally:
        shutil.rmtree(copy)


@dataclass(frozen=True)
class Script:
    """A script with a recipe, and what was measured of it by way, alone and beside."""

    recipe: str
    stage: str
    alone: Rounds
    beside: Rounds

    def measure(self, options: Options, made: Path, turn: int) -> None:
        """One round; who begins turns from round to round."""
        every = ways(options)
        for position in range(len(every)):
            way = every[(position + turn) % len(every)]
            found = measure_script(way, self.recipe, self.stage, made, 600.0)
            if found is None:
                raise SystemExit(f"{self.stage}.py took more than 10 minutes")
            self.alone.setdefault(way.name, []).append(found)
        for position in range(len(every)):
            way = every[(position + turn) % len(every)]
            if way.name == BEFORE and turn:
                continue
            limit = options.limit if way.name == BEFORE else 600.0
            with busy_cores(len(os.sched_getaffinity(0))):
                found = measure_script(way, self.recipe, self.stage, made, limit)
            if found is not None:
                self.beside.setdefault(way.name, []).append(found)

    def row(self, way: str) -> list[str]:
        """Cells of one way."""
        alone = middle(self.alone[way])
        cells = [f"{self.stage}.py, {self.recipe}", way, f"{alone.cpu:.2f} ({alone.wall:.2f})"]
        if way in self.beside:
            beside = middle(self.beside[way])
            cells += [f"{beside.cpu:.2f} ({beside.wall:.2f})", f"{beside.cpu / alone.cpu:.2f}"]
        else:
            cells += ["ended", "-"]
        slower = ratio(self.alone, way, BEFORE)
        return [*cells, f"{slower.cpu:.2f} ({slower.wall:.2f})"]

    def targets(self) -> list[Target]:
        """What is to be reached."""
        name = f"{self.stage}.py, {self.recipe}"
        beside, alone = middle(self.beside[AFTER]), middle(self.alone[AFTER])
        wall = ratio(self.alone, AFTER, BEFORE).wall
        return [
            Target(f"{name}: CPU time beside / alone", 1.5, True, beside.cpu / alone.cpu),
            Target(f"{name}: wall time alone, after / before", 1.05, True, wall),
        ]


def main(options: Options) -> None:
    """Measure and print Markdown."""
    start = time.monotonic()
    made = {recipe: prepare(options, recipe) for recipe in options.recipes}
    if options.minutes <= 0:
        return
    start = time.monotonic()
    scripts = [
        Script(recipe, stage, {}, {})
        for recipe in options.recipes
        for stage in MEASURED[recipe]
        if stage in options.stages
    ]
    longest, done = 0.0, 0
    while done < options.rounds and time.monotonic() - start + longest < 60 * options.minutes:
        begun = time.monotonic()
        for script in scripts:
            script.measure(options, made[script.recipe], done)
        if done:  # the first one is the longest, and says little of the next
            longest = max(longest, time.monotonic() - begun)
        done += 1
    print(f"{machine()}; {done} rounds in {time.monotonic() - start:.0f} s")
    print_table(
        "CPU (wall) seconds of whole scripts; beside: with an endless loop for each core; ended: "
        f"not done after {options.limit:g} s",
        ["script", "way", "alone", "beside", "CPU beside / alone", "alone: CPU (wall) / before"],
        (script.row(way.name) for script in scripts for way in ways(options)),
    )
    print_targets(target for script in scripts for target in script.targets())


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
