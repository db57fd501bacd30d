"""The README and its pages: every link leads somewhere, every flag exists, every page is linked."""

import re
from pathlib import Path

import pytest

from intracranial.config import STAGES, option_types
from intracranial.provenance import VERSION
from tests.tiny_runs import ROOT, options_type

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_every_page_is_linked_from_the_readme():
    readme = PAGES[0].read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 200
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in readme


@pytest.mark.parametrize("stage", STAGES)
def test_every_flag_of_a_command_exists(stage: str):
    """A command that is broken by a backslash goes on in the next line."""
    known = set(option_types(options_type(stage)))
    known |= {f"no_{name}" for name in known} | {"help"}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(rf"^.*\b{stage}\.py  ?.*$", text, re.MULTILINE):
            command = line.partition(f"{stage}.py")[2]
            if line.startswith(("python", "torchrun", "srun")):
                flags = re.findall(r"--(\w+)", command)
                assert set(flags) <= known, line


def test_the_citation_names_this_version():
    assert f"version: {VERSION}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
