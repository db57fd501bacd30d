"""Fixtures that several test modules share."""

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from intracranial.config import STAGES
from tests.forked import close_server
from tests.tiny_data import make_tiny_data
from tests.tiny_runs import Place, Said

torch.set_num_threads(1)  # equal bytes whatever the machine, and no fight over two cores


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """A test's log goes to pytest alone."""
    log = logging.getLogger("intracranial")
    log.handlers.clear()  # a fixture of another module may have left its console
    yield
    log.handlers.clear()


@pytest.fixture(scope="session", autouse=True)
def _forked_server() -> Iterator[None]:
    """Whatever was forked from it, the server ends with the tests."""
    yield
    close_server()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The tiny data set after all eight scripts; tests that change something take a copy.

    The processes of one pytest run make it once, and each has a copy of its own.
    """
    mine = tmp_path_factory.getbasetemp()
    shared = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
    made, said = shared / "tiny-made", shared / "tiny-made.json"
    with open(shared / "tiny-made.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            shutil.rmtree(made, ignore_errors=True)
            said.write_text(json.dumps(make_tiny(Place(made))), encoding="utf-8")
    place = Place(mine / "tiny")
    shutil.copytree(made, place.root)  # with the times of the files, by which scripts know them
    place.said = {stage: Said(**one) for stage, one in json.loads(said.read_text()).items()}
    return place


def make_tiny(place: Place) -> dict[str, dict[str, Any]]:
    """Run all eight scripts on new tiny data; what each said, by stage."""
    place.data.root.mkdir(parents=True)
    make_tiny_data(place.data.root)
    said = {}
    for stage in STAGES:
        ended = place.process(stage)
        if ended.code:
            pytest.fail(f"{stage}.py ended with {ended.code}:\n{ended.text}")
        said[stage] = asdict(ended)
    return said


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the modules that need the tiny data set last: one process makes it while others test."""
    needing = {item.path for item in items if "tiny" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path in needing)


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
