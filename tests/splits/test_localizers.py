"""Rows of train_localizers.csv that cannot be placed are reported, never guessed at."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from intracranial.caching.tables import with_types
from intracranial.errors import InputError, MissingArtifact
from intracranial.splits.findings import LOCALIZERS
from intracranial.splits.localizers import (
    REASONS,
    count_reasons,
    first_of_each,
    localized_flags,
    read_localizers,
)
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.sampling.fold_data import SHAPE, TinyData

BASILAR, ACOM = "Basilar Tip", "Anterior Communicating Artery"


@pytest.fixture
def data(tmp_path: Path) -> TinyData:
    tiny = TinyData(tmp_path, rejected=["1.8"])
    tiny.add_series("1.1", BASILAR)
    tiny.add_series("1.2", BASILAR, multi_frame=True)
    tiny.add_series("1.3")
    return tiny


def read(data: TinyData):
    data.write()
    series = with_types(pd.DataFrame(data.meta).astype(str), data.root, RSNA_2025).set_index(
        SERIES_COLUMN
    )
    slices = with_types(pd.DataFrame(data.slices).astype(str), data.root)
    found = read_localizers(
        data.paths.localizers_csv, series, slices, RSNA_2025, frozenset(data.rejected)
    )
    return (*found, series)


def test_a_good_row_is_a_finding_in_its_slice_at_its_place(data: TinyData):
    data.mark("1.1", 7, BASILAR, "{'x': 12.25, 'y': 30}")
    (row,), left_out, _ = read(data)
    assert (row.series, row.index, row.location, row.source) == ("1.1", 7, BASILAR, LOCALIZERS)
    # 100 rows and 80 columns become 64 x 64; rows are 0.5 mm apart, columns 0.4, slices 2
    assert (row.x, row.y) == pytest.approx((12.75 * 0.8 - 0.5, 30.5 * 0.64 - 0.5))
    assert row.mm == pytest.approx((-10 + 12.25 * 0.4, -20 + 30 * 0.5, -30 + 7 * 2.0))
    assert row.size_mm == (None, None, None)
    assert not left_out


@pytest.mark.parametrize("f, index", [("3", 16), ("3.0", 16), ("0", 19), ("18.6", 0)])
def test_f_counts_stored_frames_and_may_be_a_float(data: TinyData, f: str, index: int):
    data.mark("1.2", 0, BASILAR, f"{{'x': 1, 'y': 2, 'f': {f}}}")
    (row,), _, _ = read(data)
    assert row.index == index


BAD = {
    "a SOPInstanceUID of no slice": ("1.1", 99, BASILAR, "{'x': 1, 'y': 2}", "unknown_slice"),
    "a SOPInstanceUID of another series": (
        *("1.3", "0", ACOM, "{'x': 1, 'y': 2}"),
        "label_is_zero",
    ),
    "a series that nobody knows": ("7.7", 0, BASILAR, "{'x': 1, 'y': 2}", "unknown_series"),
    "a rejected series": ("1.8", 0, BASILAR, "{'x': 1, 'y': 2}", "rejected_series"),
    "an unknown location": ("1.1", 7, "Basilar", "{'x': 1, 'y': 2}", "unknown_location"),
    "the overall label as location": (
        *("1.1", 7, "Aneurysm Present", "{'x': 1, 'y': 2}"),
        "unknown_location",
    ),
    "a location that train.csv denies": ("1.1", 7, ACOM, "{'x': 1, 'y': 2}", "label_is_zero"),
    "x beyond the image": ("1.1", 7, BASILAR, "{'x': 80, 'y': 2}", "outside_image"),
    "y beyond the image": ("1.1", 7, BASILAR, "{'x': 2, 'y': 100}", "outside_image"),
    "a negative x": ("1.1", 7, BASILAR, "{'x': -1, 'y': 2}", "outside_image"),
    "an infinite x": ("1.1", 7, BASILAR, "{'x': 1e999, 'y': 2}", "unreadable_coordinates"),
    "nan, which is no literal": ("1.1", 7, BASILAR, "{'x': nan, 'y': 2}", "unreadable_coordinates"),
    "no y": ("1.1", 7, BASILAR, "{'x': 1}", "unreadable_coordinates"),
    "text for x": ("1.1", 7, BASILAR, "{'x': '1', 'y': 2}", "unreadable_coordinates"),
    "a list": ("1.1", 7, BASILAR, "[1, 2]", "unreadable_coordinates"),
    "an unclosed dict": ("1.1", 7, BASILAR, "{'x': 1, 'y': 2", "unreadable_coordinates"),
    "code": ("1.1", 7, BASILAR, "__import__('os').getcwd()", "unreadable_coordinates"),
    "deep nesting": ("1.1", 7, BASILAR, "[" * 900, "unreadable_coordinates"),
    "very long text": ("1.1", 7, BASILAR, "1" * 5000, "unreadable_coordinates"),
    "nothing": ("1.1", 7, BASILAR, "", "unreadable_coordinates"),
    "a multi-frame file without f": ("1.2", 0, BASILAR, "{'x': 1, 'y': 2}", "missing_frame"),
    "f after the last frame": (
        *("1.2", 0, BASILAR, "{'x': 1, 'y': 2, 'f': 20}"),
        "frame_out_of_range",
    ),
    "a negative f": ("1.2", 0, BASILAR, "{'x': 1, 'y': 2, 'f': -1}", "frame_out_of_range"),
    "f that is not finite": (
        *("1.2", 0, BASILAR, "{'x': 1, 'y': 2, 'f': 1e999}"),
        "unreadable_coordinates",
    ),
    "f of a single-frame file": (
        *("1.1", 7, BASILAR, "{'x': 1, 'y': 2, 'f': 3}"),
        "frame_out_of_range",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_row_is_left_out_with_its_line_and_reason(data: TinyData, name: str):
    uid, index, location, coordinates, reason = BAD[name]
    data.mark("1.1", 7, BASILAR)
    line = data.mark(uid, index, location, coordinates)
    kept, left_out, _ = read(data)
    assert [(row.series, row.index) for row in kept] == [("1.1", 7)]
    assert [(row.line, row.reason) for row in left_out] == [(line, reason)]
    assert str(left_out[0]).startswith(f"line {line}: {REASONS[reason]}: ")


def test_an_unmatched_image_is_never_taken_for_slice_0(data: TinyData):
    # The original solution put such aneurysms into the first slice.
    data.mark("1.1", 99, BASILAR)
    data.mark("1.1", "", BASILAR)
    kept, left_out, _ = read(data)
    assert not kept
    assert count_reasons(left_out) == {"unknown_slice": 2}


def test_the_slice_of_another_series_is_not_taken(data: TinyData):
    data.add_series("1.4", BASILAR)
    data.mark("1.4", 0, BASILAR)
    data.localizers[-1]["SOPInstanceUID"] = "1.1.0"
    kept, left_out, _ = read(data)
    assert not kept and left_out[0].reason == "unknown_slice"


def test_the_rim_of_the_outermost_pixels_is_inside_the_image(data: TinyData):
    rows, columns = SHAPE
    data.mark("1.1", 7, BASILAR, f"{{'x': {columns - 0.5}, 'y': {rows - 0.5}}}")
    data.mark("1.1", 7, BASILAR, "{'x': -0.5, 'y': -0.5}")
    kept, left_out, _ = read(data)
    assert len(kept) == 2 and not left_out


def test_a_repeated_row_counts_once_but_two_aneurysms_in_a_slice_count_twice(data: TinyData):
    data.mark("1.1", 7, BASILAR, "{'x': 1, 'y': 2}")
    data.mark("1.1", 7, BASILAR, "{'y': 2.0, 'x': 1.0}")
    data.mark("1.1", 7, BASILAR, "{'x': 30, 'y': 2}")
    kept, left_out, _ = read(data)
    assert [row.x for row in kept] == pytest.approx([1.5 * 0.8 - 0.5, 30.5 * 0.8 - 0.5])
    assert str(left_out[0]) == "line 3: same as an earlier row: the row in line 2 says the same"


def test_lines_are_counted_in_the_file_and_not_in_rows(data: TinyData):
    data.mark("1.1", 7, BASILAR)
    data.write()
    path = data.paths.localizers_csv
    header, good = path.read_text().splitlines()
    bad = good.replace(BASILAR, "Nowhere")
    # A blank line, a cell with a line break in it, and a row that ends early.
    two_lines = good.replace(BASILAR, '"Basilar\nTip"')
    path.write_text("\n".join([header, good, "", bad, two_lines, bad, "1.1,2"]) + "\n")
    series = with_types(pd.DataFrame(data.meta).astype(str), path, RSNA_2025).set_index(
        SERIES_COLUMN
    )
    slices = with_types(pd.DataFrame(data.slices).astype(str), path)
    kept, left_out = read_localizers(path, series, slices, RSNA_2025)
    assert [(row.series, row.index) for row in kept] == [("1.1", 7)]
    assert [(row.line, row.reason) for row in left_out] == [
        (4, "unknown_location"),
        (5, "unknown_location"),
        (7, "unknown_location"),
        (8, "malformed_row"),
    ]


def test_a_table_without_a_column_and_no_table_are_errors(data: TinyData):
    series, slices = pd.DataFrame(), pd.DataFrame()
    with pytest.raises(MissingArtifact, match=r"train_localizers\.csv is missing: put"):
        read_localizers(data.paths.localizers_csv, series, slices, RSNA_2025)
    data.paths.localizers_csv.write_text("SeriesInstanceUID,coordinates,location\n")
    with pytest.raises(InputError, match="has no column SOPInstanceUID"):
        read_localizers(data.paths.localizers_csv, series, slices, RSNA_2025)
    data.paths.localizers_csv.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a readable csv"):
        read_localizers(data.paths.localizers_csv, series, slices, RSNA_2025)


def test_a_series_is_localized_when_every_positive_location_has_a_mark(data: TinyData):
    data.add_series("1.4", BASILAR, ACOM)
    data.add_series("1.5", BASILAR, ACOM)
    data.add_series("1.6", overall=1)
    data.mark("1.4", 3, BASILAR)
    data.mark("1.5", 3, BASILAR)
    data.mark("1.5", 5, ACOM)
    kept, _, series = read(data)
    flags = localized_flags(series, kept, RSNA_2025)
    assert flags.to_dict() == {"1.1": 0, "1.2": 0, "1.3": 1, "1.4": 0, "1.5": 1, "1.6": 0}


def test_blanks_round_cells_and_headers_change_nothing(data: TinyData):
    data.mark("1.1", 7, BASILAR)
    data.mark("1.2", 0, BASILAR, "{'x': 1, 'y': 2, 'f': 3}")
    plain, _, series = read(data)
    path = data.paths.localizers_csv
    with open(path, encoding="utf-8", newline="") as file:
        rows = [[f"\xa0 {cell}\t" for cell in row] for row in csv.reader(file)]
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    slices = with_types(pd.DataFrame(data.slices).astype(str), data.root)
    assert read_localizers(path, series, slices, RSNA_2025) == (plain, [])


@pytest.mark.parametrize(
    "location", [BASILAR.lower(), BASILAR.upper(), "Basilar  Tip", "Baslar Tip"]
)
def test_a_name_that_resembles_a_location_is_named_and_not_taken_for_it(data: TinyData, location):
    data.mark("1.1", 7, location)
    kept, (row,), _ = read(data)
    assert not kept
    assert f"line 2: {REASONS['unknown_location']}: {location!r} (nearest: {BASILAR}" in str(row)


def test_the_first_row_of_each_reason_is_shown_the_commonest_reason_first(data: TinyData):
    data.mark("1.1", 7, BASILAR, "x")
    data.mark("7.7", 0, BASILAR)
    data.mark("7.8", 0, BASILAR)
    _, left_out, _ = read(data)
    assert [(row.line, row.reason) for row in first_of_each(left_out)] == [
        (3, "unknown_series"),
        (2, "unreadable_coordinates"),
    ]
