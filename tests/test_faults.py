"""Whatever happens to a running stage, it ends soon, and the same command then ends as undisturbed.

The slow form tries every kind of fault on every stage and number of processes, each at a random
moment: `python -m pytest tests/test_faults.py -m slow`. It prints a row for each.
"""

import itertools
from pathlib import Path

import pytest

from tests.fault_trials import Sweep, Trial, combinations, trials
from tests.faults import FAULTS, Way
from tests.tiny_runs import Place

SEED = 0
PARTS = 10
"""Tests that the slow form is cut into, for processes of pytest to share."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")


@pytest.fixture(scope="module")
def sweep(tiny: Place, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return Sweep(tiny, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize(
    ("stage", "fault", "moment", "codes", "words"),
    [
        ("train_stage1", "files missing", 0.1, {3}, "is missing: run preprocess_data.py first"),
        ("train_stage1", "stop a child", 0.0, {3}, "it was stopped (SIGSTOP) for 3 s"),
        # 3 where it is the server of all others that has just begun
        pytest.param("preprocess_data", "kill a child", 0.0, {0, 3}, "", marks=pytest.mark.slow),
        pytest.param(
            *("train_stage2", "long TMPDIR", 0.0, {3}, "set TMPDIR to a folder with a short path"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_stage_with_two_loading_processes_ends_after_a_fault(
    sweep: Sweep, stage: str, fault: str, moment: float, codes: set[int], words: str
):
    (kind,) = (one for one in FAULTS if one.name == fault)
    ending = sweep.try_it(Trial(stage, Way(workers=2), kind, moment, SEED))
    assert not ending.wrong, f"{ending.row()}\n{ending.text}"
    assert set(ending.codes) <= codes and words in ending.text, ending.text


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_stage_ends_after_every_fault(sweep: Sweep, capsys, part: int):
    wrong = []
    every = itertools.islice(trials(SEED), len(combinations()))
    for trial in itertools.islice(every, part, None, PARTS):
        ending = sweep.try_it(trial)
        with capsys.disabled():
            print(f"\n{ending.row()}", end="", flush=True)
        if ending.wrong:
            wrong.append(f"{ending.row()}\n{ending.text[-2000:]}")
    assert not wrong, "\n\n".join(wrong)
