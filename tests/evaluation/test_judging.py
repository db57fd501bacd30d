"""What end-to-end figures say of themselves: on what the weights were selected."""

from types import SimpleNamespace

import pytest

from src.evaluation.end_to_end import Results
from src.evaluation.intervals import Settings
from src.evaluation.judging import metrics_of
from tests.evaluation.test_intervals import TASK, a_sample

THIS_FOLD = "the weights were selected on this fold"


@pytest.mark.parametrize(
    ("selected", "alone", "both"),
    [
        (("last", "last"), None, None),
        (("last", "heldout"), None, THIS_FOLD),
        (("heldout", "last"), THIS_FOLD, THIS_FOLD),
    ],
)
def test_a_gain_keeps_the_reason_why_either_figure_is_too_good(selected, alone, both):
    sample = a_sample(rare=12)
    scored = [
        SimpleNamespace(
            uid=str(uid),
            linkage=SimpleNamespace(keys=tuple),
            stage1_maximum=row,
            by_view={"plain": row[None]},
            job=SimpleNamespace(spots=()),
        )
        for uid, row in zip(sample.uids, a_sample(1, rare=12).probabilities, strict=True)
    ]
    unseen = {"training_series": [], "training_keys": []}
    manifests = [{"select": kind, **unseen} for kind in selected]
    results = Results(scored=scored)
    found = metrics_of(results, sample, TASK, manifests, Settings(100))
    assert found["gain_over_stage1"]["optimistic"] == {
        "stage 1, maximum": alone,
        "both stages": both,
    }
