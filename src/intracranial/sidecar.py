"""Parts of a sidecar as the types that their readers take.

Sidecars are copied and edited by people. Whatever in one of them does not fit is an `InputError`
that names the file, the key, the value and the script that makes the file again.
"""

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from intracranial.errors import InputError, PipelineError, UsageError
from intracranial.jsonable import Absent
from intracranial.provenance import MADE_BY
from intracranial.tasks import task_from

PartT = TypeVar("PartT")
MadeT = TypeVar("MadeT")

WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    dict: "an object",
    type(None): "null",
}
"""What JSON calls the values of Python's types."""


class _Unfit(Exception):
    """A value that is not what its reader takes: the key's path, and what is wrong with it."""

    def __init__(self, key: str, words: str) -> None:
        super().__init__(f"`{key}` {words}" if key else words)


def part(path: Path, manifest: Mapping[str, Any], key: str, kind: type[PartT]) -> PartT:
    """One part of a sidecar.

    Args:
        path: of the sidecar, which is named after its kind (`stage1.json`).
        manifest: its content.
        key: of the part.
        kind: what the part must be: a dataclass, whose fields without a default must be there and
            which must know every key; `int`, `float`, `str`, `bool` or `dict`; or `Literal`, a
            tuple, dict or Mapping of any number of one kind, or a union of these.

    Raises:
        InputError: it is not there or not of this kind, or the dataclass refuses its values with a
            ValueError or, being a group of options too, a UsageError.
    """
    if key not in manifest:
        raise InputError(
            f"{path} lacks {key!r}, without which it cannot be used: copy the file again, "
            f"or run {MADE_BY[path.stem]} --overwrite"
        )
    try:
        found: PartT = _read(key, manifest[key], kind)
    except _Unfit as error:
        raise damaged(path, str(error)) from None
    return found


def whole(
    path: Path, content: Mapping[str, Any], kind: type[PartT], made_by: str | None = None
) -> PartT:
    """All of a sidecar as one dataclass.

    Args:
        path: of the sidecar.
        content: of it, without the keys that its reader does not take.
        kind: what it must be, see `part`.
        made_by: command that makes the file again, where it is not that of the file's name.

    Raises:
        InputError: as `part`; and it has a key that `kind` does not know.
    """
    try:
        found: PartT = _read("", dict(content), kind)
    except _Unfit as error:
        raise damaged(path, str(error), made_by) from None
    return found


@dataclass(frozen=True, kw_only=True)
class Made:
    """What every finished artifact tells of its making.

    Attributes:
        path: of its manifest.
        identity: names it downstream.
        inputs: identity of each artifact or file that it was made from, by kind.
        partial: what was limited, in words, or None.
        config: the options that change the result, as they were recorded.
    """

    path: Path
    identity: str
    inputs: dict[str, Any]
    partial: str | None
    config: dict[str, Any]


def read_made(path: Path, manifest: Mapping[str, Any], kind: type[PartT]) -> PartT:
    """A manifest as its type: the parts that are named like its fields, others are left.

    Args:
        path: of the manifest.
        manifest: its content.
        kind: a dataclass below `Made` with a field `task`; fields with a default may be missing.

    Raises:
        InputError: as `part`; the task is damaged; or the dataclass refuses the parts with a
            ValueError.
    """
    assert is_dataclass(kind)
    hints = get_type_hints(kind)
    try:
        read: dict[str, Any] = {"path": path, "task": task_from(part(path, manifest, "task", dict))}
    except (ValueError, TypeError) as error:
        raise damaged(path, f"its task is damaged: {error}") from None
    for field in fields(kind):
        if field.name not in read and (field.name in manifest or field.default is MISSING):
            read[field.name] = part(path, manifest, field.name, hints[field.name])
    try:
        made: PartT = kind(**read)
    except ValueError as error:
        raise damaged(path, str(error)) from None
    return made


def build(path: Path, key: str, given: PartT, make: Callable[[PartT], MadeT]) -> MadeT:
    """What `make` builds from a part: a network, whose sizes only building it can prove.

    Args:
        path: of the sidecar.
        key: of the part, for the message.
        given: the part, a dataclass.
        make: builds it.

    Raises:
        InputError: nothing can be built from it, for whatever reason.
    """
    try:
        return make(given)
    except PipelineError as error:
        if not isinstance(error, UsageError):
            raise
        reason = str(error)
    except Exception as error:  # torch and timm raise many kinds for sizes that do not fit
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    raise damaged(path, f"no network can be built from `{key}` {given} ({reason})")


def damaged(path: Path, words: str, made_by: str | None = None) -> InputError:
    """The error of a sidecar whose content, in these words, does not fit its readers."""
    return InputError(
        f"{path}: {words}. Copy the file again, or make it again with "
        f"{made_by or f'{MADE_BY[path.stem]} --overwrite'}"
    )


def _read(key: str, value: Any, kind: Any) -> Any:  # noqa: ANN401
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _read_dataclass(key, value, kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        # a key that may be absent has a value of its own where it is there
        arguments = tuple(one for one in arguments if one is not Absent)
        first, *others = [one for one in arguments if one is not NoneType]
        if value is not None and not others and (is_dataclass(first) or get_origin(first)):
            return _read(key, value, first)  # its own words say more than what it is not
        for one in arguments:
            try:
                return _read(key, value, one)
            except _Unfit:
                continue
        raise _unfit(key, value, " or ".join(WORDS.get(one, str(one)) for one in arguments))
    if origin is Literal:
        if value not in arguments:
            raise _unfit(key, value, "one of " + ", ".join(map(repr, arguments)))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _unfit(key, value, "a list")
        return tuple(_read(f"{key}[{i}]", one, arguments[0]) for i, one in enumerate(value))
    if origin in (dict, Mapping):
        named: dict[str, Any] = _read(key, value, dict)
        return {name: _read(f"{key}.{name}", one, arguments[1]) for name, one in named.items()}
    allowed = (int, float) if kind is float else kind
    fits = isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))
    if not fits or (kind is float and not math.isfinite(value)):
        raise _unfit(key, value, WORDS[kind])
    return value


def _read_dataclass(key: str, value: Any, kind: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise _unfit(key, value, WORDS[dict])
    hints = get_type_hints(kind)
    flat = [field.name for field in fields(kind) if "flat" in field.metadata]
    for name in flat:  # takes the keys that are no other field's
        rest = {one: value[one] for one in value if one not in hints or one == name}
        value = {**{one: value[one] for one in value if one not in rest}, name: rest}
    for name in value:
        if name not in hints:
            given = f"has {name!r} ({reprlib.repr(value[name])}), which this version does not know"
            raise _Unfit(key, given)
    for field in fields(kind):
        if field.name not in value and field.default is MISSING:
            raise _Unfit(key, f"lacks {field.name!r}")
    read = {
        name: _read(".".join(filter(None, (key, "" if name in flat else name))), one, hints[name])
        for name, one in value.items()
    }
    try:
        return kind(**read)
    except (ValueError, UsageError) as error:
        raise _Unfit(key, f"is {reprlib.repr(value)}: {error}") from None


def _unfit(key: str, value: Any, expected: str) -> _Unfit:  # noqa: ANN401
    return _Unfit(key, f"is {reprlib.repr(value)}, not {expected}")
