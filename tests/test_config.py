"""Options: flags over the recipe over the defaults, and recipes that are wrong."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from intracranial.config import (
    STAGES,
    load_recipe,
    nearest,
    option_types,
    option_values,
    parse_options,
    plain,
    recipe_text,
    with_values,
)
from intracranial.errors import InputError, UsageError
from tests.tiny_runs import ROOT, options_type


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast."""

    lr: float
    """A rate."""

    pool: str = "avg"
    """A word."""

    def __post_init__(self) -> None:
        if self.lr < 0:
            raise UsageError(f"--lr {self.lr}: give 0 or more")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a stage that does not exist."""

    config: Path | None = None
    """Recipe."""

    epochs: int = 20
    """A number."""

    rates: Rates = Rates(lr=1e-3)

    steps: tuple[int, ...] = (1, 2)
    """A list."""

    limit: int | None = None
    """A number or nothing."""

    report: bool = True
    """A switch that is on."""

    views: bool = False
    """A switch that is off."""


@pytest.fixture
def recipe(tmp_path: Path):
    def write(text: str) -> list[str]:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return ["--config", str(path)]

    return write


def parse(*argv: str) -> Options:
    return parse_options(Options, "train_stage1", list(argv))


def test_a_flag_overrides_the_recipe_and_the_recipe_overrides_the_default(recipe):
    config = recipe("train_stage1:\n  epochs: 5\n  lr: 0.5\n")
    assert parse().epochs == 20
    assert parse(*config).epochs == 5
    options = parse(*config, "--epochs", "7")
    assert (options.epochs, options.rates) == (7, Rates(lr=0.5))
    assert parse(*config, "--pool", "max").rates == Rates(lr=0.5, pool="max")
    assert parse("--epochs", "7", f"--config={config[1]}").epochs == 7


def test_every_type_of_value_is_read_from_a_recipe(recipe):
    lines = ["lr: 3e-5", "steps: [2, 3, 4]", "limit: null", "report: false", "views: true"]
    options = parse(*recipe("train_stage1:\n  " + "\n  ".join([*lines, "pool: ''"])))
    assert options.rates.lr == 3e-5  # YAML itself takes 3e-5 for a string
    assert options.steps == (2, 3, 4)
    assert options.limit is None
    assert options.report is False and options.views is True
    assert options.rates.pool == ""
    assert parse(*recipe("train_stage1:\n  limit: 4\n  steps: [1]\n")).steps == (1,)


def test_the_common_section_serves_every_stage_that_has_the_option(recipe):
    config = recipe("common:\n  epochs: 3\n  device: cpu\ntrain_stage1:\n  lr: 1\n")
    assert parse(*config).epochs == 3  # and it has no option `device`
    config = recipe("common:\n  epochs: 3\ntrain_stage1:\n  epochs: 4\n")
    assert parse(*config).epochs == 4


def test_sections_of_other_stages_are_left_to_them(recipe):
    assert parse(*recipe("train_stage2:\n  layers: 3\n")).epochs == 20
    assert parse(*recipe("train_stage1:\n")).epochs == 20


def test_keys_of_a_recipe_take_a_dash_and_an_underscore_alike(tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text("train_stage1:\n  batch-size: 4\n")
    assert load_recipe(path)["train_stage1"] == {"batch_size": 4}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train_stage1:\n  epoch: 5\n", "unknown option 'epoch'.*nearest: epochs"),
        ("train_stage1:\n  poll: max\n", "unknown option 'poll'.*nearest: pool"),
        ("train_stage1:\n  rates: 1\n", "unknown option 'rates'"),
        ("train_stage1:\n  lr: fast\n", "section train_stage1"),
        ("train_stage1:\n  lr: -1\n", "--lr -1"),
        ("train_stage3:\n  epochs: 5\n", "unknown section 'train_stage3'.*train_stage1"),
        ("train_stage1: 5\n", "must hold 'option: value' lines"),
        ("train_stage1:\n  epochs: many\n", "section train_stage1"),
        ("train_stage1:\n  epochs: 2.5\n", "section train_stage1"),
    ],
)
def test_a_wrong_recipe_is_a_usage_error_that_names_the_place(recipe, text: str, words: str):
    with pytest.raises(UsageError, match=words):
        parse(*recipe(text))


@pytest.mark.parametrize("text", ["- a\n- b\n", "train_stage1: [\n", "just words\n", ""])
def test_a_file_that_is_no_recipe_is_an_input_error(recipe, text: str):
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        parse(*recipe(text))


def test_a_recipe_cannot_run_code(recipe, tmp_path: Path):
    text = f"train_stage1: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n"
    with pytest.raises(InputError, match="not valid YAML"):
        parse(*recipe(text))
    assert not (tmp_path / "made").exists()


def test_a_missing_recipe_points_to_the_examples(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist; see configs/"):
        parse("--config", str(tmp_path / "none.yaml"))


def test_a_recipe_with_a_base_has_its_options_but_for_its_own(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    files = {
        "deep/first.yaml": "train_stage1:\n  epochs: 5\n  lr: 0.5\ntrain_stage2:\n  layers: 1\n",
        "second.yaml": "base: deep/first.yaml\ntrain_stage1:\n  lr: 0.25\n",
        "third.yaml": "base: second.yaml\ncommon:\n  pool: max\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    options = parse("--config", str(tmp_path / "third.yaml"))
    assert (options.epochs, options.rates) == (5, Rates(lr=0.25, pool="max"))
    assert load_recipe(tmp_path / "third.yaml")["train_stage2"] == {"layers": 1}


@pytest.mark.parametrize(
    ("base", "error", "words"),
    [
        ("none.yaml", InputError, r"none\.yaml \(base of .*recipe\.yaml\) does not exist"),
        ("recipe.yaml", InputError, "`base` leads back to"),
        ("[a, b]", UsageError, "'base' must name a file"),
    ],
)
def test_a_base_that_is_none_is_named(recipe, base: str, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        parse(*recipe(f"base: {base}\n"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_printed_recipe_gives_the_same_options(stage: str, tmp_path: Path):
    kind, flags = options_type(stage), ["--config", str(ROOT / "configs" / "demo.yaml")]
    options = parse_options(kind, stage, [*flags, "--overwrite"])
    path = tmp_path / "demo.yaml"
    path.write_text(recipe_text(stage, options))
    again = parse_options(kind, stage, ["--config", str(path)])
    assert dataclasses.replace(again, config=options.config) == options


def test_help_shows_the_values_of_a_recipe(recipe, capsys):
    with pytest.raises(SystemExit):
        parse(*recipe("train_stage1:\n  epochs: 77\n"), "--help")
    assert "default: 77" in capsys.readouterr().out


def test_a_value_of_the_wrong_type_on_the_command_line_ends_with_code_2():
    with pytest.raises(SystemExit) as ended:
        parse("--epochs", "many")
    assert ended.value.code == 2


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("stage", STAGES)
def test_every_recipe_in_configs_is_valid_for_every_stage(path: Path, stage: str):
    options = parse_options(options_type(stage), stage, ["--config", str(path)])
    assert options.config == path


def test_the_run_is_named_after_flag_recipe_or_model_in_this_order():
    kind, config = options_type("train_stage1"), ["--config", "configs/tiny.yaml"]
    assert parse_options(kind, "train_stage1", [*config, "--run", "mine"]).run_name == "mine"
    assert parse_options(kind, "train_stage1", config).run_name == "tiny"
    assert parse_options(kind, "train_stage1", ["--model", "resnet18"]).run_name == "resnet18"
    with pytest.raises(UsageError, match="which run"):
        parse_options(options_type("eval_stage1"), "eval_stage1", [])


@pytest.mark.parametrize("run", ["..", ".hidden", "a/b", "a\\b", ""])
def test_a_run_is_a_plain_folder_name(run: str):
    with pytest.raises(UsageError, match="plain folder name"):
        parse_options(options_type("eval_stage1"), "eval_stage1", ["--run", run])


@pytest.mark.parametrize(
    ("stage", "flags"),
    [
        ("train_stage1", ["--crop", "0"]),
        ("train_stage1", ["--crop", "1.5"]),
        ("train_stage1", ["--input_size", "8"]),
        ("train_stage1", ["--steps", "0"]),
        ("train_stage1", ["--epochs", "0"]),
        ("train_stage1", ["--num_workers", "-1"]),
        ("train_stage2", ["--parts", "pixels"]),
        ("train_stage2", ["--heads", "7"]),
        ("train_stage2", ["--limit_slices", "0"]),
        ("extract_features", ["--augmented_views", "-1"]),
        ("preprocess_data", ["--size", "8"]),
        ("preprocess_data", ["--limit", "0"]),
        ("preprocess_data", ["--max_series_gib", "nan"]),
        ("preprocess_data", ["--max_series_seconds", "0"]),
        ("preprocess_data", ["--rank_patience", "-1"]),
        ("eval_end_to_end", ["--max_series_seconds", "inf"]),
        ("eval_end_to_end", ["--max_series_gib", "-1"]),
        ("eval_stage2", ["--seed_runs", "a", "--fold", "all"]),
        ("eval_stage2", ["--seed_runs", "b", "b", "--fold", "all"]),
        ("eval_stage1", ["--seed", "-1"]),
        ("eval_stage2", ["--seed", "-1"]),
        ("eval_end_to_end", ["--seed", "-1"]),
    ],
)
def test_a_value_out_of_range_is_a_usage_error_that_quotes_the_flag(stage: str, flags: list[str]):
    run = ["--run", "a"] if stage not in ("preprocess_data", "create_folds") else []
    with pytest.raises(UsageError, match=flags[0]):
        parse_options(options_type(stage), stage, [*run, *flags])


def test_device_workers_and_places_are_no_part_of_identity():
    kind = options_type("train_stage1")
    one = parse_options(kind, "train_stage1", ["--config", "configs/tiny.yaml"])
    moved = ["--data_dir", "x", "--model_dir", "y", "--num_workers", "5", "--device", "cpu"]
    other = parse_options(kind, "train_stage1", ["--config", "configs/tiny.yaml", *moved])
    assert one.identity() == other.identity()
    longer = parse_options(kind, "train_stage1", ["--config", "configs/tiny.yaml", "--epochs", "9"])
    assert one.identity() != longer.identity()


def test_options_are_changed_by_their_names_whether_in_a_group_or_not():
    options = with_values(Options(), epochs=3, lr=0.5)
    assert options == Options(epochs=3, rates=Rates(lr=0.5))
    with pytest.raises(TypeError, match="no option rates"):
        with_values(Options(), rates=Rates(lr=1))
    with pytest.raises(UsageError, match="--lr -1"):
        with_values(Options(), lr=-1)


def test_a_recipe_and_a_record_know_options_by_their_own_names():
    text = recipe_text("train_stage1", Options(rates=Rates(lr=0.5)))
    assert "  lr: 0.5\n" in text and "rates" not in text
    assert list(option_values(Options())) == list(option_types(Options))


def test_nearest_names_are_offered_only_when_something_is_close():
    assert nearest("epoch", ["epochs", "lr"]) == " (nearest: epochs)"
    assert nearest("zzz", ["epochs", "lr"]) == ""


def test_plain_values_are_ready_for_json():
    assert plain(Options(config=Path("a") / "b"))["config"] == "a/b"
    assert plain({"a": (1, [Path("x")])}) == {"a": [1, ["x"]]}
