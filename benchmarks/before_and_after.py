"""Speed of reading and caching series in this checkout beside another one, such as its parent.

    git worktree add /tmp/before HEAD~1
    python -m benchmarks.before_and_after --base /tmp/before --out_dir /tmp/benchmark

In alternating rounds, each in a process of its own that has read a short series before the clock
starts: preprocessing (read, window, write the sequence, no slice files) of generated CT series by
one process. Runs on Linux only (/proc).
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from benchmarks.generated_dicom import SHAPES, make_set
from benchmarks.side_by_side import Measured, alternate, machine, print_comparison, ratio

SETS = tuple(f"{syntax}-{shape}" for shape in SHAPES for syntax in ("raw", "rle"))
BEFORE, AFTER = "before", "after"
ROOT = Path(__file__).resolve().parent.parent

WORK = """
import json, os, shutil, sys, time
import cv2
from pathlib import Path
from benchmarks.generated_dicom import WARM
from benchmarks.preprocess import run_method
cv2.setNumThreads(1)
root, uids = Path(sys.argv[1]), sys.argv[2].split(",")
run_method("ours", root, [WARM], False)
run_method("ours", root, uids[:1], False)
shutil.rmtree(root / "npy_sequence")
os.sync()
cpu, wall = time.process_time(), time.perf_counter()
run_method("ours", root, uids, False)
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))
"""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    base: Path
    """The other checkout; its code runs with this environment."""

    out_dir: Path
    """Generated series (kept for the next run) and scratch space."""

    rounds: int = 9
    """Alternating rounds; the tables show medians."""

    series: int = 4
    """Series that a round reads."""

    sets: tuple[str, ...] = SETS
    """Kinds of series: raw or rle, and 512 or 320 pixels."""


def work(checkout: Path, root: Path, uids: list[str]) -> Measured:
    """Preprocess series with the code of a checkout, in a new process; time per series."""
    command = [sys.executable, "-c", WORK, str(root), ",".join(uids)]
    # before what is installed; the package's folder was the checkout itself once
    path = os.pathsep.join([str(checkout / "src"), str(checkout)])
    done = subprocess.run(
        command,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Measured(*json.loads(done.stdout)).per(len(uids))


def main(options: Options) -> None:
    """Make the series, measure and print."""
    uids = [f"2.25.{100 + k}" for k in range(options.series)]
    print(f"{machine()}; {options.rounds} rounds over {options.series} series each")
    for name in options.sets:
        make_set(options.out_dir, name, uids)
        root = options.out_dir / name
        checkouts = {BEFORE: options.base.resolve(), AFTER: ROOT}
        ways = {way: partial(work, path, root, uids) for way, path in checkouts.items()}
        found = alternate(ways, options.rounds)
        print_comparison(name, found, "series", [BEFORE])
        print(f"\nafter / before, CPU: {ratio(found, AFTER, BEFORE).cpu:.3f}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__, use_underscores=True))
