"""The benchmark of busy machines measures every process of a script and says what it ended."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks import busy
from benchmarks.busy import AFTER, BEFORE, Options, Script, Way, main, run, ways
from benchmarks.side_by_side import Measured

ORPHAN = """
import subprocess, sys
loop = "import time\\nwhile time.process_time() < 0.3: pass"
subprocess.Popen([sys.executable, "-c", loop])
"""


def test_a_process_that_outlives_its_script_counts() -> None:
    found = run(Way(AFTER), [sys.executable, "-c", ORPHAN], 60.0)
    assert found is not None and found.cpu > 0.3


def test_a_script_is_ended_after_its_limit() -> None:
    assert run(Way(AFTER), [sys.executable, "-c", "import time; time.sleep(60)"], 0.2) is None


def test_a_script_that_fails_ends_the_benchmark_with_its_words() -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        run(Way(AFTER), [sys.executable, "-c", "raise OSError('no such thing')"], 60.0)


def test_the_ways_say_what_the_environment_holds(monkeypatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    found = {way.name: way for way in ways(Options(Path("out"), spins=(300,)))}
    assert list(found) == [BEFORE, AFTER, "300 spins"]
    spins = [way.environment().get("GOMP_SPINCOUNT") for way in found.values()]
    assert spins == ["300000", None, "300"]
    other = ways(Options(Path("out"), base=Path("other")))[0]
    assert other.root == Path("other") and "GOMP_SPINCOUNT" not in other.environment()


def test_busy_loops_end_with_what_they_run_beside() -> None:
    with busy.busy_cores(2):
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert len(children) >= 2
    left = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not set(children[-2:]) & set(left)


def test_the_tables_show_ratios_and_what_was_ended(tmp_path: Path, capsys, monkeypatch) -> None:
    def measured(way: Way, recipe: str, stage: str, made: Path, limit: float) -> Measured | None:
        return None if limit == 40.0 else Measured(2.0, 1.0)

    monkeypatch.setattr(busy, "measure_script", measured)
    monkeypatch.setattr(busy, "prepare", lambda options, recipe: tmp_path)
    main(Options(tmp_path, recipes=("tiny",), stages=("create_folds",), rounds=2))
    printed = capsys.readouterr().out
    assert "| create_folds.py, tiny | before | 2.00 (1.00) | ended | - | 1.00 (1.00) |" in printed
    assert "| create_folds.py, tiny | after | 2.00 (1.00) | 2.00 (1.00) | 1.00 |" in printed
    assert "CPU time beside / alone, at most 1.5: 1, reached" in printed


def test_every_script_is_measured_on_a_fresh_copy(tmp_path: Path, monkeypatch) -> None:
    made = tmp_path / "made"
    (made / "data").mkdir(parents=True)
    lines: list[list[str]] = []

    def note(way: Way, line: list[str], limit: float) -> Measured:
        lines.append(line)
        assert (tmp_path / "made-copy" / "data").is_dir()
        return Measured(1.0, 1.0)

    monkeypatch.setattr(busy, "run", note)
    script = Script("demo", "train_stage1", {}, {})
    script.measure(Options(tmp_path), made, 0)
    assert len(lines) == 4 and not (tmp_path / "made-copy").exists()
    assert "--max_steps" in lines[0] and lines[0][-1] == "--overwrite"
    script.measure(Options(tmp_path), made, 1)
    assert len(script.beside[BEFORE]) == 1 and len(script.beside[AFTER]) == 2
