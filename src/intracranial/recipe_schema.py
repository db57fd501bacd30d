"""The JSON schema of recipes, made from the classes of the options.

Editors complete and check a recipe whose first line names the schema (`configs/` has examples).
`make schema` writes the file that lies in the package; a test compares it with what is made here.
"""

import ast
import dataclasses
import inspect
import itertools
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from intracranial.artifacts import atomic_path
from intracranial.config import (
    BASE,
    COMMON_SECTION,
    NO_RECIPE,
    STAGES,
    option_types,
    option_values,
    plain,
)
from intracranial.program import COMMANDS, options_type

PATH = Path(__file__).parent / "options" / "recipe.schema.json"
"""Where the schema lies."""

DIALECT = "https://json-schema.org/draft/2020-12/schema"

NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
"""A number that YAML 1.1 takes for a text, such as 3e-5."""

ABOUT = ("description", "default")
"""What a schema says of an option beside its values."""

SCALARS: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "string"], "pattern": NUMBER},
    str: {"type": ["string", "number"]},  # the fold 0, the run 7
    Path: {"type": "string"},
    NoneType: {"type": "null"},
}
"""Values in a recipe by the type of the option, where it is no choice, list or union."""


def options_types() -> dict[str, type]:
    """The class of each stage's options."""
    return {stage: options_type(place) for stage, place, _ in COMMANDS.values() if stage in STAGES}


def descriptions(kind: type) -> dict[str, str]:
    """The docstring under each option by the option's name, those in groups too, in one line."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(inspect.getsource(base)).body
        assert isinstance(definition, ast.ClassDef)
        for line, after in itertools.pairwise(definition.body):
            if isinstance(line, ast.AnnAssign) and isinstance(after, ast.Expr):
                words = " ".join(ast.literal_eval(after.value).split())
                found[ast.unparse(line.target)] = words
    for group in groups(kind).values():
        found |= descriptions(group)
    return found


def groups(kind: type) -> dict[str, type]:
    """The class of each group by the field that holds it."""
    fields, hints = dataclasses.fields(kind), get_type_hints(kind)
    found = {field.name: hints[field.name] for field in fields}
    return {
        name: group
        for name, group in found.items()
        if isinstance(group, type) and dataclasses.is_dataclass(group)
    }


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe file, JSON-ready."""
    types = options_types()
    sections: dict[str, Any] = {stage: _section(kind) for stage, kind in types.items()}
    defs = {**sections, COMMON_SECTION: _common(sections)}
    base = {"type": "string", "description": "The recipe to start from, beside this one."}
    places = {section: {"$ref": f"#/$defs/{section}"} for section in (COMMON_SECTION, *STAGES)}
    return {
        "$schema": DIALECT,
        "title": "A recipe: a section of options per script",
        "type": "object",
        "properties": {BASE: base, **places},
        "additionalProperties": False,
        "$defs": defs,
    }


def schema_text() -> str:
    """What the file holds."""
    return json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n"


def _section(kind: type) -> dict[str, Any]:
    words, defaults = descriptions(kind), _defaults(kind)
    properties = {}
    for name, values in option_types(kind).items():
        if name not in NO_RECIPE:
            default = {"default": defaults[name]} if name in defaults else {}
            properties[name] = {**_values(values), "description": words[name], **default}
    return _object(properties, " ".join((kind.__doc__ or "").split()))


def _common(sections: dict[str, Any]) -> dict[str, Any]:
    """An option here must suit every stage that has it; those that take the same count once."""
    takers: dict[str, dict[str, str]] = {}
    for stage, section in sections.items():
        for name, values in section["properties"].items():
            taken = {key: one for key, one in values.items() if key not in ABOUT}
            place = f"#/$defs/{stage}/properties/{name}"
            takers.setdefault(name, {}).setdefault(json.dumps(taken), place)
    properties = {
        name: {"allOf": [{"$ref": place} for place in places.values()]}
        for name, places in takers.items()
    }
    return _object(properties, "Options of every stage that has them.")


def _object(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "description": description,
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": False,
    }


def _defaults(kind: type) -> dict[str, Any]:
    """Defaults by the names of options, without those that depend on the machine."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.default):
            found |= option_values(field.default)
        elif field.default is not dataclasses.MISSING:
            found[field.name] = field.default
    return {name: plain(value) for name, value in found.items()}


def _values(kind: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a recipe may give an option of this type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _values(arguments[0])
    if origin in (Union, UnionType):
        return {"anyOf": [_values(one) for one in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:  # one item needs no list
        item = _values(arguments[0])
        return {"anyOf": [{"type": "array", "items": item}, item]}
    return SCALARS[kind]


def main() -> None:
    """Write the file."""
    with atomic_path(PATH) as temporary:
        temporary.write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
