"""Runs are combined row by row, and fitted weights are judged on rows that they have not seen."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from intracranial.artifacts import ScoredFolderPaths
from intracranial.ensembles.combination import Gain, align, combine, fit_weights, format_ensemble
from intracranial.errors import InputError, UsageError
from intracranial.statistics.comparison import Predictions, compare
from intracranial.statistics.crossfit import Crossfit, over_folds, over_patients
from intracranial.statistics.intervals import Settings, table_with_intervals
from intracranial.statistics.sample import Sample
from intracranial.tasks import RSNA_2025
from tests.challenge import LABELS, OVERALL
from tests.evaluation.test_scored_runs import write_run
from tests.schema import assert_documented
from tests.tiny_runs import Place, read, run_tool

TASK = RSNA_2025
FEW = Settings(100)


def a_truth(n: int = 200, seed: int = 0) -> np.ndarray:
    targets = (np.random.default_rng(seed).random((n, 14)) < 0.1).astype(int)
    targets[:, OVERALL] = targets[:, :13].any(axis=1)
    return targets


def a_run(name: str, skill: float, targets: np.ndarray | None = None, seed: int = 1) -> Predictions:
    targets = a_truth() if targets is None else targets
    noise = np.random.default_rng(seed).normal(0, 1, targets.shape)
    probabilities = 1 / (1 + np.exp(-(skill * (2 * targets - 1) + noise)))
    uids = np.array([f"1.2.{row}" for row in range(len(targets))])
    return Predictions(name, LABELS, uids, Sample(targets, probabilities, uids, uids), "hash", None)


def patients(run: Predictions, seed: int = 0) -> Crossfit:
    return over_patients(run.sample, run.sample.targets[:, OVERALL], seed)


def test_rows_are_joined_by_series_whatever_their_order():
    first, second = a_run("a", 1), a_run("b", 1, seed=2)
    shuffled = np.random.default_rng(0).permutation(200)
    moved = replace(second, keys=second.keys[shuffled], sample=second.sample.rows(shuffled))
    _, back = align([first, moved])
    assert np.array_equal(back.sample.probabilities, second.sample.probabilities)


def test_the_mean_is_weighted_and_ranks_do_not_care_for_scale():
    first, second = a_run("a", 1), a_run("b", 1, seed=2)
    found = combine(TASK, [first, second], [3, 1], patients(first), FEW).probabilities
    expected = 0.75 * first.sample.probabilities + 0.25 * second.sample.probabilities
    assert np.allclose(found["mean"], expected)
    squeezed = replace(
        second, sample=replace(second.sample, probabilities=second.sample.probabilities**4)
    )
    again = combine(TASK, [first, squeezed], [3, 1], patients(first), FEW).probabilities
    assert np.allclose(found["rank"], again["rank"])
    assert not np.allclose(found["mean"], again["mean"])


def test_fitted_weights_are_those_of_a_general_optimiser():
    runs = [a_run("a", 2), a_run("b", 1, seed=2), a_run("c", 0.0, seed=3)]
    stacked = np.stack([run.sample.probabilities for run in runs])
    targets = a_truth()

    def loss(weights):
        mixed = np.einsum("r,rnl->nl", weights, stacked)
        return -np.mean(np.log(np.where(targets == 1, mixed, 1 - mixed)))

    best = minimize(
        loss,
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
        options={"ftol": 1e-12},
    )
    weights = fit_weights(targets, stacked)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert loss(weights) <= best.fun + 1e-7
    assert weights == pytest.approx(best.x, abs=2e-3)
    assert weights[0] > weights[1] > weights[2]


def test_what_is_fitted_on_a_part_has_not_seen_it():
    first = a_run("a", 1)
    # the second run knows the truth of the second half and nothing of the first
    half = np.arange(200) >= 100
    knowing = np.where(half[:, None], first.sample.targets * 0.98 + 0.01, 0.5)
    second = replace(a_run("b", 1), sample=replace(first.sample, probabilities=knowing))
    crossfit = over_folds(first.sample, half.astype(int))
    table = combine(TASK, [first, second], None, crossfit, FEW).table.fitted
    on_second_half, on_first_half = (parts[1] for parts in table.weights_of_parts)
    assert on_second_half > 0.9  # rows of fold 0 take what fold 1 says
    assert on_first_half < 0.6


def test_optimism_is_what_fitting_on_the_scored_rows_would_add():
    targets = a_truth(40)
    runs = [a_run(str(k), 0.2, targets, seed=k) for k in range(8)]
    found = combine(TASK, runs, None, patients(runs[0]), FEW)
    optimism = found.table.fitted.optimism
    assert optimism > 0
    assert f"{optimism:+.3f} more" in format_ensemble(found.table)


def test_each_run_keeps_the_reason_why_its_score_is_too_good():
    first = a_run("a", 1)
    second = replace(a_run("b", 1, seed=2), optimistic="selected on this fold")
    found = combine(TASK, align([first, second]), None, patients(first), FEW).table
    assert found.optimistic == {"a": None, "b": "selected on this fold"}
    assert "the figures of b are not independent: selected on" in format_ensemble(found)


def test_every_score_has_the_interval_that_an_evaluation_of_its_rows_has():
    runs = align([a_run("a", 0.5), a_run("b", 0.5, seed=2)])
    found = combine(TASK, runs, None, patients(runs[0]), FEW)
    assert list(found.table.score) == ["a", "b", "mean", "rank", "fitted"]
    predicted = {run.name: run.sample.probabilities for run in runs} | found.probabilities
    for name, probabilities in predicted.items():
        sample = replace(runs[0].sample, probabilities=probabilities)
        expected = table_with_intervals(TASK, sample, FEW)[0].score
        assert found.table.score[name] == expected
        assert expected.low < expected.value < expected.high
        assert f"{expected.low:.3f} to {expected.high:.3f}" in format_ensemble(found.table)
    assert found.table.series == found.table.groups == 200
    assert found.table.intervals == Settings(100, 0)


def test_each_method_is_compared_with_the_best_single_run_on_the_same_rows():
    runs = align([a_run("weak", 0.1), a_run("best", 0.6, seed=2), a_run("good", 0.5, seed=3)])
    found = combine(TASK, runs, None, patients(runs[0]), FEW)
    against = found.table.against_best
    assert against.run == "best" and list(against.methods) == ["mean", "rank", "fitted"]
    for name, said in against.methods.items():
        sample = replace(runs[1].sample, probabilities=found.probabilities[name])
        expected = compare(TASK, runs[1], replace(runs[1], name=name, sample=sample), FEW)
        expected = expected.score
        assert said == Gain(expected.difference, expected.p)
        words = f"{name} minus best, the best run: {said.difference.value:+.3f}"
        assert words in format_ensemble(found.table)


def test_rows_that_one_run_takes_for_one_patient_s_are_joined():
    first, second = a_run("a", 0.5), a_run("b", 0.5, seed=2)
    apart = combine(TASK, align([first, second]), None, patients(first), FEW).table
    pairs = np.array([f"p{row // 2}" for row in range(200)])
    joined = align([first, replace(second, sample=replace(second.sample, groups=pairs))])
    assert all(len(set(run.sample.groups)) == 100 for run in joined)
    table = combine(TASK, joined, None, patients(joined[0]), FEW).table
    assert (apart.groups, table.groups) == (200, 100)


def test_too_few_patients_give_scores_without_intervals_and_nothing_fitted():
    targets = np.zeros((4, 14), dtype=int)
    targets[0, [0, OVERALL]] = 1
    runs = [a_run("a", 1, targets), a_run("b", 1, targets, seed=2)]
    table = combine(TASK, runs, None, patients(runs[0]), FEW).table
    assert table.fitted is None and table.score["mean"].low is None
    assert table.rare == (LABELS[0], TASK.overall) and len(table.left_out) == 12
    said = format_ensemble(table)
    assert "(no interval)" in said and "no weights were fitted: nothing: fewer than two" in said


def test_rows_without_a_score_have_no_best_run():
    targets = np.zeros((4, 14), dtype=int)
    runs = [a_run("a", 1, targets), a_run("b", 1, targets, seed=2)]
    table = combine(TASK, runs, None, patients(runs[0]), FEW).table
    assert table.against_best is None and "best run" not in format_ensemble(table)


@pytest.mark.parametrize("splits", [("s", "s"), (None, None), ("s", None)])
def test_runs_of_one_split_or_a_folder_are_combined_when_their_rows_are_the_same(splits):
    first, second = (
        replace(a_run(name, 1, seed=k), split_hash=split)
        for k, (name, split) in enumerate(zip("ab", splits, strict=True))
    )
    assert len(align([first, second])) == 2
    other = replace(second, keys=np.array([f"9.{row}" for row in range(200)]))
    with pytest.raises(InputError, match=rf"splits {splits[0] or 'none'} and"):
        align([first, other])


def test_held_out_rows_of_two_splits_are_not_combined():
    first, second = (replace(a_run(name, 1), split_hash=name * 2) for name in "ab")
    with pytest.raises(InputError, match=r"different splits \(aa, bb\)"):
        align([first, second])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": LABELS[:-1]}, "different labels"),
        (
            {"keys": np.array([f"9.{row}" for row in range(200)])},
            "different rows: 400 .*one folder",
        ),
    ],
)
def test_runs_that_do_not_fit_are_refused(change, words: str):
    with pytest.raises(InputError, match=words):
        align([a_run("a", 1), replace(a_run("b", 1), **change)])


def test_another_truth_and_wrong_weights_are_refused():
    first = a_run("a", 1)
    with pytest.raises(InputError, match="disagree about the labels"):
        align([first, a_run("b", 1, a_truth(seed=5))])
    for weights in ([1], [1, -1], [0, 0]):
        with pytest.raises(UsageError, match="as many weights"):
            combine(TASK, [first, a_run("b", 1)], weights, patients(first), FEW)


def test_too_few_runs_and_names_that_mean_two_things_are_usage_errors():
    with pytest.raises(UsageError, match="two runs or more"):
        align([a_run("a", 1)])
    for name in ("a", "rank"):
        with pytest.raises(UsageError, match="names of their own"):
            align([a_run("a", 1), a_run(name, 1)])


@pytest.mark.parametrize(
    "flags", [("--weights", "nan", "1"), ("--seed", "-1"), ("--resamples", "5")]
)
def test_flags_that_no_ensemble_can_use_are_usage_errors(tmp_path, flags: tuple[str, ...]):
    done = run_tool("ensemble", "--out_dir", tmp_path, "a", "b", *flags)
    assert done.code == 2 and " ".join(flags) in done.text
    assert "Traceback" not in done.text


def test_the_tool_combines_two_runs(tiny_copy: Place, tmp_path):
    (tiny_copy.model_dir / "tiny").rename(tiny_copy.model_dir / "one")
    shutil.copytree(tiny_copy.model_dir / "one", tiny_copy.model_dir / "two")
    flags = ["--model_dir", tiny_copy.model_dir, "--out_dir", tmp_path / "out"]
    done = run_tool("ensemble", "one", "two", *flags)
    assert done.code == 0, done.text
    table = read(tmp_path / "out" / "ensemble.json")
    assert_documented(table, "ensemble")
    scores = table["score"]
    assert table["stage"] == "end_to_end" and table["intervals"]["resamples"] == 2000
    assert scores["mean"] == scores["one"] == scores["two"]
    mean = pd.read_csv(tmp_path / "out" / "mean_predictions.csv", index_col=0)
    one = pd.read_csv(tiny_copy.fold(run="one").predictions("end_to_end"), index_col=0)
    assert np.allclose(mean.loc[one.index, list(LABELS)], one[list(LABELS)])
    done = run_tool("ensemble", "one", *flags)
    assert done.code == 2 and "two runs or more" in done.text
    done = run_tool("ensemble", "one", "two", *flags, "--weights", "1")
    assert done.code == 2 and "2 runs need as many weights" in done.text


def test_a_folder_scored_by_runs_of_two_splits_is_combined_and_what_was_seen_is_said(tmp_path):
    seen = "7 scored series were in training"
    for name, noise, optimistic in (("a", 0.0, None), ("b", 0.1, seen)):
        paths = ScoredFolderPaths(tmp_path / name)
        write_run(paths, split=None, noise=noise, optimistic=optimistic)
    places = [tmp_path / "a", tmp_path / "b", "--out_dir", tmp_path / "out"]
    flags = ["--resamples", "100", *places]
    done = run_tool("ensemble", *flags)
    assert done.code == 0, done.text
    assert f"b are not independent: {seen}" in done.text
    table = read(tmp_path / "out" / "ensemble.json")
    assert list(table["optimistic"].values()) == [None, seen]
    write_run(ScoredFolderPaths(tmp_path / "b"), split=None, rows=slice(20))
    done = run_tool("ensemble", *flags)
    assert done.code == 3 and "100 are in one of them only" in done.text
