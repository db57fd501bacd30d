"""Which series count as one patient's."""

import random

import pytest

from intracranial.imaging.linkage import (
    Linkage,
    assign_groups,
    is_placeholder,
    large_groups,
    make_linkage,
)


@pytest.mark.parametrize("name", ["", " ", "Anonymous", "0", "000000", "unknown", "NONE", "xxx"])
def test_blank_and_placeholder_patient_ids_link_nothing(name):
    assert is_placeholder(name)
    assert make_linkage(name, "", "").patient is None


def test_a_real_patient_id_links_within_its_issuer():
    assert not is_placeholder("A-1047")
    first = make_linkage("A-1047", "H1", "")
    assert first.patient == make_linkage("A-1047", "H1", "").patient
    assert first.patient != make_linkage("A-1047", "H2", "").patient
    assert "1047" not in str(first)


def test_series_that_share_any_key_share_a_group_also_through_others():
    linkages = [
        Linkage("p1", "s1", "x1"),
        Linkage(None, "s1", "x2"),
        Linkage(None, "s2", "x2"),
        Linkage("p9", "s9", "x9"),
        Linkage(None, None, None),
        Linkage(None, None, None),
    ]
    names = list("abcdef")
    groups = assign_groups(linkages, names)
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 4
    order = list(range(6))
    random.Random(0).shuffle(order)
    again = assign_groups([linkages[i] for i in order], [names[i] for i in order])
    assert [groups[i] for i in order] == again
    assert all(len(group) == 16 for group in groups)


def test_equal_values_of_different_keys_do_not_link():
    groups = assign_groups([Linkage("k", None, None), Linkage(None, "k", None)], ["a", "b"])
    assert groups[0] != groups[1]


def test_a_suspiciously_large_group_is_reported():
    assert large_groups(["a"] * 6 + [str(k) for k in range(94)]) == [("a", 6)]
    assert large_groups(["a", "a", "b"]) == []
