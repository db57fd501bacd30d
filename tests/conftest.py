"""Fixtures that several test modules share."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from src.config import STAGES
from tests.tiny_data import make_tiny_data
from tests.tiny_runs import Place

torch.set_num_threads(1)  # equal bytes whatever the machine, and no fight over two cores


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """A test's log goes to pytest alone."""
    log = logging.getLogger("aneurysm")
    log.handlers.clear()  # a fixture of another module may have left its console
    yield
    log.handlers.clear()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The tiny data set after all eight scripts; tests that change something take a copy."""
    place = Place(tmp_path_factory.mktemp("tiny"))
    make_tiny_data(place.data.root)
    for stage in STAGES:
        place.said[stage] = place.process(stage)
        if place.said[stage].code:
            pytest.fail(
                f"{stage}.py ended with {place.said[stage].code}:\n{place.said[stage].text}"
            )
    return place


@pytest.fixture
def tiny_copy(tiny: Place, tmp_path: Path) -> Place:
    """A copy of the tiny data set and all results, to be changed."""
    return tiny.copy(tmp_path / "copy")


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four series that no model has seen: series/, train.csv and train_localizers.csv."""
    data = tmp_path_factory.mktemp("others")
    make_tiny_data(data, count=4, first=100)
    return data
