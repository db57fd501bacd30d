"""tools/compare.py on files: runs by name, folders, all folds, and what is missing or wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest

from intracranial.artifacts import FoldPaths, ScoredFolderPaths, write_csv, write_json
from intracranial.errors import InputError, MissingArtifact, UsageError
from intracranial.evaluation.predictions import GROUP_COLUMN, prediction_rows, read_predictions
from intracranial.evaluation.scored_runs import load_run
from intracranial.jsonable import to_json
from intracranial.provenance import Request, write_manifest
from intracranial.tasks import RSNA_2025 as TASK
from intracranial.tasks import SERIES_COLUMN
from tests.evaluation.samples import (
    metrics_of,
    metrics_of_all_folds,
    results,
    stage_metrics_of,
)
from tests.schema import assert_documented
from tests.tiny_runs import run_tool


def write_run(
    paths, stage="end_to_end", seed=0, rows=slice(None), split="s", noise=0.0, optimistic=None
):
    """Predictions and metrics of 120 series, as an evaluation leaves them."""
    targets, probabilities, _ = results(120)
    rng = np.random.default_rng(seed)
    probabilities = np.clip(probabilities + noise * rng.normal(size=probabilities.shape), 0, 1)
    keys = [{SERIES_COLUMN: f"1.2.{k}", GROUP_COLUMN: f"p{max(k, 1)}"} for k in range(120)]
    columns, table = prediction_rows(TASK, keys[rows], targets[rows], probabilities[rows])
    predictions = paths.predictions
    write_csv(predictions(stage) if callable(predictions) else predictions, columns, table)
    metrics = paths.metrics(stage) if callable(paths.metrics) else paths.metrics
    found = metrics_of(*results(20))
    intervals = replace(found.intervals, optimistic=optimistic)
    found = replace(found, intervals=intervals, split_hash=split)
    content = to_json(found if stage == "end_to_end" else stage_metrics_of(found))
    write_manifest(metrics, Request(f"{stage}_metrics", {}, {}), complete=True, content=content)


def write_trained(paths, seed=0, lr=0.1):
    """What weights and features say of the options that they were made with."""
    for kind in ("stage1", "features", "stage2"):
        path = paths.features_manifest if kind == "features" else paths.manifest(kind)
        write_manifest(path, Request(kind, {"seed": seed, "lr": lr}, {}), complete=True)


def tool(*flags):
    return run_tool("compare", *flags)


def test_the_tool_compares_two_runs_and_saves_every_figure(tmp_path):
    for name, noise in (("a", 0.0), ("b", 0.1)):
        write_run(FoldPaths(tmp_path, name, 0), noise=noise)
    done = tool("a", "b", "--model_dir", tmp_path, "--resamples", 200)
    assert done.code == 0, done.text
    found = json.loads((tmp_path / "a" / "fold-0" / "end_to_end_against_b.json").read_text())
    assert_documented(found, "comparison")
    assert found["runs"] == ["a", "b"] and found["series"] == 120 and found["groups"] == 119
    change = found["score"]["difference"]
    assert f"{change['value']:+.3f}" in done.text
    assert f"{change['low']:+.3f} to {change['high']:+.3f}" in done.text


def test_folders_that_were_scored_are_compared_by_their_series(tmp_path):
    for name in ("a", "b"):
        write_run(ScoredFolderPaths(tmp_path / name), split=None)
    target = tmp_path / "out.json"
    done = tool(tmp_path / "a", tmp_path / "b", "--resamples", 200, "--out_file", target)
    assert done.code == 0, done.text
    assert json.loads(target.read_text())["score"]["p"] == 1


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("a", "nothing"), 3, "neither a run"),
        (("a", "other"), 3, "not scored on the same series"),
        (("a", "a", "--fold", "7"), 2, "fold 7: "),
        (("a", "a", "--fold", "final"), 2, "--fold final"),
        (("a", "a", "--fold", "all"), 3, "eval_end_to_end.py --fold all"),
        (("a", "a", "--stage", "stage1"), 3, "eval_stage1.py"),
        (("a", "a", "--resamples", "5"), 2, "--resamples 5"),
        (("a", "a", "--seed", "-1"), 2, "--seed -1"),
        (("a", "a", "--resamples", "100", "--out_file", "LICENSE/x.json"), 3, "LICENSE"),
        (("a",), 2, "RUN_B"),
    ],
)
def test_bad_arguments_end_with_a_code_and_a_sentence(tmp_path, flags, code, words):
    write_run(FoldPaths(tmp_path, "a", 0))
    write_run(FoldPaths(tmp_path, "other", 0), rows=slice(20), split="t")
    done = tool(*flags, "--model_dir", tmp_path)
    assert done.code == code and words in done.text
    assert "Traceback" not in done.text and not list(tmp_path.rglob("*against*"))


def test_all_folds_are_pooled(tmp_path):
    for fold, rows in enumerate((slice(60), slice(60, 120))):
        write_run(FoldPaths(tmp_path, "a", fold), "stage2", rows=rows)
    table = metrics_of_all_folds(metrics_of(*results(20), "this fold"), count=2)
    write_json(FoldPaths(tmp_path, "a", "all").metrics("stage2"), to_json(table))
    found, folder = load_run("a", tmp_path, "stage2", "all", TASK)
    assert (
        len(found.keys) == 120
        and found.split_hash == "s"
        and "selected on this fold" in found.optimistic
    )
    assert folder == tmp_path / "a" / "all"


def test_spots_are_told_apart_by_their_slice(tmp_path):
    paths = FoldPaths(tmp_path, "a", 0)
    write_run(paths, "stage1")
    lines = paths.predictions("stage1").read_text().splitlines()
    rows = [f"{line},{number % 3}" for number, line in enumerate(lines[1:])]
    paths.predictions("stage1").write_text("\n".join([lines[0] + ",index", *rows]))
    found, _ = load_run("a", tmp_path, "stage1", "0", TASK)
    assert found.keys[:2].tolist() == ["1.2.0 0", "1.2.1 1"]
    assert found.sample.uids[0] == "1.2.0"


def test_predictions_without_labels_cannot_be_compared(tmp_path):
    paths = FoldPaths(tmp_path, "a", 0)
    write_run(paths)
    text = paths.predictions("end_to_end").read_text().replace("true ", "")
    paths.predictions("end_to_end").write_text(text)
    with pytest.raises(InputError, match="no labels to compare by"):
        load_run("a", tmp_path, "end_to_end", "0", TASK)
    with pytest.raises(InputError, match=r"no column 'true Left Infra.*14 are missing"):
        read_predictions(paths.predictions("end_to_end"), TASK, "eval_end_to_end.py")


def test_a_cell_that_is_no_number_is_named_by_line_and_column(tmp_path):
    paths = FoldPaths(tmp_path, "a", 0)
    write_run(paths)
    lines = paths.predictions("end_to_end").read_text().splitlines()
    cells = lines[3].split(",")
    cells[2] = "nan"
    lines[3] = ",".join(cells)
    paths.predictions("end_to_end").write_text("\n".join(lines))
    with pytest.raises(
        InputError, match=r"line 4, column Left Infraclinoid.*'nan' is not a number"
    ):
        load_run("a", tmp_path, "end_to_end", "0", TASK)


def test_what_is_missing_names_the_script_that_makes_it(tmp_path):
    paths = FoldPaths(tmp_path, "a", 0)
    write_run(paths)
    paths.predictions("end_to_end").unlink()
    with pytest.raises(MissingArtifact, match=r"eval_end_to_end\.py"):
        load_run("a", tmp_path, "end_to_end", "0", TASK)
    with pytest.raises(UsageError, match="--fold final"):
        load_run("a", tmp_path, "end_to_end", "final", TASK)
