"""--help of every script: fast, complete, and without importing torch."""

import dataclasses
import os
import re
import subprocess
import sys

import pytest

from intracranial.config import STAGES, option_types, parse_options
from intracranial.recipe_schema import descriptions, groups
from tests.tiny_runs import ROOT, options_type

LIMIT_SECONDS = 8
"""Generous for a loaded machine; on a free core --help takes under a second."""

LARGEST_CLASS = 21
LARGEST_GROUP = 12
"""Fields; one with more is better divided by subject."""

PROBE = """
import runpy, sys
script = sys.argv[1]
sys.argv = [script, "--help"]
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as end:
    slow = ("torch", "timm", "matplotlib", "sklearn")
    heavy = [name for name in slow if name in sys.modules]
    print("IMPORTED", *heavy)
    sys.exit(end.code)
"""


def helped(stage: str, columns: int = 400) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, f"{stage}.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env={
            "COLUMNS": str(columns),
            "PATH": "",
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
        },
    )


@pytest.mark.parametrize("stage", STAGES)
def test_help_ends_with_code_0_without_torch_and_explains_every_option(stage: str):
    done = helped(stage)
    assert done.returncode == 0, done.stderr
    heavy = done.stdout.split("IMPORTED")[1].split()
    assert heavy == []
    text = " ".join(done.stdout.replace("│", " ").split())
    explained = descriptions(options_type(stage))
    for name in option_types(options_type(stage)):
        assert f"--{name}" in text, name
        assert " ".join(explained[name].split()[:3]) in text, name


BOX = re.compile("╭─ (?P<title>.*?) ─+╮\n(?P<inside>.*?)╰", re.DOTALL)
FLAG = re.compile(r"^│ (?:-h, )?--(\w+)", re.MULTILINE)


@pytest.mark.parametrize("stage", STAGES)
def test_help_lists_every_option_once_below_the_title_of_its_group(stage: str):
    kind = options_type(stage)
    boxes = {box["title"]: box["inside"] for box in BOX.finditer(helped(stage, 100).stdout)}
    inside = {title: FLAG.findall(text) for title, text in boxes.items()}
    own = [field.name for field in dataclasses.fields(kind) if field.name not in groups(kind)]
    expected = {f"{name} options": list(option_types(one)) for name, one in groups(kind).items()}
    assert {title: sorted(found) for title, found in inside.items()} == {
        title: sorted(names) for title, names in {"options": ["help", *own], **expected}.items()
    }
    for name, group in groups(kind).items():
        words = " ".join(boxes[f"{name} options"].replace("│", " ").split())
        assert group.__doc__.splitlines()[0] in words


@pytest.mark.parametrize("stage", STAGES)
def test_classes_and_groups_of_options_stay_small_and_name_an_option_once(stage: str):
    kind = options_type(stage)
    names = _names(kind)
    assert len(set(names)) == len(names), sorted(names)
    assert len(dataclasses.fields(kind)) <= LARGEST_CLASS
    assert all(len(dataclasses.fields(one)) <= LARGEST_GROUP for one in groups(kind).values())


def _names(kind: type) -> list[str]:
    inner = groups(kind)
    found = [
        [field.name] if field.name not in inner else _names(inner[field.name])
        for field in dataclasses.fields(kind)
    ]
    return [name for names in found for name in names]


@pytest.mark.parametrize("tool", sorted(path.stem for path in (ROOT / "tools").glob("*.py")))
def test_every_file_among_the_tools_is_a_command_with_help(tool: str):
    done = helped(f"tools/{tool}")
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_the_docstring_says_what_a_script_reads_writes_and_skips(stage: str):
    source = (ROOT / f"{stage}.py").read_text(encoding="utf-8")
    head = source.split('"""')[1]
    for word in ("Reads", "Writes", "Skips", "Full size:", f"python {stage}.py"):
        assert word in head


def test_flags_take_a_dash_and_an_underscore_alike():
    kind = options_type("train_stage1")
    dashed = parse_options(kind, "train_stage1", ["--batch-size", "4", "--train-on-all"])
    underscored = parse_options(kind, "train_stage1", ["--batch_size", "4", "--train_on_all"])
    assert dashed == underscored
    assert dashed.optimization.batch_size == 4 and dashed.train_on_all


def test_a_switch_can_be_turned_off():
    kind = options_type("eval_end_to_end")
    options = parse_options(kind, "eval_end_to_end", ["--run", "a", "--no_report"])
    assert options.report is False
    options = parse_options(kind, "eval_end_to_end", ["--run", "a", "--no-report"])
    assert options.report is False
