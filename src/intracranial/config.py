"""Options from three places: dataclass defaults, a recipe's sections, command-line flags.

A recipe is one YAML file with a section per stage (`train_stage1:`) and an optional `common:`
section whose keys apply to every stage that has them. `base: other.yaml` names another recipe to
start from, beside this one. Flags override the recipe, the recipe its base, and that the defaults.
Every value, from a recipe or from a flag, is parsed by the same code.

Options of one subject are a group: a frozen dataclass in a field of the stage's options. Groups
structure the code and `--help`; flags, recipes and identities know options by their own names.
"""

import contextlib
import dataclasses
import difflib
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro
import yaml

from intracranial.errors import InputError, UsageError

STAGES = (
    "preprocess_data",
    "create_folds",
    "train_stage1",
    "eval_stage1",
    "extract_features",
    "train_stage2",
    "eval_stage2",
    "eval_end_to_end",
)
COMMON_SECTION = "common"
BASE = "base"
"""Key of a recipe that names the recipe to start from."""

NO_RECIPE = ("config", "print_recipe")
"""Options that a recipe cannot set."""

OptionsT = TypeVar("OptionsT")


def option_types(options_type: type) -> dict[str, Any]:
    """The type of every option by its name, those in groups too, as it is annotated."""
    hints = get_type_hints(options_type, include_extras=True)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options_type):
        kind = hints[field.name]
        group = isinstance(kind, type) and dataclasses.is_dataclass(kind)
        found |= option_types(kind) if group else {field.name: kind}
    return found


def option_values(options: Any) -> dict[str, Any]:  # noqa: ANN401
    """The value of every option by its name, those in groups too."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        found |= option_values(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return found


def with_values(options: OptionsT, **values: Any) -> OptionsT:  # noqa: ANN401
    """The same options but for some.

    Args:
        options: of a stage, or a group of them.
        values: by the names of the options, whether in a group or not.

    Raises:
        TypeError: there is no such option.
    """
    unknown = values.keys() - option_values(options).keys()
    if unknown:
        raise TypeError(f"{type(options).__name__} has no option {', '.join(sorted(unknown))}")
    changes = {}
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            inside = {name: values[name] for name in option_values(value) if name in values}
            changes[field.name] = with_values(value, **inside)
        elif field.name in values:
            changes[field.name] = values[field.name]
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]


def nearest(word: str, known: Sequence[str]) -> str:
    """A hint such as ' (nearest: resnet18, resnet18d)', or '' when nothing is close.

    Names that differ in case alone are the closest.
    """
    folded: dict[str, list[str]] = {}
    for name in known:
        folded.setdefault(name.casefold(), []).append(name)
    found = difflib.get_close_matches(word.casefold(), folded, n=4, cutoff=0.5)
    close = [name for fold in found for name in folded[fold]][:4]
    return f" (nearest: {', '.join(close)})" if close else ""


def load_recipe(path: Path) -> dict[str, dict[str, Any]]:
    """Read a recipe and check its section names; values are checked when a stage takes them.

    A recipe with a base has the base's options where it does not set them itself.

    Raises:
        InputError: the file, or a base, is missing or is not a mapping of sections; or bases lead
            back to a recipe.
        UsageError: a section is not a stage.
    """
    return _load_recipe(path, ())


def _load_recipe(path: Path, users: tuple[Path, ...]) -> dict[str, dict[str, Any]]:
    if path.resolve() in {user.resolve() for user in users}:
        raise InputError(f"recipe {users[-1]}: `base` leads back to {path}; leave it out")
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        whose = f" (base of {users[-1]})" if users else ""
        raise InputError(
            f"recipe {path}{whose} does not exist; see configs/ for examples"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path} is not valid YAML: {error}") from None
    if not isinstance(recipe, dict):
        raise InputError(f"recipe {path} must be a mapping with a section per stage")
    base = recipe.pop(BASE, None)
    if base is not None and not isinstance(base, str):
        raise UsageError(f"recipe {path}: {BASE!r} must name a file, not {base!r}")
    for section, values in recipe.items():
        if section not in (*STAGES, COMMON_SECTION):
            hint = nearest(str(section), (*STAGES, COMMON_SECTION, BASE))
            raise UsageError(f"recipe {path}: unknown section {section!r}{hint}")
        if values is not None and not isinstance(values, dict):
            raise UsageError(f"recipe {path}: section {section!r} must hold 'option: value' lines")
    own = {
        section: {str(name).replace("-", "_"): value for name, value in (values or {}).items()}
        for section, values in recipe.items()
    }
    if base is None:
        return own
    below = _load_recipe(path.parent / base, (*users, path))
    return {name: {**below.get(name, {}), **own.get(name, {})} for name in {**below, **own}}


def recipe_text(stage: str, options: Any) -> str:  # noqa: ANN401
    """A recipe that gives these options of a stage without any flag, as YAML."""
    values = plain(
        {name: one for name, one in option_values(options).items() if name not in NO_RECIPE}
    )
    return str(yaml.safe_dump({stage: values}, sort_keys=False, allow_unicode=True))


def _as_flags(values: Mapping[str, Any]) -> list[str]:
    """Spell recipe values as command-line tokens, so that one parser checks both."""
    tokens: list[str] = []
    for name, value in values.items():
        if isinstance(value, bool):
            tokens.append(f"--{name}" if value else f"--no_{name}")
        elif isinstance(value, list | tuple):
            tokens += [f"--{name}", *map(str, value)]
        else:
            tokens += [f"--{name}", str(value)]
    return tokens


def _recipe_path(argv: Sequence[str]) -> Path | None:
    for position, token in enumerate(argv):
        if token == "--config" and position + 1 < len(argv):
            return Path(argv[position + 1])
        if token.startswith("--config="):
            return Path(token.removeprefix("--config="))
    return None


def _recipe_defaults(options_type: type[OptionsT], stage: str, path: Path, prog: str) -> OptionsT:
    recipe = load_recipe(path)
    names = list(option_types(options_type))
    section = recipe.get(stage, {})
    for name in section:
        if name not in names:
            hint = nearest(name, names)
            raise UsageError(f"recipe {path}, section {stage}: unknown option {name!r}{hint}")
    common = {k: v for k, v in recipe.get(COMMON_SECTION, {}).items() if k in names}
    values = {"config": path, **common, **section}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(complaint):
            return _parsed(options_type, _as_flags(values), prog)
    except SystemExit:
        raise UsageError(f"recipe {path}, section {stage}:\n{complaint.getvalue()}") from None


def parse_options(
    options_type: type[OptionsT],
    stage: str,
    argv: Sequence[str] | None = None,
    description: str | None = None,
    prog: str | None = None,
) -> OptionsT:
    """Options of one stage: flags over the recipe's section over the dataclass defaults.

    Flags accept `-` and `_` alike; help text is each field's docstring, and a group's docstring
    heads its options.

    Args:
        options_type: a frozen dataclass; a field named `config` holds the recipe's path.
        stage: the recipe section to read, one of `STAGES`; tools have a name outside of it.
        argv: the tokens after the program name; None means `sys.argv[1:]`.
        description: the first lines of `--help`.
        prog: how `--help` calls the program; the script unless given.

    Raises:
        UsageError: unknown recipe section or option, or a value of the wrong type in it.
        SystemExit: with code 2 for a bad flag, with code 0 after `--help`.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    prog = prog or f"{stage}.py"
    recipe = _recipe_path(argv)
    default: Any = None
    if recipe is not None:  # for --help too, which shows its values
        default = _recipe_defaults(options_type, stage, recipe, prog)
    return _parsed(options_type, argv, prog, default, description)


def _parsed(
    options_type: type[OptionsT],
    argv: Sequence[str],
    prog: str,
    default: Any = None,  # noqa: ANN401
    description: str | None = None,
) -> OptionsT:
    parsed: OptionsT = tyro.cli(
        options_type,
        args=argv,
        default=default,
        prog=prog,
        description=description,
        use_underscores=True,
        config=(tyro.conf.OmitArgPrefixes,),  # the flag of a group's option is its own name
    )
    return parsed


def plain(value: Any) -> Any:  # noqa: ANN401
    """A JSON-ready copy of an options dataclass or one of its values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
