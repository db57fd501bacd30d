"""The schema of files with figures: it takes what evaluations write, and nothing else."""

import copy

import pytest

from intracranial.jsonable import to_json
from intracranial.statistics.intervals import Settings, table_with_intervals
from intracranial.statistics.sample import Sample
from intracranial.tasks import RSNA_2025
from tests.evaluation.samples import metrics_of, results
from tests.schema import assert_documented


@pytest.fixture(scope="module")
def table():
    """Scores of two modalities of which one label has one class."""
    targets, probabilities, modalities = results(60)
    targets[:, 11] = 0
    return to_json(metrics_of(targets, probabilities, modalities))


@pytest.fixture
def subgroup(table):
    return copy.deepcopy(table["subgroups"]["modality"]["CTA"])


def test_scores_with_and_without_intervals_are_documented(table):
    for found in table["subgroups"]["modality"].values():
        assert_documented(found, "table_with_intervals")
    assert table["per_label"]["Basilar Tip"]["value"] is None
    targets, probabilities, _ = results()
    names = [f"1.2.{k}" for k in range(len(targets))]
    plain, _ = table_with_intervals(
        RSNA_2025, Sample(targets, probabilities, names, names), Settings(0)
    )
    assert_documented(to_json(plain), "table_with_intervals")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.update(extra=1), "extra"),
        (lambda found: found["score"].update(extra=1), r"score.*extra"),
        (lambda found: found["per_label"]["Basilar Tip"].update(p=1), r"Basilar Tip.*'p' was unex"),
        (lambda found: found["score"].pop("low"), r"score.*'low' is a required"),
        (lambda found: found.update(series="60"), r"series.*'60' is not of type 'integer'"),
        (lambda found: found.pop("rare"), "'rare' is a required property"),
    ],
)
def test_what_the_schema_does_not_name_or_misses_is_refused(subgroup, change, message):
    change(subgroup)
    with pytest.raises(AssertionError, match=message):
        assert_documented(subgroup, "table_with_intervals")
