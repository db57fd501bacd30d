"""create_folds.py as a command: exit codes, reruns, and what it says."""

import json
import sys
from pathlib import Path

import pytest

from intracranial.errors import EXIT_DONE, EXIT_INPUT, EXIT_STALE, EXIT_USAGE
from intracranial.options.folds import CreateFoldsOptions
from intracranial.runlog import log, run_stage
from intracranial.splits.split_files import load_split
from intracranial.stages import create_folds
from tests.sampling.fold_data import TinyData, cohort


@pytest.fixture
def data(tmp_path: Path) -> TinyData:
    return cohort(tmp_path / "data").write()


@pytest.fixture
def run(data: TinyData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*flags: str) -> tuple[int, str]:
        for handler in list(log.handlers):  # its stream is that of another test
            log.removeHandler(handler)
        argv = ["create_folds.py", "--data_dir", str(data.root), *flags]
        monkeypatch.setattr(sys, "argv", argv)
        code = run_stage(
            "create_folds", CreateFoldsOptions, create_folds.main, create_folds.__doc__
        )
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


def test_a_rerun_with_nothing_changed_does_nothing_and_says_so(data: TinyData, run):
    code, said = run("--folds", "4")
    assert code == EXIT_DONE and "spots +" in said
    before = data.paths.folds_manifest.stat().st_mtime_ns
    code, said = run("--folds", "4")
    assert code == EXIT_DONE and "nothing to do" in said
    assert data.paths.folds_manifest.stat().st_mtime_ns == before


def test_another_seed_is_refused_until_overwrite_rebuilds_this_split_only(data: TinyData, run):
    run("--folds", "4")
    run("--folds", "5")
    other = data.paths.folds_csv(5).read_bytes()
    code, said = run("--folds", "4", "--seed", "1")
    assert code == EXIT_STALE
    assert "option seed: 0 -> 1" in said and "--folds 4" in said
    first = load_split(data.paths, 4).split_hash
    assert run("--folds", "4", "--seed", "1", "--overwrite")[0] == EXIT_DONE
    assert load_split(data.paths, 4).split_hash != first
    assert data.paths.folds_csv(5).read_bytes() == other
    assert load_split(data.paths, 5).folds == 5


def test_changed_localizers_and_changed_caches_are_refused(data: TinyData, run):
    run("--folds", "4")
    data.mark("1.2.1.0", 1, "Basilar Tip")
    data.write()
    code, said = run("--folds", "4")
    assert code == EXIT_STALE and "input train_localizers.csv" in said
    data.localizers.pop()
    data.write(preprocess="second")
    code, said = run("--folds", "4")
    assert code == EXIT_STALE and "input preprocess" in said


def test_rows_left_out_are_in_the_log_and_in_the_record(data: TinyData, run):
    line = data.mark("1.2.1.0", 999, "Left Infraclinoid Internal Carotid Artery")
    for _ in range(30):
        data.mark("0.0", 0, "Basilar Tip")
    data.write()
    code, said = run("--folds", "4")
    assert code == EXIT_DONE
    assert "31 rows of train_localizers.csv were left out" in said
    assert "30  series is not in train_meta.csv (unknown_series)" in said
    assert f"line {line}: SOPInstanceUID is in no slice" in said
    assert "and 11 more" in said
    (record,) = data.paths.records.glob("*.json")
    counts = json.loads(record.read_text())["counts"]
    assert len(counts["left out localizers"]) == 31
    assert counts["left out localizers"][0]["line"] == line
    assert counts["localizers left out by reason"] == {"unknown_series": 30, "unknown_slice": 1}


def test_where_no_row_can_be_used_the_first_of_each_kind_is_shown(data: TinyData, run):
    for row in data.localizers:
        row["location"] = row["location"].lower()
    data.localizers[3]["SeriesInstanceUID"] = "7.7"
    data.write()
    code, said = run("--folds", "4")
    assert code == EXIT_INPUT and "no row can be used" in said
    assert "line 2: location is not one of the task's: " in said and "(nearest: " in said
    assert "line 5: series is not in train_meta.csv: 7.7" in said
    assert said.count("line ") == 2


def test_missing_tables_are_named_with_what_provides_them(data: TinyData, run):
    data.paths.localizers_csv.unlink()
    code, said = run()
    assert code == EXIT_INPUT
    assert "train_localizers.csv is missing" in said and "findings' centres" in said
    data.paths.preprocess_manifest.unlink()
    code, said = run()
    assert code == EXIT_INPUT and "run preprocess_data.py first" in said


@pytest.mark.parametrize(
    "flags", [("--folds", "1"), ("--seed", "-1"), ("--negatives_per_positive", "0.5")]
)
def test_bad_values_are_usage_errors_that_quote_the_flag(run, flags: tuple[str, str]):
    code, said = run(*flags)
    assert code == EXIT_USAGE and " ".join(flags) in said


def test_more_folds_than_patients_is_a_usage_error(run):
    code, said = run("--folds", "41")
    assert code == EXIT_USAGE and "--folds 41: there are only 40 patient groups" in said


def test_a_partial_cache_makes_a_partial_split_that_says_so(data: TinyData, run):
    data.write(partial="--limit 5")
    code, said = run("--folds", "4")
    assert code == EXIT_DONE and "--limit 5" in said
    assert load_split(data.paths, 4).partial == "--limit 5"
