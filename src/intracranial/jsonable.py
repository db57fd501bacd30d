"""Dataclasses as JSON; `sidecar` reads them back.

A field is a key. Where JSON may lack the key, the field has a default that says so: None, or
`ABSENT` where null means something else. At this default the key is not written.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
"""The value of a field that has no key in JSON, where None stands for null."""

FLAT: Final = MappingProxyType({"flat": True})
"""Metadata of a field that maps names to values: the names are keys beside the other fields'."""


def to_json(value: Any) -> Any:  # noqa: ANN401
    """A value with the dataclasses, mappings and sequences in it as objects and lists."""
    if is_dataclass(value):
        found: dict[str, Any] = {}
        for field in fields(value):
            one = getattr(value, field.name)
            if one is field.default and (one is None or one is ABSENT):
                continue
            found |= to_json(one) if "flat" in field.metadata else {field.name: to_json(one)}
        return found
    if isinstance(value, Mapping):
        return {name: to_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    return value
