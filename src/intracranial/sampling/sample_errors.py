"""Errors while a sample is made say which one it was: one bad file among thousands has a name."""

from collections.abc import Iterator
from contextlib import contextmanager

from intracranial.errors import InputError, PipelineError


@contextmanager
def blame(what: str) -> Iterator[None]:
    """Put `what` (series, slice, file) before the message of any error inside the block.

    Raises:
        InputError: in the place of any error that is no `PipelineError`; those keep their type.
    """
    try:
        yield
    except PipelineError as error:
        raise type(error)(f"{what}: {error}") from error
    except Exception as error:
        raise InputError(f"{what}: {type(error).__name__}: {error}") from error
