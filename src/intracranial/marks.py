"""What an option states at its own field about the identity of what is made with it.

Below every room, so that a value of any room can be a group of options as it is.
"""

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

Value = TypeVar("Value")

SETTING = "setting"

Setting = Annotated[Value, SETTING]
"""Type of an option that changes where or how fast a stage runs, never what it makes. The split and
the fold are settings too: they are part of an identity through the inputs and `request`."""


@dataclass(frozen=True)
class Before:
    """Annotates an option that came later: what was done before it existed.

    At this value the option is no part of an identity, so that what was made before stays finished;
    where a manifest does not name the option, it is read as having this value:

        phase: Annotated[Literal["first", "last"], Before("first")] = "first"
    """

    value: Any
    """As in a manifest: numbers, text, lists."""
