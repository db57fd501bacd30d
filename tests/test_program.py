"""The program `intracranial`: subcommands that are the scripts, and predict."""

import importlib
import subprocess
import sys

import pytest

from intracranial.config import STAGES
from intracranial.errors import EXIT_DONE, EXIT_INPUT, EXIT_USAGE
from intracranial.program import COMMANDS
from intracranial.provenance import VERSION
from tests.tiny_runs import ROOT


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "intracranial", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def test_every_script_is_a_subcommand_and_predict_is_one_more():
    assert [stage for stage, _, _ in COMMANDS.values()] == [*STAGES, "predict"]
    for _, options, _ in COMMANDS.values():
        module, name = options.split(":")
        assert hasattr(importlib.import_module(f"intracranial.options.{module}"), name)


@pytest.mark.parametrize("stage", STAGES)
def test_a_script_says_the_first_things_that_its_plot_says(stage: str):
    said = (ROOT / f"{stage}.py").read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
    plot = importlib.import_module(f"intracranial.stages.{stage}")
    assert plot.__doc__.splitlines()[0] == said


def test_without_a_command_the_commands_are_listed():
    for arguments, code in (((), EXIT_USAGE), (("--help",), EXIT_DONE)):
        ended, text = run(*arguments)
        assert ended == code and all(f"\n  {name} " in text for name in COMMANDS)


def test_the_version_is_that_of_the_artifacts():
    assert run("--version") == (EXIT_DONE, f"intracranial {VERSION}\n")


def test_a_command_that_does_not_exist_is_told_with_the_nearest_one():
    code, text = run("evaluat")
    assert code == EXIT_USAGE and "there is no command 'evaluat' (nearest: evaluate" in text


def test_a_subcommand_has_the_script_s_options_and_errors(tmp_path):
    code, text = run("create-folds", "--help")
    assert code == EXIT_DONE and text.startswith("usage: intracranial create-folds")
    script = [sys.executable, str(ROOT / "create_folds.py"), "--help"]
    helped = subprocess.run(script, capture_output=True, text=True, timeout=120).stdout
    assert helped.replace("create_folds.py [", "[").split("Script 2 of 8")[1] in text
    code, text = run("create-folds", "--data_dir", str(tmp_path))
    assert code == EXIT_INPUT and "run preprocess_data.py first" in text


def test_the_recipe_of_what_was_asked_for_is_printed_and_nothing_is_done(tmp_path):
    flags = ("--data_dir", str(tmp_path / "new"), "--epochs", "3", "--print_recipe")
    code, text = run("train-stage1", *flags)
    assert code == EXIT_DONE and text.startswith("train_stage1:\n") and "  epochs: 3\n" in text
    assert not (tmp_path / "new").exists()
