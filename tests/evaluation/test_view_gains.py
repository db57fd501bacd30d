"""What each view and each step adds: against the figures of the averages made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from intracranial.evaluation.view_gains import log_view_gains, view_gains
from intracranial.evaluation.views import Views
from intracranial.metrics import Cell
from intracranial.report.page import render
from intracranial.statistics.comparison import Predictions, compare
from intracranial.statistics.intervals import Settings, table_with_intervals
from tests.evaluation.samples import a_report, metrics_of, results
from tests.statistics.test_intervals import TASK, a_sample

QUICK = Settings(200)
STEPS = (1, 2)


def views(sample, by_view, *names, steps=STEPS):
    return Views(sample.probabilities, by_view, names, steps)


@pytest.fixture(scope="module")
def sample():
    return a_sample(rare=12)


@pytest.fixture(scope="module")
def seen(sample):
    """The views of every series: step 2 and the flip know better, and some series lack the flip."""
    rng = np.random.default_rng(3)

    def guess(row, noise):
        return np.clip(0.4 + 0.2 * row + rng.normal(0, noise, len(row)), 0, 1)

    found = []
    for number, row in enumerate(sample.targets):
        views = {"plain": np.stack([guess(row, 0.3), guess(row, 0.2)])}
        if number % 4:
            views["flip"] = np.stack([guess(row, 0.1), guess(row, 0.1)])
        found.append({**views, "crop": np.stack([guess(row, 0.3), guess(row, 0.3)])})
    return found


@pytest.fixture(scope="module")
def table(sample, seen):
    rows = view_gains(TASK, sample, views(sample, seen, "flip", "crop"), QUICK)
    return {row.name: row for row in rows}


def test_there_is_a_row_for_the_plain_view_one_step_each_view_and_all_of_them(table):
    assert list(table) == [
        "plain",
        "plain, step 1 alone",
        "plain and flip",
        "plain and crop",
        "all views",
    ]
    assert table["plain, step 1 alone"].steps == (1,) and table["all views"].steps == (1, 2)
    assert table["all views"].views == ("plain", "flip", "crop")
    assert table["plain"].difference is None and table["plain"].p is None


def test_a_row_is_the_score_of_the_mean_and_its_paired_difference_to_the_plain_view(
    sample, seen, table
):
    plain = replace(sample, probabilities=np.stack([one["plain"].mean(axis=0) for one in seen]))
    mean = [
        np.mean([one[view].mean(axis=0) for view in ("plain", "flip") if view in one], axis=0)
        for one in seen
    ]
    flipped = replace(sample, probabilities=np.stack(mean))
    row = table["plain and flip"]
    assert row.score == table_with_intervals(TASK, flipped, QUICK)[0].score
    runs = [
        Predictions(name, TASK.labels, one.uids, one, None, None)
        for name, one in (("a", plain), ("b", flipped))
    ]
    expected = compare(TASK, *runs, QUICK).score
    assert row.difference == expected.difference and row.p == expected.p
    assert row.difference.low > 0  # the flip was made to know better


def test_one_step_alone_is_compared_with_all_steps(table):
    row = table["plain, step 1 alone"]
    change = row.score.value - table["plain"].score.value
    assert row.difference.value == pytest.approx(change) and change < 0


def test_series_that_lack_a_view_are_counted(sample, table):
    assert table["plain and flip"].series == table["all views"].series == 60
    assert table["plain and crop"].series == table["plain"].series == len(sample) == 80


def test_without_views_the_steps_have_their_row_and_with_one_step_there_is_no_table(sample, seen):
    rows = view_gains(TASK, sample, views(sample, seen), QUICK)
    assert [row.name for row in rows] == ["plain", "plain, step 1 alone"]
    single = [{"plain": one["plain"][:1]} for one in seen]
    assert view_gains(TASK, sample, views(sample, single, steps=(1,)), QUICK) is None


def test_without_resamples_there_are_differences_without_intervals(sample, seen, table):
    rows = view_gains(TASK, sample, views(sample, seen, "flip"), Settings(0))
    assert [row.name for row in rows][-1] == "plain and flip"
    value = table["plain and flip"].difference.value
    assert rows[-1].difference == Cell(pytest.approx(value), None, None)
    assert rows[-1].p is None


def test_what_makes_the_figures_too_good_stays_with_them(sample, seen, table, caplog):
    assert all(row.optimistic is None for row in table.values())
    reason = "the weights were selected on this fold"
    rows = view_gains(TASK, sample, views(sample, seen, "flip"), QUICK, reason)
    assert {row.optimistic for row in rows} == {reason}
    with caplog.at_level("INFO", logger="intracranial"):
        log_view_gains(rows)
    assert f"none of these is independent: {reason}" in caplog.text


def test_the_log_and_the_page_show_every_row(table, caplog):
    with caplog.at_level("INFO", logger="intracranial"):
        log_view_gains(list(table.values()))
    words = caplog.text
    assert all(name in words for name in table)
    low = table["plain and flip"].difference.low
    assert f"{low:+.3f} to" in words
    targets, probabilities, modalities = results()
    metrics = metrics_of(targets, probabilities, modalities)
    assert "Test-time augmentation" not in render(a_report(metrics=metrics))
    page = render(a_report(metrics=replace(metrics, test_time_augmentation=tuple(table.values()))))
    assert "<h2>Test-time augmentation</h2>" in page
    assert "Plain, step 1 alone" in page and f"{low:+.3f} to" in page
    assert "are those of all views" in page
