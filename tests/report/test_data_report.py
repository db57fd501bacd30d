"""The data report: what preprocess_data.py made, counted and shown on one page."""

import base64
import csv
import io
import json
import re
import shutil
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from intracranial.artifacts import DataPaths
from intracranial.caching.tables import with_types
from intracranial.options.preprocess import PreprocessOptions
from intracranial.report.data_figures import BINS, Place, histograms, places_figure
from intracranial.report.data_report import _places, write_data_report
from intracranial.runlog import run_stage
from intracranial.stages import preprocess_data
from intracranial.tasks import LOCALIZER_COLUMNS, RSNA_2025, SERIES_COLUMN
from tests.challenge import LABELS, TRAIN_COLUMNS
from tests.imaging.make_series import head, store, write_single_frames
from tests.sampling.fold_data import SHAPE, TinyData
from tests.schema import assert_documented

UIDS = ["1.2.826.0", "1.2.826.1", "1.2.826.2"]
IMAGE = re.compile(r'<img src="data:image/(?:png|jpeg);base64,([^"]*)"')


def preprocess(data):
    flags = ["--data_dir", str(data), "--size", "32", "--num_workers", "0", "--allow_rejected"]
    saved, sys.argv = sys.argv, ["preprocess_data.py", *flags]
    try:
        return run_stage("preprocess_data", PreprocessOptions, preprocess_data.main, "")
    finally:
        sys.argv = saved


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three series: an axial one with an aneurysm, a sagittal one, and one without files."""
    root = tmp_path_factory.mktemp("report")
    with open(root / "train.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(TRAIN_COLUMNS)
        for uid in UIDS:
            present = {"Basilar Tip", "Aneurysm Present"} if uid == UIDS[0] else set()
            labels = [int(label in present) for label in LABELS]
            writer.writerow([uid, "55", "Female", "CTA" if uid == UIDS[0] else "MRA", *labels])
    with open(root / "train_localizers.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(LOCALIZER_COLUMNS)
        writer.writerow([UIDS[0], "1.2.no.such.slice", "{'x': 3, 'y': 4}", "Basilar Tip"])
    for uid, plane in zip(UIDS, ("axial", "sagittal"), strict=False):
        write_single_frames(root / "series" / uid, store(head(), plane), uid=uid)
    (root / "series" / UIDS[2]).mkdir()
    assert preprocess(root) == 0
    return root


def test_the_page_counts_what_became_of_the_series(data):
    page = (data / "report.html").read_text(encoding="utf-8")
    assert "<b>2</b>series read of 3" in page
    assert "<b>1</b>series with an aneurysm" in page
    assert "<b>1</b>series rejected" in page
    assert "SOPInstanceUID is in no slice of the series" in page


def test_every_figure_of_its_tables_is_in_a_documented_file_beside_it(data):
    figures = json.loads((data / "report.json").read_text(encoding="utf-8"))
    assert_documented(figures, "data_report")
    assert [one["count"] for one in figures["funnel"]][:2] == [3, 2]
    assert figures["centres"] == 0 and figures["centres_left_out"][0]["count"] == 1
    assert {one["name"]: one["series"] for one in figures["modalities"]} == {"CTA": 1, "MRA": 1}
    locations = {one["name"]: one for one in figures["locations"]}
    assert locations["Basilar Tip"]["by"] == {"CTA": 1, "MRA": 0}


def test_labels_that_contradict_each_other_are_on_the_page(data, tmp_path):
    copy = DataPaths(shutil.copytree(data, tmp_path / "copy"))
    rows = list(csv.reader(io.StringIO(copy.train_meta_csv.read_text(encoding="utf-8"))))
    overall = rows[0].index("Aneurysm Present")
    for row in rows[1:]:
        row[overall] = "0"
    with open(copy.train_meta_csv, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    write_data_report(copy, RSNA_2025)
    figures = json.loads(copy.report_figures.read_text(encoding="utf-8"))
    assert_documented(figures, "data_report")
    assert figures["contradictions"] == [{"series": UIDS[0], "locations": ["Basilar Tip"]}]
    assert f"<li>{UIDS[0]}: Basilar Tip</li>" in copy.report.read_text(encoding="utf-8")
    before = json.loads((data / "report.json").read_text(encoding="utf-8"))
    assert before["contradictions"] == []


def test_the_page_needs_no_network_and_its_images_decode(data):
    page = (data / "report.html").read_text(encoding="utf-8")
    images = IMAGE.findall(page)
    assert len(images) == page.count("<img") == 1 + 2
    for content in images:
        Image.open(io.BytesIO(base64.b64decode(content, validate=True))).load()
    assert not re.search(r"https?:|url\(|<script|<link", IMAGE.sub("", page))
    assert page.lower().count("not for clinical use") == 1


def test_equal_tables_give_equal_bytes_and_a_lost_page_comes_back(data):
    before = (data / "report.html").read_bytes()
    write_data_report(DataPaths(data), RSNA_2025)
    assert (data / "report.html").read_bytes() == before
    (data / "report.html").unlink()
    assert preprocess(data) == 0
    assert (data / "report.html").read_bytes() == before


def test_aneurysms_of_an_oblique_series_have_their_place(tmp_path):
    lying = store(head())
    turn = np.array([[1, 0, 0], [0, 1, -1], [0, 1, 1]]) / [[1], [2**0.5], [2**0.5]]
    oblique = replace(
        lying,
        iop=(*turn @ lying.iop[:3], *turn @ lying.iop[3:]),
        positions=lying.positions @ turn.T,
    )
    slices = write_single_frames(tmp_path / "series" / UIDS[0], oblique, uid=UIDS[0])
    present = [int(label in ("Basilar Tip", "Aneurysm Present")) for label in LABELS]
    for name, header, row in (
        ("train.csv", TRAIN_COLUMNS, [UIDS[0], "55", "Female", "CTA", *present]),
        (
            "train_localizers.csv",
            LOCALIZER_COLUMNS,
            [UIDS[0], slices[2], "{'x': 3, 'y': 4}", "Basilar Tip"],
        ),
    ):
        with open(tmp_path / name, "w", newline="") as file:
            csv.writer(file).writerows((header, row))
    assert preprocess(tmp_path) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "oblique 1" in page and "The 1 labelled centres" in page


def test_whole_numbers_fall_into_bars_of_equal_counts_of_numbers():
    slices = np.arange(20.0, 60.0)
    axes = histograms({"CTA": {"slices": slices}}).axes[0]
    assert len(axes.patches) <= BINS + 1
    assert {round(bar.get_height() * len(slices)) for bar in axes.patches} == {1}


def test_left_and_right_aneurysms_differ_in_colour_and_mark():
    places = [Place("Left Middle Cerebral Artery", 30, 0, 0), Place("Basilar Tip", 0, 0, 0)]
    above = places_figure(places).axes[0]
    left, right, other = above.collections
    assert left.get_offsets().tolist() == [[30, 0]]
    assert len(right.get_offsets()) == 0 and len(other.get_offsets()) == 1
    assert left.get_facecolor()[0].tolist() != other.get_facecolor()[0].tolist()
    assert above.yaxis_inverted()  # anterior at the top, the radiological way


def test_findings_are_placed_in_mm_from_the_middle_of_their_series(tmp_path):
    tiny = TinyData(tmp_path)
    tiny.add_series("1.1", "Basilar Tip", n=21)
    tiny.add_series("1.2", "Basilar Tip", n=21, iop=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    tiny.add_series("1.3", "Basilar Tip", iop=None)
    rows, columns = SHAPE
    for uid in ("1.1", "1.2", "1.3"):
        x, y = (columns - 1) / 2 + 10, (rows - 1) / 2 - 20
        tiny.mark(uid, 13, "Basilar Tip", f"{{'x': {x}, 'y': {y}}}")
    tiny.write()
    meta = with_types(pd.DataFrame(tiny.meta).astype(str), tmp_path, RSNA_2025)
    refused = pd.DataFrame({SERIES_COLUMN: [], "file": []})
    places, left_out = _places(tiny.paths, meta.set_index(SERIES_COLUMN), refused, RSNA_2025)
    # columns are 0.4 mm apart, rows 0.5, slices 2; the series without geometry has no place
    found = [(place.left, place.posterior, place.superior) for place in places]
    assert found == [pytest.approx((4.0, -10.0, 6.0)), pytest.approx((-4.0, 10.0, 6.0))]
    assert not left_out
