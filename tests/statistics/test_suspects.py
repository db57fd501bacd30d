"""Labels that unseen predictions contradict."""

import numpy as np

from intracranial.statistics.suspects import SUSPECTS_SHOWN, suspects
from intracranial.tasks import RSNA_2025
from tests.challenge import OVERALL

BASILAR = RSNA_2025.labels.index("Basilar Tip")


def one_label(negatives, positives):
    """UIDs, targets and probabilities of series that differ in one label."""
    targets = np.zeros((len(negatives) + len(positives), 14))
    targets[len(negatives) :, BASILAR] = 1
    probabilities = np.zeros_like(targets)
    probabilities[:, BASILAR] = [*negatives, *positives]
    return [f"1.{row}" for row in range(len(targets))], targets, probabilities


def test_a_negative_that_scores_like_positives_and_the_reverse_are_suspect():
    data = one_label([0.1, 0.1, 0.2, 0.2, 0.85], [0.8, 0.7, 0.9, 0.6, 0.05])
    negatives, positives = suspects(RSNA_2025, *data)
    (negative,), (positive,) = negatives, positives
    assert (negative.uid, negative.label, negative.labelled) == ("1.4", "Basilar Tip", False)
    assert (negative.probability, negative.beyond, negative.others) == (0.85, 4, 5)
    assert (positive.uid, positive.labelled, positive.beyond) == ("1.9", True, 5)


def test_a_label_that_is_too_rare_for_ranks_has_no_suspects():
    assert suspects(RSNA_2025, *one_label([0.9] * 20, [0.1] * 4)) == ([], [])


def test_series_that_were_trained_on_are_left_out():
    data = one_label([0.1, 0.1, 0.2, 0.2, 0.2, 0.85], [0.8, 0.7, 0.9, 0.6, 0.5])
    assert suspects(RSNA_2025, *data)[0]
    assert suspects(RSNA_2025, *data, seen={"1.5"})[0] == []


def test_the_worst_come_first_and_their_number_is_bounded():
    data = one_label(np.linspace(0, 1, 40), np.linspace(0.3, 0.6, 20))
    negatives, _ = suspects(RSNA_2025, *data)
    assert len(negatives) == SUSPECTS_SHOWN
    assert negatives[0].uid == "1.39"
    shares = [one.share for one in negatives]
    assert shares == sorted(shares, reverse=True)


def test_a_series_appears_once_at_its_worst_label():
    uids, targets, probabilities = one_label([0.1, 0.1, 0.2, 0.2, 0.85], [0.8] * 5)
    for table in (targets, probabilities):
        table[:, OVERALL] = table[:, BASILAR]
    negatives, _ = suspects(RSNA_2025, uids, targets, probabilities)
    assert [one.uid for one in negatives] == ["1.4"]
