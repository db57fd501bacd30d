"""Which series count as one patient's."""

import random

import pytest

from intracranial.imaging.linkage import (
    Linkage,
    assign_groups,
    group_names,
    is_placeholder,
    keyed,
    large_groups,
    make_linkage,
    unkeyed,
)

KEY, OTHER = bytes(range(32)), bytes(32)


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


@pytest.mark.parametrize("digits", [16, 64])
def test_a_keyed_hash_is_another_one_for_each_key_and_can_be_undone_with_its_key(digits):
    made = {}
    for number in range(300):
        value = f"{number:0{digits}x}"
        made[value] = keyed(value, KEY)
        assert len(made[value]) == digits
        assert unkeyed(made[value], KEY) == value
        assert unkeyed(made[value], OTHER) != value
        assert len({value, made[value], keyed(value, OTHER)}) == 3
    assert len(set(made.values())) == len(made)


def test_every_bit_of_a_keyed_hash_hangs_on_every_bit_of_the_hash():
    """Of 256 bits about half change; fewer than 80 do in one of 10 to the 9 cases."""
    first = int(keyed("00" * 32, KEY), 16)
    for bit in range(256):
        changed = first ^ int(keyed(f"{1 << bit:064x}", KEY), 16)
        assert 80 < changed.bit_count() < 176


@pytest.mark.parametrize("value", ["", "abc", "abcdef", "patient 3"])
def test_what_is_no_hash_is_not_keyed(value):
    with pytest.raises(ValueError, match=r"hash|hexadecimal"):
        keyed(value, KEY)


def test_a_linkage_keeps_its_pixels_and_what_it_lacks_when_it_is_keyed():
    linkage = Linkage(make_linkage("A-1047", "H1", "").patient, None, "pixels")
    found = linkage.keyed(KEY)
    assert (found.study, found.pixels) == (None, "pixels")
    assert found.patient != linkage.patient and found.unkeyed(KEY) == linkage


def test_names_of_groups_hang_on_the_key_or_without_one_on_their_first_series():
    linkages = [make_linkage("A-1", "", "1.2"), make_linkage("A-2", "", "1.3")]
    linkages += [make_linkage("", "", "1.2"), Linkage(None, None, None)]
    names = ["1.1", "1.4", "1.0", "1.5"]
    hashes = assign_groups(linkages, names)
    for key in (KEY, OTHER, None):
        found = group_names(linkages, names, key)
        assert [found.index(name) for name in found] == [0, 1, 0, 3]
        assert set(found).isdisjoint(hashes)
    assert [unkeyed(name, KEY) for name in group_names(linkages, names, KEY)] == hashes
    others = [make_linkage("B-1", "", "1.2"), *linkages[1:]]
    assert group_names(others, names, None) == group_names(linkages, names, None)


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
