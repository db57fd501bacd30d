"""Threads that wait for each other sleep soon, in every process, unless the user says otherwise."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from intracranial.threads import CHOSEN, SPINS
from tests.openmp import library
from tests.tiny_runs import ROOT

pytestmark = pytest.mark.skipif(library() is None, reason="torch brings no GNU OpenMP here")

GNU_DEFAULT = 300000

# A tool as they all are: what it prints is what an OpenMP takes that is loaded in its process, in
# a process that reads series, and in one that loads training data.
TOOL = """
import json
from dataclasses import dataclass
from intracranial.runlog import run_tool
from tests.openmp import spin_count

@dataclass(frozen=True)
class Options:
    pass

def main(options):
    found = {"script": spin_count()}
    import torch
    from intracranial.processes.pool import WorkerPool
    from intracranial.training.batches import load

    class Counts(torch.utils.data.Dataset):
        def __getitem__(self, request):
            return {"spins": torch.tensor(spin_count()), "threads": torch.get_num_threads()}

    (batch,) = load(Counts(), [[0]], 1, False)
    found["loading"], found["threads of loading"] = int(batch["spins"]), int(batch["threads"])
    with WorkerPool(1, 60.0) as pool:
        found["reading"] = pool.submit(spin_count).result()
    print(json.dumps(found))
    return 0

if __name__ == "__main__":
    run_tool("tool", Options, main, None)
"""

STAGE = """
import sys
from dataclasses import dataclass
from intracranial.options.common import DataOptions
from intracranial.runlog import run_stage
from tests.openmp import spin_count

def main(options, record):
    print(spin_count())
    return 0

run_stage("create_folds", DataOptions, main, None)
"""

API = """
from intracranial import Predictor
from tests.openmp import spin_count
print(spin_count())
"""

HOST = """
import json, os
import torch
from intracranial import Predictor
print(json.dumps("GOMP_SPINCOUNT" in os.environ))
"""

CHOSEN_BY_HOST = """
import cv2
cv2.setNumThreads(3)
from intracranial import {name}
import intracranial.sampling.stacks
print(cv2.getNumThreads())
"""

WITHOUT_UNIX = """
import sys
for name in ("resource", "fcntl"):
    sys.modules[name] = None
from intracranial import {name}
import intracranial.processes.pool, intracranial.processes.locks
print(0)
"""

# Two threads meet on one core: whoever spins keeps the other one from coming.
MEETINGS = 50
MEETING = f"""
import os, time
from intracranial.threads import bound_spinning
if {{bound}}:
    bound_spinning()
import torch
torch.set_num_threads(2)
numbers = torch.zeros(100_000)
numbers.add_(1)
core = {{{{min(os.sched_getaffinity(0))}}}}
for thread in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(thread), core)
start = time.process_time()
for _ in range({MEETINGS}):
    numbers.add_(1)
print(time.process_time() - start)
"""


def said(program: str, *arguments: str, **environment: str) -> Any:
    """What a program prints, run without any setting but the given ones."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_process_of_a_tool_has_the_bound() -> None:
    found = said(TOOL)
    assert found.pop("threads of loading") == 1
    assert found == dict.fromkeys(("script", "reading", "loading"), SPINS)


def test_a_stage_has_the_bound(tmp_path) -> None:
    assert said(STAGE, "--data_dir", str(tmp_path)) == SPINS


def test_a_program_that_takes_the_interface_has_the_bound() -> None:
    assert said(API) == SPINS


def test_a_program_that_has_imported_torch_itself_is_left_alone() -> None:
    assert said(HOST) is False


def test_a_program_keeps_the_threads_that_it_has_chosen_for_opencv() -> None:
    assert said(CHOSEN_BY_HOST.format(name="Predictor")) == 3


def test_the_interface_can_be_imported_where_the_system_is_no_unix() -> None:
    assert said(WITHOUT_UNIX.format(name="Predictor")) == 0


@pytest.mark.parametrize(
    ("environment", "spins"),
    [
        ({"GOMP_SPINCOUNT": "77"}, 77),
        ({"OMP_WAIT_POLICY": "passive"}, 0),
        ({"OMP_WAIT_POLICY": "active"}, 30_000_000_000),
    ],
)
def test_what_the_user_has_set_wins(environment: dict[str, str], spins: int, tmp_path) -> None:
    assert said(STAGE, "--data_dir", str(tmp_path), **environment) == spins


@pytest.mark.skipif(os.cpu_count() == 1, reason="OpenMP itself bounds it on a single core")
def test_threads_that_share_a_core_do_not_spin_away_its_time() -> None:
    """Unbounded they take milliseconds a meeting, bounded some hundredths of one."""
    bounded = said(MEETING.format(bound=True))
    assert bounded < 0.001 * MEETINGS
    unbounded = said(MEETING.format(bound=True), GOMP_SPINCOUNT=str(GNU_DEFAULT))
    assert unbounded > 5 * bounded
