"""Which series a report shows."""

import numpy as np
import pytest

from intracranial.report.cases import select_cases
from intracranial.tasks import RSNA_2025
from tests.evaluation.samples import a_case, results


def test_the_worst_errors_come_first_then_the_best_hits_then_the_extremes():
    #                  0    1    2    3    4    5    6     7    8    9
    targets = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    probabilities = np.array([0.9, 0.8, 0.3, 0.2, 0.7, 0.95, 0.6, 0.1, 0.45, 0.05])
    cases = select_cases(targets, probabilities, RSNA_2025)
    assert [row for row, _ in cases] == [3, 2, 5, 6, 0, 1, 9, 8]
    why = dict(cases)
    assert why[3] == "false negative: 3 of 5 series without an aneurysm score as high"
    assert why[5].startswith("false positive: 5 of 5 series with an aneurysm score as low; ")
    assert why[5].endswith("the highest probability of all series")
    assert why[0] == "true positive: above 4 of 5 series without an aneurysm"
    assert why[9] == "most certain: the lowest probability of all series"
    assert why[8] == "least certain: the probability nearest to 0.5"


def test_a_perfect_ranking_has_no_false_negative_and_no_false_positive():
    cases = select_cases(np.array([1, 1, 0, 0]), np.array([0.9, 0.6, 0.4, 0.1]), RSNA_2025)
    assert not [why for _, why in cases if "false" in why]
    assert [row for row, _ in cases] == [0, 1, 3]


def test_a_tie_between_the_classes_is_an_error_of_both_series():
    why = dict(select_cases(np.array([1, 0]), np.array([0.5, 0.5]), RSNA_2025))
    assert why[0].startswith("false negative: 1 of 1")
    assert why[1].startswith("false positive: 1 of 1")


def test_no_series_is_shown_twice_and_their_number_is_bounded():
    for seed in range(20):
        targets, probabilities, _ = results(seed=seed)
        rows = [row for row, _ in select_cases(targets[:, 13], probabilities[:, 13], RSNA_2025)]
        assert len(rows) == len(set(rows)) <= 9


def test_equal_probabilities_always_give_the_first_rows():
    targets = np.array([0, 1] * 10)
    cases = select_cases(targets, np.full(20, 0.5), RSNA_2025)
    assert cases == select_cases(targets, np.full(20, 0.5), RSNA_2025)
    assert [row for row, _ in cases] == [1, 3, 0, 2, 5, 7]


def test_series_of_one_class_show_the_extremes_only():
    cases = select_cases(np.zeros(3, dtype=int), np.array([0.2, 0.4, 0.1]), RSNA_2025)
    assert [row for row, _ in cases] == [1, 2]


def test_without_labels_the_extremes_are_shown():
    assert [row for row, _ in select_cases(None, np.array([0.9, 0.5, 0.1]), RSNA_2025)] == [0, 2, 1]


def test_no_series_gives_no_case():
    assert select_cases(np.zeros(0), np.zeros(0), RSNA_2025) == []


def test_the_whole_table_instead_of_the_overall_column_is_refused():
    targets, probabilities, _ = results()
    with pytest.raises(ValueError, match="overall label's column"):
        select_cases(targets, probabilities, RSNA_2025)


def test_what_is_labelled_is_said_in_words():
    assert a_case(truth=(), findings=()).truth_in_words() == "no aneurysm labelled"
    assert a_case(truth=None, findings=()).truth_in_words() == "no labels given"
    assert a_case().truth_in_words() == "Basilar Tip, Aneurysm Present"
    assert a_case(truth=()).truth_in_words() == "Basilar Tip"
