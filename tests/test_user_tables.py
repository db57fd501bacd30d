"""Tables as spreadsheets and people write them."""

from pathlib import Path

import pytest

from intracranial.errors import InputError, MissingArtifact
from intracranial.user_tables import read_user_table

CLEAN = "name,place\nold,here\nnew,there\n"
ROWS = [{"name": "old", "place": "here"}, {"name": "new", "place": "there"}]


def read(tmp_path: Path, content: str | bytes, *needed: str):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return read_user_table(path, needed or ("name", "place"), "make one")


SAME = {
    "blanks round cells": "name,place\n old , here\nnew ,\tthere \n",
    "blanks round headers": " name ,\tplace \nold,here\nnew,there\n",
    "no-break blanks": "name\xa0,\u202fplace\n\xa0old,here\xa0\n\u2007new\u2007,there\n",
    "what has no width": "name,\u200bplace\nold\u200e,\ufeffhere\nnew,there\u2060\n",
    "a byte order mark": "\ufeffname,place\nold,here\nnew,there\n",
    "line ends of Windows": "name,place\r\nold,here\r\nnew,there\r\n",
    "line ends of old Macs": "name,place\rold,here\rnew,there\r",
    "no line end at the end": "name,place\nold,here\nnew,there",
    "quotes": '"name","place"\n"old","here"\n"new","there"\n',
    "blanks round quotes": 'name, "place" \n "old" , "here"\n"new" ,"there" \n',
    "blanks in quotes": '" name "," place"\n"old ",here\nnew," there "\n',
    "a column without a name or cells": "name,place,\nold,here,\nnew,there,\n",
    "more commas than columns": "name,place\nold,here,,\nnew,there, ,\n",
    "empty rows": "name,place\nold,here\n\n,\n , \nnew,there\n,,,\n",
    "empty rows before the header": "\n , \nname,place\nold,here\nnew,there\n",
    "a byte after a name, as in DICOM": "name,place\nold\x00,here\nnew,there\n",
}


@pytest.mark.parametrize("how", SAME)
def test_what_nobody_sees_changes_no_table(tmp_path: Path, how: str):
    found = read(tmp_path, SAME[how])
    assert [{name: row[name] for name in ("name", "place")} for row in found.rows] == ROWS
    assert not found.excess


def test_a_no_break_blank_within_a_name_is_a_blank(tmp_path: Path):
    assert read(tmp_path, "name,place\nBasilar\xa0Tip,x\n").rows[0]["name"] == "Basilar Tip"


def test_lines_are_those_of_an_editor(tmp_path: Path):
    text = 'name,place\n\n"two\nlines",here\n"and\r\nthree\rmore",x\n\nlast,y\n'
    found = read(tmp_path, text)
    assert found.lines == [3, 5, 9]
    assert text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[9 - 1] == "last,y"


def test_short_rows_lack_cells_and_long_ones_are_named(tmp_path: Path):
    found = read(tmp_path, "name,place\nold\nnew,there,more\n")
    assert found.rows == [{"name": "old", "place": None}, {"name": "new", "place": "there"}]
    assert found.excess == {3}


@pytest.mark.parametrize(
    "header, words",
    [
        ("NAME,place", r"no column name \(nearest: NAME\)"),
        ("name,plase", r"no column place \(nearest: plase\)"),
        ("name;place", r"separated by ';': save it with commas"),
        ("name\tplace", r"separated by '\\t'"),
        ("name,place, place", r"the column 'place' more than once"),
    ],
)
def test_a_header_of_other_names_is_refused_with_what_resembles_it(tmp_path, header, words):
    with pytest.raises(InputError, match=words):
        read(tmp_path, f"{header}\nold,here\n")


def test_a_table_of_nothing_has_no_column(tmp_path: Path):
    with pytest.raises(InputError, match="no column name, place; it has none"):
        read(tmp_path, "\n,\n")


def test_another_encoding_is_named_with_what_to_do(tmp_path: Path):
    with pytest.raises(InputError, match=r"table\.csv is not .* UTF-8.*Save it as `CSV UTF-8`"):
        read(tmp_path, "name,place\nalt,Übel\n".encode("latin-1"))


def test_a_missing_table_says_what_to_do(tmp_path: Path):
    with pytest.raises(MissingArtifact, match=r"nothing\.csv is missing: make one"):
        read_user_table(tmp_path / "nothing.csv", ("name",), "make one")
