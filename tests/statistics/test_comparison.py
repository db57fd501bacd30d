"""Paired differences: against a slow bootstrap, and what must not be compared."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from intracranial.errors import InputError
from intracranial.jsonable import to_json
from intracranial.statistics.comparison import Predictions, compare, format_comparison
from intracranial.statistics.delong import difference_p_value
from intracranial.statistics.intervals import Settings
from intracranial.statistics.sample import Sample
from tests.statistics.test_intervals import TASK, a_sample

QUICK = Settings(300)


def a_run(name="a", sample=None, split="s", labels=TASK.labels):
    sample = a_sample(rare=12) if sample is None else sample
    return Predictions(name, tuple(labels), sample.uids, sample, split, None)


def related(sample, seed=9, noise=1.0, gain=0.0):
    """Predictions of the same rows that agree with the first in part."""
    rng = np.random.default_rng(seed)
    scores = norm.ppf(sample.probabilities) + gain * sample.targets
    return replace(
        sample, probabilities=norm.cdf(scores + rng.normal(0, noise, sample.targets.shape))
    )


def test_the_difference_and_its_interval_equal_a_slow_paired_bootstrap():
    sample = a_sample(rare=12)
    other = related(sample)
    found = compare(TASK, a_run(), a_run("b", other), Settings(2000)).per_label["Any"]
    first, second = (
        roc_auc_score(sample.targets[:, 3], one.probabilities[:, 3]) for one in (sample, other)
    )
    assert found.difference.value == pytest.approx(second - first)
    rng, slow = np.random.default_rng(0), []
    for _ in range(500):
        rows = np.concatenate([rng.choice(40, 40), 40 + rng.choice(40, 40)])
        truth = sample.targets[rows, 3]
        first, second = (
            roc_auc_score(truth, one.probabilities[rows, 3]) for one in (sample, other)
        )
        slow.append(second - first)
    ends = (found.difference.low, found.difference.high)
    assert ends == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.025)
    delong = difference_p_value(
        sample.targets[:, 3], sample.probabilities[:, 3], other.probabilities[:, 3]
    )
    assert found.delong_p == pytest.approx(delong)
    assert found.p == pytest.approx(delong, abs=0.05)


def test_pairing_makes_the_interval_narrower_than_that_of_either_figure():
    sample = a_sample(rare=12)
    found = compare(TASK, a_run(), a_run("b", related(sample, noise=0.2)), QUICK)
    from intracranial.statistics.intervals import table_with_intervals

    alone = table_with_intervals(TASK, sample, QUICK)[0].score
    paired = found.score.difference
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_a_clear_gain_is_significant_and_exchanging_the_runs_turns_its_sign():
    sample = a_sample(rare=12)
    better = related(sample, noise=0.1, gain=1.0)
    found = compare(TASK, a_run(), a_run("b", better), QUICK).score
    assert found.p < 0.01 and found.difference.low > 0
    turned = compare(TASK, a_run("b", better), a_run(), QUICK).score.difference
    assert turned.value == pytest.approx(-found.difference.value)
    assert turned.low == pytest.approx(-found.difference.high)


def test_p_values_of_equally_good_runs_are_rarely_small():
    small = 0
    for seed in range(100):
        sample = a_sample(seed, rare=12)
        left, right = (related(sample, 1000 + seed + k, noise=0.7) for k in (0, 500))
        found = compare(TASK, a_run("a", left), a_run("b", right), Settings(200, seed))
        small += found.score.p < 0.05
    assert small <= 13  # 5 expected; a standard deviation of 2.2, and the bootstrap's excess


def test_a_run_does_not_differ_from_itself():
    found = compare(TASK, a_run(), a_run("b"), QUICK)
    for row in (found.score, *found.per_label.values()):
        assert row.difference.value == 0
        assert row.p == 1 and row.delong_p is None and row.difference.low is None
    json.dumps(to_json(found), allow_nan=False)


def test_the_order_of_the_rows_does_not_matter():
    sample = a_sample(rare=12)
    other = related(sample)
    shuffled = np.random.default_rng(0).permutation(80)
    plain = compare(TASK, a_run(), a_run("b", other), QUICK)
    assert compare(TASK, a_run(), a_run("b", other.rows(shuffled)), QUICK) == plain


def test_only_labels_that_both_have_are_compared():
    sample = a_sample(rare=12)
    chosen = [0, 1, 3]
    fewer = Sample(
        sample.targets[:, chosen], sample.probabilities[:, chosen], sample.uids, sample.groups
    )
    found = compare(TASK, a_run(), a_run("b", fewer, labels=("Left A", "Right A", "Any")), QUICK)
    assert found.only_one_has == ("Rare",) and list(found.per_label) == [
        "Left A",
        "Right A",
        "Any",
    ]
    values = [found.per_label[name].first for name in ("Left A", "Right A")]
    assert found.others_mean.first == pytest.approx(np.mean(values))
    assert "not compared: Rare" in format_comparison(TASK, found)
    with pytest.raises(InputError, match="do not both predict Any"):
        compare(TASK, a_run(), a_run("b", fewer, labels=("Left A", "Right A", "Rare")), QUICK)


def test_rare_labels_and_labels_of_one_class_have_no_p_value_and_say_why():
    sample = a_sample(rare=3)
    found = compare(TASK, a_run("a", sample), a_run("b", related(sample)), QUICK)
    rare = found.per_label["Rare"]
    assert rare.difference.value is not None and rare.p is None
    assert rare.no_interval == "fewer than 5 patients with it"
    assert found.rare == ("Rare",) and found.score.p is not None
    words = "fewer than 5 patients have Rare: intervals and p of the means are too small"
    assert words in format_comparison(TASK, found)
    sample = a_sample(rare=0)
    found = compare(TASK, a_run("a", sample), a_run("b", related(sample)), QUICK)
    assert found.rare == () and "fewer than" not in format_comparison(TASK, found)
    assert found.left_out == ("Rare",) and found.per_label["Rare"].first is None
    assert found.score.p is not None
    text = format_comparison(TASK, found)
    assert "left out (one class only): Rare" in text and "nan" not in text.lower()


def test_runs_on_different_series_are_refused_unless_they_share_the_split(caplog):
    sample = a_sample(rare=12)
    part = sample.rows(np.arange(80) != 5)
    for split in (None, "t"):
        with pytest.raises(InputError, match=r"1 are in one only \(first: 1\.5\)"):
            compare(TASK, a_run(), a_run("b", part, split), QUICK)
    with caplog.at_level("WARNING", logger="intracranial"):
        found = compare(TASK, a_run(), a_run("b", part), QUICK)
    assert found.series == 79 and "1 rows that only one of the runs has" in caplog.text


def test_runs_on_the_same_series_are_compared_whatever_their_splits():
    assert compare(TASK, a_run(split=None), a_run("b", split="t"), QUICK).series == 80


def test_nothing_in_common_is_refused_even_within_one_split():
    sample = a_sample(rare=12)
    other = replace(sample, uids=np.array([f"2.{k}" for k in range(80)]))
    with pytest.raises(InputError, match="not scored on the same series"):
        compare(TASK, a_run(), a_run("b", other), QUICK)


def test_runs_that_disagree_about_the_truth_are_refused():
    sample = a_sample(rare=12)
    targets = sample.targets.copy()
    targets[7, 1] = 1 - targets[7, 1]
    with pytest.raises(InputError, match=r"disagree about Right A in 1 rows \(first: 1\.7\)"):
        compare(TASK, a_run(), a_run("b", replace(sample, targets=targets)), QUICK)


def test_a_series_that_is_there_twice_is_refused():
    sample = a_sample(rare=12)
    with pytest.raises(InputError, match=r"b has 1\.3 more than once"):
        compare(TASK, a_run(), a_run("b", sample.rows(np.array([*range(80), 3]))), QUICK)


def test_series_that_either_run_takes_for_one_patients_are_drawn_together():
    sample = a_sample(rare=12)
    pairs = np.array([f"q{k // 2}" for k in range(80)])
    joined = compare(TASK, a_run(), a_run("b", replace(sample, groups=pairs)), QUICK)
    assert joined.groups == 40
    chained = np.array([f"r{(k + 1) // 2}" for k in range(80)])
    first = a_run("a", replace(sample, groups=pairs))
    assert compare(TASK, first, a_run("b", replace(sample, groups=chained)), QUICK).groups == 1
    renamed = np.array([f"x{k}" for k in range(80)])
    assert compare(TASK, a_run(), a_run("b", replace(sample, groups=renamed)), QUICK).groups == 80


def test_the_printed_comparison_is_aligned_and_names_what_is_not_independent():
    sample = a_sample(rare=12)
    first = replace(a_run(), optimistic="the weights were selected on this fold")
    found = compare(TASK, first, a_run("b", related(sample)), QUICK)
    lines = format_comparison(TASK, found).splitlines()
    assert lines[0] == "first: a, second: b"
    assert len({len(line) for line in lines[1:8]}) == 1
    assert lines[8] == "80 series of 80 patients"
    assert lines[9].endswith("not independent: the weights were selected on this fold")
