"""The pages in a real browser: offline, without a message, with every image, within the window."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from intracranial.errors import EXIT_DONE
from intracranial.evaluation.all_folds import summarise_folds
from intracranial.report.folds_page import write_folds_report
from intracranial.splits.split_files import load_split
from intracranial.tasks import RSNA_2025
from tests.evaluation.test_points_of_all_folds import all_folds, write_fold
from tests.report.browser import COMMANDS, find_browser, is_local, look
from tests.tiny_data import SECRET_ID, SECRETS, uid_of
from tests.tiny_runs import Place, run_tool

BROWSER = find_browser()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(COMMANDS)} is installed"),
]

MOST_BYTES = 10e6
"""What a page may weigh, so that it can be sent by mail."""

PAGES = ("report", "data report", "series page", "all folds")

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="

ACTIVE = {"script", "link", "iframe", "object", "embed", "form", "base"}
"""Elements that a page to be read has no need of; most of them fetch something."""


class Elements(HTMLParser):
    """Names of all elements, and every address in their attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset")
        ]


@pytest.fixture(scope="module")
def pages(tiny: Place, others: Path, tmp_path_factory) -> dict[str, Path]:
    """Real pages of the tiny run: made by its scripts, and by tools/predict.py."""
    root = tmp_path_factory.mktemp("pages")
    name = uid_of(100)
    shutil.copytree(others / "series" / name, root / "incoming" / name)
    places = ["--model", tiny.model_dir / "tiny", "--out_dir", root / "out"]
    incoming = ["--series_dir", root / "incoming"]
    said = run_tool("predict", *incoming, *places, "--num_workers", "0", "--report")
    assert said.code == EXIT_DONE, said.text
    folds = write_all_folds(tiny.copy(root / "folds"))
    paths = (tiny.fold().root / "report.html", tiny.data.report)
    made = (root / "out" / "pages" / f"{name}.html", folds)
    return dict(zip(PAGES, (*paths, *made), strict=True))


def write_all_folds(place: Place) -> Path:
    """The page over all folds, of made-up predictions in the folds that were not trained."""
    split = load_split(place.data, None)
    for fold in range(split.folds):
        write_fold(place, split, fold)
    options = all_folds(place)
    pooled = summarise_folds(options, split, "end_to_end", RSNA_2025)
    return write_folds_report(options, pooled, RSNA_2025)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [1400, 800])
def test_a_page_is_drawn_offline_and_whole(pages, tmp_path, name: str, width: int):
    seen = look(BROWSER, pages[name], tmp_path, width)
    assert seen.faults() == []
    assert len(seen.images) == pages[name].read_text(encoding="utf-8").count("<img") > 0
    assert all(one["alt"] for one in seen.images)
    if width == 1400:
        assert seen.cut == []
    assert seen.text.count("Not for clinical use") == 1
    assert not [secret for secret in (SECRET_ID, *SECRETS.values()) if secret in seen.text]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_holds_all_that_it_shows_and_nothing_of_the_patient(pages, name: str):
    assert pages[name].stat().st_size < MOST_BYTES
    text = pages[name].read_text(encoding="utf-8")
    elements = Elements(text)
    assert not ACTIVE & elements.names
    assert elements.addresses and all(is_local(one) for one in elements.addresses)
    words = re.sub(r'"data:[^"]*"', "", text)
    assert not re.search(r"https?:|url\(|@import|javascript:", words)
    assert "not for clinical use" in words[words.index("<footer>") :].lower()
    assert not [secret for secret in (SECRET_ID, *SECRETS.values()) if secret in words]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<img src="data:image/png;base64,AAAA" alt="torn">', "image not drawn: torn"),
        (f'<img src="{PIXEL}" alt="hidden" style="display:none">', "image not drawn: hidden"),
        ('<svg width="0" height="0"></svg>', "drawing not drawn"),
        ('<img src="http://example.invalid/a.png" alt="far">', "request: http://example.invalid"),
        ("<script>console.warn('mind')</script>", "console: mind"),
        ('<table style="width: 3000px"><tr><td>wide</table>', "pixels wider than the window"),
    ],
)
def test_the_browser_sees_what_is_wrong(tmp_path, body: str, fault: str):
    page = tmp_path / "page.html"
    page.write_text(f"<!DOCTYPE html><html><head></head><body>{body}</body></html>")
    found = look(BROWSER, page, tmp_path).faults()
    assert any(one.startswith(fault) or one.endswith(fault) for one in found), found


def test_the_browser_says_what_a_content_security_policy_forbids(tmp_path):
    page = tmp_path / "page.html"
    policy = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
    page.write_text(
        f"<!DOCTYPE html><html><head>{policy}</head><body><img src='{PIXEL}'></body></html>"
    )
    assert any(
        "Content Security Policy" in words for words in look(BROWSER, page, tmp_path).console
    )
