"""The spread of runs and folds: in numbers, and as tools/seeds.py prints it."""

import json

import numpy as np
import pytest

from intracranial.artifacts import FoldPaths
from intracranial.statistics.spread import spread
from tests.evaluation.test_scored_runs import write_run, write_trained
from tests.schema import assert_documented
from tests.tiny_runs import call_stage, run_tool


def test_values_that_do_not_exist_are_left_out():
    found = spread([0.7, None, 0.8, 0.9])
    assert found.mean == pytest.approx(0.8) and found.count == 3
    assert found.standard_deviation == pytest.approx(np.std([0.7, 0.8, 0.9], ddof=1))
    assert (found.min, found.max) == (0.7, 0.9)
    assert spread([0.7]).standard_deviation is None
    assert spread([None]) is None


def tool(*flags):
    return run_tool("seeds", *flags)


def test_the_tool_prints_and_saves_the_spread_of_several_runs(tmp_path):
    for seed, name in enumerate("abc"):
        optimistic = "selected on this fold" if name == "b" else None
        write_run(FoldPaths(tmp_path, name, 0), seed=seed, noise=0.1, optimistic=optimistic)
        write_trained(FoldPaths(tmp_path, name, 0), seed=seed)
    done = tool("a", "b", "c", "--model_dir", tmp_path)
    assert done.code == 0, done.text
    found = json.loads((tmp_path / "a" / "fold-0" / "end_to_end_seeds.json").read_text())
    assert_documented(found, "seeds")
    row = found["scores"]["weighted AUC"]
    assert len(row["values"]) == 3 and row["spread"]["standard_deviation"] > 0
    assert f"{row['spread']['mean']:.3f}" in done.text.splitlines()[1]
    assert found["optimistic"] == {"a": None, "b": "selected on this fold", "c": None}
    assert "the figures of b are not independent: selected on this fold" in done.text


def test_runs_on_other_series_or_splits_are_refused(tmp_path):
    write_run(FoldPaths(tmp_path, "a", 0))
    write_run(FoldPaths(tmp_path, "other", 0), split="t")
    write_run(FoldPaths(tmp_path, "fewer", 0), rows=slice(60))
    for name in ("other", "fewer"):
        done = tool("a", name, "--model_dir", tmp_path)
        assert done.code == 3 and "not scored on the same series" in done.text
    write_run(FoldPaths(tmp_path, "b", 0))
    for name in "ab":
        write_trained(FoldPaths(tmp_path, name, 0))
    done = tool("a", "b", "--model_dir", tmp_path, "--out_file", "LICENSE/x.json")
    assert done.code == 3 and done.text.startswith("seeds.py: ")
    assert len(done.text.splitlines()) == 1
    done = tool("a", "a", "--model_dir", tmp_path)
    assert done.code == 2 and "two different runs" in done.text


def test_runs_that_differ_in_more_than_the_seed_are_refused_with_the_difference(tmp_path):
    for seed, name in enumerate("abc"):
        write_run(FoldPaths(tmp_path, name, 0), seed=seed)
        write_trained(FoldPaths(tmp_path, name, 0), seed=seed, lr=0.2 if name == "c" else 0.1)
    assert tool("a", "b", "--model_dir", tmp_path).code == 0
    done = tool("a", "b", "c", "--model_dir", tmp_path)
    assert done.code == 3 and "a and c differ in more than their seed (a -> c):" in done.text
    assert "stage1 of fold 0, lr: 0.1 -> 0.2" in done.text and "seed:" not in done.text


@pytest.mark.parametrize("stage", ["eval_stage1", "eval_stage2", "eval_end_to_end"])
def test_runs_with_other_seeds_are_looked_for_before_anything_is_scored(tmp_path, stage):
    places = ["--data_dir", str(tmp_path / "no_data"), "--model_dir", str(tmp_path)]
    said = call_stage(stage, *places, "--run", "a", "--fold", "all", "--seed_runs", "nosuch")
    assert said.code == 3 and "nosuch: there is neither a run" in said.text
    assert "no_data" not in said.text


def test_a_fold_that_a_run_does_not_have_is_a_usage_error(tmp_path):
    for name in ("a", "b"):
        write_run(FoldPaths(tmp_path, name, 0))
    done = tool("a", "b", "--fold", "9", "--model_dir", tmp_path)
    assert done.code == 2 and "fold 9: " in done.text
    (tmp_path / "series").mkdir()
    places = ["--model_dir", tmp_path, "--series_dir", tmp_path / "series", "--out_dir", tmp_path]
    said = call_stage("eval_end_to_end", "--run", "a", "--fold", "9", *map(str, places))
    assert said.code == 2 and "fold 9: " in said.text
    said = call_stage("eval_end_to_end", "--run", "nosuch", "--fold", "9", *map(str, places))
    assert said.code == 3 and "nosuch is not a folder" in said.text
