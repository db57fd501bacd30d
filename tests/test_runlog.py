"""Run records, logs, progress and exit codes."""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from intracranial import runlog
from intracranial.errors import (
    EXIT_DONE,
    EXIT_INPUT,
    EXIT_INTERNAL,
    InputError,
    NumericalError,
    PipelineError,
    Preempted,
    StaleArtifact,
    UsageError,
)
from intracranial.runlog import Record, log, progress, run_stage, run_tool
from tests.test_bad_input import full_disk


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a stage that does not exist."""

    folder: Path
    """Where the record goes."""

    seed: int = 3
    """A number."""

    @property
    def record_dir(self) -> Path:
        return self.folder / "runs"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def call(main) -> int:
        log.handlers.clear()
        monkeypatch.setattr("sys.argv", ["stage.py", "--folder", str(tmp_path)])
        return run_stage("stage", Options, main, "What it does.")

    return call


def raising(error: BaseException):
    def main(options: Options, record: Record) -> int:
        raise error

    return main


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((folder / "runs").glob("*.json"))]


def test_a_record_holds_options_versions_times_counts_and_memory(run, tmp_path: Path):
    def main(options: Options, record: Record) -> int:
        with record.timed("work"):
            record.count("series", 5)
        with record.timed("work"):
            log.info("half done")
        return 4

    assert run(main) == 4
    (record,) = records(tmp_path)
    assert record["stage"] == "stage" and record["exit_code"] == 4
    assert record["options"] == {"folder": tmp_path.as_posix(), "seed": 3}
    assert record["counts"] == {"series": 5}
    assert 0 <= record["seconds"]["work"] <= record["seconds"]["total"]
    assert record["peak_memory_mib"]["this process"] > 0
    assert record["versions"]["python"] and record["started"]
    (logged,) = (tmp_path / "runs").glob("*.log")
    assert "INFO half done" in logged.read_text()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (InputError("x"), 3),
        (StaleArtifact("x"), 5),
        (NumericalError("x"), 6),
        (Preempted("x"), 75),
        (PipelineError("x"), 1),
        (RuntimeError("x"), 1),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file"), 3),
    ],
)
def test_every_kind_of_error_has_its_exit_code_and_is_in_the_record(
    run, tmp_path: Path, error: Exception, code: int
):
    assert run(raising(error)) == code
    assert records(tmp_path)[0]["exit_code"] == code


def test_an_expected_error_is_one_line_and_an_internal_one_has_its_traceback(run, capsys):
    run(raising(InputError("the table is missing: run that script first")))
    said = capsys.readouterr().out
    assert said.splitlines() == ["stage.py: the table is missing: run that script first"]
    run(raising(ZeroDivisionError("oh")))
    said = capsys.readouterr().out
    assert "internal error; please report it with the log" in said and "ZeroDivisionError" in said


def test_a_full_disk_says_which_file_and_what_to_do(run, capsys):
    run(raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")))
    said = capsys.readouterr().out
    assert "No space left on device (some/file)" in said and "run the same command again" in said


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UsageError("--seed -1: give 0 or more"), 2, "tool.py: --seed -1: give 0 or more"),
        (NumericalError("x"), 6, "tool.py: x"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file"),
            3,
            "tool.py: No space left on device (some/file)",
        ),
    ],
)
def test_a_tool_ends_with_a_code_and_one_line(
    tmp_path: Path, monkeypatch, capsys, error: Exception, code: int, words: str
):
    def main(options: Options) -> int:
        raise error

    monkeypatch.setattr("sys.argv", ["tool.py", "--folder", str(tmp_path)])
    assert run_tool("tool", Options, main, "What it does.") == code
    assert capsys.readouterr().err.splitlines() == [words]
    assert run_tool("tool", Options, lambda options: options.seed, None) == 3
    assert not list(tmp_path.iterdir())


def test_a_record_that_cannot_be_written_is_an_error_of_its_own(run, tmp_path: Path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    assert run(lambda options, record: 0) == 3


def test_two_runs_at_the_same_moment_keep_two_records(run, tmp_path: Path):
    for _ in range(3):
        assert run(lambda options, record: 0) == 0
    assert len(records(tmp_path)) == 3
    assert len(list((tmp_path / "runs").glob("*.log"))) == 3


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, caplog):
    monkeypatch.setattr(runlog, "LINE_SECONDS", 0.0)
    with caplog.at_level("INFO", logger="intracranial"):
        assert list(progress(range(3), 3, "reading")) == [0, 1, 2]
    assert [r.message.split(",")[0] for r in caplog.records] == [
        "reading: 1 of 3",
        "reading: 2 of 3",
    ]
    monkeypatch.setattr(runlog, "LINE_SECONDS", 15.0)
    caplog.clear()
    assert list(progress(range(3), 3, "reading")) == [0, 1, 2]
    assert not caplog.records


def test_a_log_that_cannot_be_written_leaves_no_traceback(run, capsys):
    def main(options: Options, record: Record) -> int:
        for number in range(200):
            log.info("line %d of many", number)
        return 0

    with full_disk(200):
        assert run(main) == 3  # the record cannot be written either
    said = capsys.readouterr()
    assert "line 199 of many" in said.out and "the run record could not be written" in said.out
    assert "Traceback" not in said.out + said.err


@pytest.mark.parametrize(
    ("code", "kept"), [(EXIT_DONE, True), (EXIT_INTERNAL, True), (EXIT_INPUT, False)]
)
def test_a_start_that_failed_leaves_no_folder_that_looks_like_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, kept: bool
):
    """An internal error leaves its log, which is asked for in a report."""
    run_folder = tmp_path / "model" / "mistyped"
    monkeypatch.setattr("sys.argv", ["stage.py", "--folder", str(run_folder)])
    log.handlers.clear()
    assert run_stage("stage", Options, lambda options, record: code, None) == code
    assert (tmp_path / "model").exists() == kept
    if kept:
        assert len(list((run_folder / "runs").iterdir())) == 2


def test_a_start_that_failed_takes_nothing_away_that_was_there_or_was_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    run_folder = tmp_path / "run"
    monkeypatch.setattr("sys.argv", ["stage.py", "--folder", str(run_folder)])

    def made(options: Options, record: Record) -> int:
        (run_folder / "half.txt").touch()
        return EXIT_INPUT

    for main in (made, lambda options, record: EXIT_INPUT):
        log.handlers.clear()
        run_stage("stage", Options, main, None)
        assert (run_folder / "half.txt").exists()
    assert len(list((run_folder / "runs").iterdir())) == 4


def test_where_the_system_tells_no_memory_the_record_says_so(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(runlog, "resource", None)
    run(lambda options, record: 0)
    assert records(tmp_path)[0]["peak_memory_mib"] == "not available on this system"
