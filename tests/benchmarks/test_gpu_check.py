"""The check of a GPU: parts that fail or hang end no other one, and its record is always whole."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import generated_dicom, gpu_check, gpu_parts
from benchmarks.gpu_check import DONE, ENDED, FAILED, LEFT_OUT, Check, Options, Outcome, Part, table
from benchmarks.gpu_parts import PARTS
from intracranial.artifacts import FoldPaths

WORDS = {
    "good": "figures(step=1, speed={'step_ms': 2.0, 'per_s': 3.0}); print('all is well')",
    "bad": "print('line'); raise OSError('no such thing')",
    "slow": "figures(first=7); time.sleep(60)",
    "crash": "os.kill(os.getpid(), 11)",
    "child": "subprocess.Popen(['sleep', '61']); time.sleep(60)",
}

PART = """
import json, os, subprocess, sys, time
def figures(**found):
    open(sys.argv[sys.argv.index('--result') + 1], 'w').write(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def _shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated_dicom, "SHAPES", dict(generated_dicom.SHAPES))


class Tried(Check):
    """A check whose parts are some lines of Python each."""

    def command(self, part: Part) -> list[str]:
        return [sys.executable, "-c", PART + WORDS[part.name]]


def check(folder: Path, *groups: Sequence[Part], minutes: float = 5.0) -> dict[str, Outcome]:
    tried = Tried(Options(folder, minutes=minutes), groups)
    tried.run()
    return tried.outcomes


def test_parts_that_fail_crash_or_hang_end_no_other_one(tmp_path: Path, capsys) -> None:
    limits = {"bad": 30.0, "crash": 30.0, "slow": 1.0, "good": 30.0}
    groups = [[Part(name, limit, 0)] for name, limit in limits.items()]
    found = check(tmp_path, *groups)
    assert {name: one.status for name, one in found.items()} == {
        "bad": FAILED,
        "crash": FAILED,
        "slow": ENDED,
        "good": DONE,
    }
    assert found["crash"].why == "exit code -11" and "no such thing" in found["bad"].tail[-1]
    assert found["slow"].figures == {"first": 7} and found["slow"].seconds < 20
    assert "    OSError: no such thing" in capsys.readouterr().out


def test_what_an_ended_part_has_started_ends_too(tmp_path: Path) -> None:
    check(tmp_path, [Part("child", 1.5, 0)])
    commands = [
        path.read_bytes()
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.parent.joinpath("stat").exists()
    ]
    assert b"sleep\x0061\x00" not in commands


def test_the_record_is_whole_after_every_part(tmp_path: Path, monkeypatch) -> None:
    seen: list[list[str]] = []
    note = Check._note

    def noting(self: Check, part: Part, outcome: Outcome) -> None:
        note(self, part, outcome)
        content = json.loads((tmp_path / gpu_check.RECORD).read_text())
        seen.append(list(content["parts"]))

    monkeypatch.setattr(Check, "_note", noting)
    check(tmp_path, [Part("good", 30, 0)], [Part("bad", 30, 0)])
    assert seen == [["good"], ["good", "bad"]]


def test_parts_of_a_group_run_together(tmp_path: Path) -> None:
    start = time.monotonic()
    found = check(tmp_path, [Part("slow", 2, 0), Part("child", 2, 0)])
    assert len(found) == 2 and time.monotonic() - start < 3.8


def test_parts_that_would_not_fit_into_the_time_are_left_out(tmp_path: Path) -> None:
    found = check(tmp_path, [Part("slow", 60, 0)], [Part("good", 60, 5)], minutes=0.1)
    assert found["slow"].status == ENDED and found["slow"].seconds < 6
    assert (found["good"].status, found["good"].why) == (LEFT_OUT, "no time")


def test_the_table_is_short_whatever_parts_say() -> None:
    figures = {f"figure {number}": "x | y" * 20 for number in range(100)}
    outcomes = {name: Outcome(DONE, figures=figures) for name in PARTS}
    outcomes["training bf16"].figures = {
        "loader": {"step_ms": 64.0, "per_s": 500.0, "waiting": 0.25},
        "gflop": 370.0,
    }
    text = table(outcomes)
    assert len(text) < 8000 and "| training bf16, loader | 500.0 | 64.0 |  | 0.25 |" in text
    rows = [line for line in text.splitlines() if line.startswith("| training bf16 ")]
    assert "gflop 370.0" in rows[0] and "step_ms" not in rows[0]


def test_every_part_of_the_groups_can_be_run() -> None:
    assert {part.name for group in gpu_check.GROUPS for part in group} == set(PARTS)


def test_a_difference_of_two_trainings_is_said(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from benchmarks.gpu_chain import difference

    paths = [FoldPaths(tmp_path, run, 0) for run in ("one", "other")]
    for number, one in enumerate(paths):
        one.root.mkdir(parents=True)
        save_file({"weight": torch.full((2,), 0.5 * number)}, one.weights("stage1"))
        one.log_csv("stage1").write_text(f"epoch,loss\n1,{2 - number}\n")
    assert difference(paths[0], paths[0], "stage1") == "equal weights, equal log"
    said = difference(*paths, "stage1")
    assert said == "weights differ by up to 0.5, losses by up to 100 %"
    assert "a file is missing: " in difference(*paths, "stage2")


@pytest.mark.parametrize(
    ("part", "figures"),
    [
        ("facts", {"versions", "tflops", "copy_gb_s", "workers"}),
        ("caches", {"caches_s", "features_s"}),
        ("training bf16", {"loader", "memory", "gflop", "tflops"}),
        ("stage 2", {"loader", "memory", "gflop", "padded"}),
        ("extraction", {"ways_agree", "encoder", "bare forward"}),
        ("end to end", {"seconds_a_series", "1 reading processes", "computing alone"}),
    ],
)
def test_a_part_that_measures_notes_its_figures(tmp_path: Path, part: str, figures: set) -> None:
    result = tmp_path / "figures.json"
    gpu_parts.main(gpu_parts.Setting(part, tmp_path, result, device="cpu", small=True))
    found = json.loads(result.read_text())
    assert figures <= found.keys()
    for way in {"loader", "memory"} & found.keys():
        assert found[way]["step_ms"] > 0 and 0 <= found[way]["waiting"] <= 1


@pytest.mark.slow
def test_all_parts_run_in_the_small_form_on_a_cpu(tmp_path: Path, capsys) -> None:
    gpu_check.main(Options(tmp_path, small=True, device="cpu", minutes=20))
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / gpu_check.RECORD).read_text())
    wanted = {
        part.name: LEFT_OUT if part.whole else DONE for group in gpu_check.GROUPS for part in group
    }
    assert {name: one["status"] for name, one in record["parts"].items()} == wanted
    assert record["parts"]["resume"]["figures"] == {
        "stage1, deterministic": "equal weights, equal log"
    }
    assert "| training bf16, loader |" in printed and "| stage 2, memory |" in printed
