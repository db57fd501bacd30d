"""Make synthetic head angiograms as DICOM, in the layout of the RSNA 2025 challenge.

Writes   <out_dir>/series/<SeriesInstanceUID>/<SOPInstanceUID>.dcm, train.csv and
         train_localizers.csv. The same seed gives the same bytes, and a larger data set begins
         with the series of a smaller one.

    python tools/make_demo_data.py --out_dir demo/data --series 400
"""

from intracranial.surroundings import leave, make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from intracranial.artifacts import LOCK_SUFFIX
from intracranial.demo.dataset import TRAIN_COLUMNS, make_data_set
from intracranial.errors import EXIT_INPUT
from intracranial.processes.locks import only_one
from intracranial.runlog import progress, run_tool
from intracranial.tasks import RSNA_2025

MARK = "demo_data.json"
"""Marks a folder that this tool made, with what it was made from."""


@dataclass(frozen=True)
class Options:
    """What to make."""

    out_dir: Path = Path("demo/data")
    """Folder of the data set."""

    series: int = 400
    """Number of series."""

    seed: int = 0
    """Seed of the data set."""

    num_workers: int = os.cpu_count() or 1
    """Processes; 0 works in the main process."""

    overwrite: bool = False
    """Delete what is in the folder and make it anew."""


def main(options: Options) -> int:
    """Make the data set unless it is there; the lock is beside the folder, which may be deleted."""
    lock = options.out_dir.with_name(f".{options.out_dir.name}{LOCK_SUFFIX}")
    with only_one(lock, f"{options.out_dir}"):
        return make(options)


def make(options: Options) -> int:
    """`main`, when no other command works on the folder."""
    mark = options.out_dir / MARK
    wanted = {"series": options.series, "seed": options.seed}
    found = json.loads(mark.read_text(encoding="utf-8")) if mark.exists() else None
    if found == {**wanted, "complete": True} and not options.overwrite:
        print(f"{options.out_dir} holds these {options.series} series: nothing to do")
        return 0
    if options.out_dir.exists() and any(options.out_dir.iterdir()) and not options.overwrite:
        if found != {**wanted, "complete": False}:
            print(
                f"{options.out_dir} holds something else: give another --out_dir or --overwrite",
                file=sys.stderr,
            )
            return EXIT_INPUT
    if options.overwrite and (found is not None or not options.out_dir.exists()):
        shutil.rmtree(options.out_dir, ignore_errors=True)
    elif options.overwrite and any(options.out_dir.iterdir()):
        print(f"{options.out_dir} was not made by this tool: delete it yourself", file=sys.stderr)
        return EXIT_INPUT
    options.out_dir.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps({**wanted, "complete": False}), encoding="utf-8")
    made = make_data_set(options.out_dir, options.series, options.seed, options.num_workers)
    rows = [found.train for found in progress(made, options.series, "making series")]
    mark.write_text(json.dumps({**wanted, "complete": True}), encoding="utf-8")
    positive = sum(int(str(row[TRAIN_COLUMNS.index(str(RSNA_2025.overall))])) for row in rows)
    print(f"wrote {len(rows)} series, {positive} with an aneurysm, to {options.out_dir}")
    return 0


if __name__ == "__main__":
    leave(run_tool("make_demo_data", Options, main, __doc__))
