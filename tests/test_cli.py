"""--help of every script: fast, complete, and without importing torch."""

import ast
import dataclasses
import inspect
import itertools
import subprocess
import sys

import pytest

from intracranial.config import STAGES, parse_options
from tests.tiny_runs import ROOT, options_type

LIMIT_SECONDS = 8
"""Generous for a loaded machine; on a free core --help takes under a second."""

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


def helped(stage: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, f"{stage}.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env={"COLUMNS": "400", "PATH": "", "PYTHONPATH": str(ROOT)},
    )


def help_texts(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass and its bases."""
    found = {}
    for base in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(definition, ast.ClassDef)
        for line, after in itertools.pairwise(definition.body):
            if isinstance(line, ast.AnnAssign) and isinstance(after, ast.Expr):
                found[line.target.id] = ast.literal_eval(after.value)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_help_ends_with_code_0_without_torch_and_explains_every_option(stage: str):
    done = helped(stage)
    assert done.returncode == 0, done.stderr
    heavy = done.stdout.split("IMPORTED")[1].split()
    assert heavy == []
    text = " ".join(done.stdout.replace("│", " ").split())
    explained = help_texts(options_type(stage))
    for field in dataclasses.fields(options_type(stage)):
        assert f"--{field.name}" in text or f"--no_{field.name}" in text, field.name
        assert " ".join(explained[field.name].split()[:3]) in text, field.name


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
    assert dashed.batch_size == 4 and dashed.train_on_all


def test_a_switch_can_be_turned_off():
    kind = options_type("eval_end_to_end")
    options = parse_options(kind, "eval_end_to_end", ["--run", "a", "--no_report"])
    assert options.report is False
    options = parse_options(kind, "eval_end_to_end", ["--run", "a", "--no-report"])
    assert options.report is False
