"""Parts of a sidecar as the types that their readers take.

Sidecars are copied and edited by people. Whatever in one of them does not fit is an `InputError`
that names the file, the key, the value and the script that makes the file again.
"""

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from intracranial.errors import InputError, PipelineError, UsageError
from intracranial.provenance import MADE_BY

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
        super().__init__(f"`{key}` {words}")


def part(path: Path, manifest: Mapping[str, Any], key: str, kind: type[PartT]) -> PartT:
    """One part of a sidecar.

    Args:
        path: of the sidecar, which is named after its kind (`stage1.json`).
        manifest: its content.
        key: of the part.
        kind: what the part must be: a dataclass, whose fields without a default must be there and
            which must know every key; `int`, `float`, `str`, `bool` or `dict`; or `Literal`, a
            tuple or dict of any number of one kind, or a union of these.

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


def build(
    path: Path,
    manifest: Mapping[str, Any],
    key: str,
    kind: type[PartT],
    make: Callable[[PartT], MadeT],
) -> MadeT:
    """What `make` builds from `part`: a network, whose sizes only building it can prove.

    Raises:
        InputError: as `part`; or nothing can be built from it, for whatever reason.
    """
    given = part(path, manifest, key, kind)
    try:
        return make(given)
    except PipelineError as error:
        if not isinstance(error, UsageError):
            raise
        reason = str(error)
    except Exception as error:  # torch and timm raise many kinds for sizes that do not fit
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    raise damaged(path, f"no network can be built from `{key}` {manifest[key]} ({reason})")


def damaged(path: Path, words: str) -> InputError:
    """The error of a sidecar whose content, in these words, does not fit its readers."""
    return InputError(
        f"{path}: {words}. Copy the file again, or train it again with "
        f"{MADE_BY[path.stem]} --overwrite"
    )


def _read(key: str, value: Any, kind: Any) -> Any:  # noqa: ANN401
    if is_dataclass(kind):
        return _read_dataclass(key, value, kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
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
    if origin is dict:
        whole: dict[str, Any] = _read(key, value, dict)
        return {name: _read(f"{key}.{name}", one, arguments[1]) for name, one in whole.items()}
    allowed = (int, float) if kind is float else kind
    fits = isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))
    if not fits or (kind is float and not math.isfinite(value)):
        raise _unfit(key, value, WORDS[kind])
    return value


def _read_dataclass(key: str, value: Any, kind: Any) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise _unfit(key, value, WORDS[dict])
    hints = get_type_hints(kind)
    for name in value:
        if name not in hints:
            given = f"has {name!r} ({reprlib.repr(value[name])}), which this version does not know"
            raise _Unfit(key, given)
    for field in fields(kind):
        if field.name not in value and field.default is MISSING:
            raise _Unfit(key, f"lacks {field.name!r}")
    read = {name: _read(f"{key}.{name}", one, hints[name]) for name, one in value.items()}
    try:
        return kind(**read)
    except (ValueError, UsageError) as error:
        raise _Unfit(key, f"is {reprlib.repr(value)}: {error}") from None


def _unfit(key: str, value: Any, expected: str) -> _Unfit:  # noqa: ANN401
    return _Unfit(key, f"is {reprlib.repr(value)}, not {expected}")
