"""The benchmark of memory sees what a process and its children hold, and runs both stages."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory import STAGES, Options, main, peak_mib
from tests.tiny_runs import RECIPE, Place

HOLD = """
import subprocess, sys, time
held = bytearray({own} * 2**20)
subprocess.run([sys.executable, "-c",
                "import time; held = bytearray({child} * 2**20); time.sleep(0.3)"])
"""


def peak_of(tmp_path: Path, own: int, child: int) -> float:
    code = HOLD.format(own=own, child=child)
    return peak_mib([sys.executable, "-c", code], tmp_path / "log")


def test_the_peak_counts_anonymous_memory_of_a_process_and_its_child(tmp_path: Path) -> None:
    grown = peak_of(tmp_path, 40, 30) - peak_of(tmp_path, 1, 1)
    assert 60 < grown < 80


def test_a_command_that_fails_shows_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="out of order"):
        peak_mib([sys.executable, "-c", "raise SystemExit('out of order')"], tmp_path / "log")


@pytest.mark.slow
def test_it_measures_both_stages_with_few_and_with_many_series(
    tiny_copy: Place, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("it was there"))
    monkeypatch.setattr("benchmarks.memory.make_inputs", lambda options: None)
    options = Options(
        out_dir=tiny_copy.root, config=RECIPE, few=4, many=26, num_workers=0, rounds=1
    )
    main(options)
    printed = capsys.readouterr().out
    for name in STAGES.values():
        assert f"| {name} |" in printed and f"{name}, peak with many / with few" in printed
