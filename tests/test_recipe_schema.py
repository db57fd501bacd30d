"""The JSON schema of recipes: what a run takes is valid, what it refuses is not."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from intracranial.config import STAGES, parse_options, recipe_text
from intracranial.errors import UsageError
from intracranial.recipe_schema import PATH, schema_text
from tests.tiny_runs import ROOT, options_type

RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
NAMED = "# yaml-language-server: $schema="


@pytest.fixture(scope="module")
def checker() -> Draft202012Validator:
    schema = json.loads(PATH.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def complaints(checker: Draft202012Validator, recipe: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(recipe)]


def test_the_schema_is_that_of_the_options():
    assert PATH.read_text(encoding="utf-8") == schema_text(), "run `make schema`"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_in_configs_names_the_schema_and_is_valid(path: Path, checker):
    text = path.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith(NAMED)
    assert (path.parent / first.removeprefix(NAMED)).resolve() == PATH
    assert complaints(checker, yaml.safe_load(text)) == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_printed_recipe_is_valid_and_names_every_option_of_the_schema(stage: str, checker):
    options = parse_options(options_type(stage), stage, ["--config", str(RECIPES[0])])
    printed = yaml.safe_load(recipe_text(stage, options))
    assert complaints(checker, printed) == []
    assert set(printed[stage]) == set(checker.schema["$defs"][stage]["properties"])


@pytest.mark.parametrize(
    "text",
    [
        "base: other.yaml",
        "common:\n  num_workers: 0\n  precision: fp32",
        "train_stage1:",
        "train_stage1:\n  lr: 3e-5\n  steps: 2\n  limit: null\n  fold: 0",
        "preprocess_data:\n  max_series_gib: .5",
    ],
)
def test_what_a_run_takes_is_valid(text: str, checker):
    assert complaints(checker, yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("train_stage1", "epoch", 5),
        ("train_stage1", "optimization", {"epochs": 5}),
        ("train_stage1", "epochs", "many"),
        ("train_stage1", "epochs", 2.5),
        ("train_stage1", "lr", "fast"),
        ("train_stage1", "steps", [1, "two"]),
        ("train_stage1", "schedule", "cosin"),
        ("train_stage1", "compile", "maybe"),
        ("train_stage2", "pool", "catavgmax"),
        ("eval_stage1", "precision", "fp8"),
        ("preprocess_data", "limit", "all"),
        ("common", "precision", "fp8"),
        ("train_stage3", "epochs", 5),
    ],
)
def test_what_a_run_refuses_is_not_valid(
    section: str, name: str, value: Any, checker, tmp_path: Path
):
    recipe = {section: {name: value}}
    found = complaints(checker, recipe)
    where = name if section in checker.schema["$defs"] else section
    assert len(found) == 1 and where in found[0], found

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    stage = section if section in STAGES else "train_stage1"
    with pytest.raises(UsageError):
        parse_options(options_type(stage), stage, ["--config", str(path)])
