"""Fixtures that several test modules share."""

import logging
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)  # equal bytes whatever the machine, and no fight over two cores


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """A test's log goes to pytest alone."""
    log = logging.getLogger("aneurysm")
    before = list(log.handlers)
    yield
    log.handlers[:] = before
