"""Series read ahead for end-to-end scoring: in order, within limits, whatever a process does."""

import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intracranial.caching.read_ahead import PreparedSeries, Rejected, prepare_series, read_ahead
from intracranial.imaging.pixels import STANDARD, Pixels
from intracranial.imaging.series import ReadLimits
from tests.imaging.make_series import head, store, write_single_frames

PIXELS = replace(STANDARD, size=32)
LONG = 60.0
MODULE = sys.modules[read_ahead.__module__]
"""The function has its name."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("series")
    folders = [root / f"1.2.{k}" for k in range(6)]
    for k, folder in enumerate(folders):
        write_single_frames(folder, store(head(4, seed=k), "axial"), uid=folder.name)
    return folders


def _prepare(folder: Path, pixels: Pixels, limits: ReadLimits) -> PreparedSeries | Rejected:
    """As `prepare_series`, but some series end or hold up their process."""
    if folder.name == "1.2.1":
        os.kill(os.getpid(), signal.SIGSEGV)
    while folder.name == "1.2.3":
        time.sleep(0.01)
    return prepare_series(folder, pixels, limits)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_series_come_in_the_order_of_the_folders(made, workers):
    found = list(read_ahead(made, PIXELS, ReadLimits(), workers, LONG))
    assert [item.folder for item in found] == made
    for item in found:
        assert isinstance(item, PreparedSeries)
        here = prepare_series(item.folder, PIXELS, ReadLimits())
        assert isinstance(here, PreparedSeries)
        np.testing.assert_array_equal(item.volume, here.volume)


def test_a_process_that_dies_or_hangs_costs_its_own_series_only(made, monkeypatch):
    monkeypatch.setattr(MODULE, "prepare_series", _prepare)
    found = list(read_ahead(made, PIXELS, ReadLimits(), 2, 2.0))
    assert [item.folder for item in found] == made
    codes = {item.folder.name: item.code for item in found if isinstance(item, Rejected)}
    assert codes == {"1.2.1": "worker_died", "1.2.3": "timed_out"}


def test_a_reader_that_stops_early_waits_for_nothing(made, monkeypatch):
    monkeypatch.setattr(MODULE, "prepare_series", _prepare)
    started = time.monotonic()
    ahead = read_ahead([made[0], made[3], made[3]], PIXELS, ReadLimits(), 2, LONG)
    assert isinstance(next(ahead), PreparedSeries)
    ahead.close()
    assert time.monotonic() - started < 20


def test_whatever_a_damaged_file_provokes_rejects_its_series(made, tmp_path, monkeypatch):
    def surprise(folder: Path, pixels: Pixels, limits: ReadLimits) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr(MODULE, "read_series", surprise)
    found = prepare_series(made[0], PIXELS, ReadLimits())
    assert isinstance(found, Rejected)
    assert found.code == "internal"
    assert str(made[0]) in found.message
    shutil.rmtree(tmp_path)
    monkeypatch.undo()
    gone = prepare_series(tmp_path, PIXELS, ReadLimits())
    assert isinstance(gone, Rejected)
    assert gone.code == "missing_folder"
