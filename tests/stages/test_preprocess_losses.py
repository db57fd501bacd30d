"""Series that preprocess_data.py loses, in whole or in part: workers that die, absurd files."""

import os
import shutil
import signal
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from intracranial.caching import job, jobs
from intracranial.imaging.series import read_series
from tests.imaging.make_series import (
    transcode,
)
from tests.stages.preprocessed import make_data, outputs, rows, run


def _dies(one: job.Job) -> job.Outcome:
    if one.uid.endswith(".2"):
        os.kill(os.getpid(), signal.SIGKILL)
    if one.uid.endswith(".4"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return job.cache_series(one)


def test_a_worker_that_dies_costs_only_its_own_series(tmp_path, monkeypatch):
    uids = make_data(tmp_path, count=6)
    monkeypatch.setattr(jobs, "cache_series", _dies)
    assert run(tmp_path, workers=2) == 4
    found = {row["SeriesInstanceUID"]: row["reason"] for row in rows(tmp_path / "rejected.csv")}
    assert found == {uids[2]: "worker_died", uids[4]: "worker_died"}
    assert len(rows(tmp_path / "train_meta.csv")) == 4
    monkeypatch.undo()
    assert run(tmp_path, workers=2) == 0
    assert len(rows(tmp_path / "train_meta.csv")) == 6


def _dies_once(one: job.Job) -> job.Outcome:
    mark = one.data.root / "died"
    if one.uid.endswith(".2") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job.cache_series(one)


def test_a_series_whose_worker_was_killed_for_want_of_memory_runs_again(tmp_path, monkeypatch):
    make_data(tmp_path)
    monkeypatch.setattr(jobs, "cache_series", _dies_once)
    assert run(tmp_path, workers=2) == 0
    assert len(rows(tmp_path / "train_meta.csv")) == 4


def _hangs(one: job.Job) -> job.Outcome:
    while one.uid.endswith(".2"):
        time.sleep(0.01)
    return job.cache_series(one)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the platform has no interval timer")
def test_a_series_beyond_the_time_limit_is_rejected_and_tried_again(tmp_path, monkeypatch, capsys):
    uids = make_data(tmp_path)
    monkeypatch.setattr(jobs, "cache_series", _hangs)
    assert run(tmp_path, "--max_series_seconds", "3", workers=2) == 4
    (row,) = rows(tmp_path / "rejected.csv")
    assert (row["SeriesInstanceUID"], row["reason"]) == (uids[2], "timed_out")
    assert "--max_series_seconds" in row["words"]
    assert "tries again" in capsys.readouterr().out
    monkeypatch.undo()
    assert run(tmp_path, workers=2) == 0
    assert len(rows(tmp_path / "train_meta.csv")) == 4


def test_a_series_read_in_part_says_so_and_names_what_is_missing(tmp_path, capsys):
    uids = make_data(tmp_path)
    folder = tmp_path / "series" / uids[0]
    cut = sorted(folder.iterdir())[3]
    cut.write_bytes(cut.read_bytes()[:-100])
    (folder / "notes.txt").write_text("no image")
    assert run(tmp_path) == 0
    said = capsys.readouterr().out
    assert "1 series were read in part" in said
    assert "1  files left out: undecodable_pixels" in said
    assert [meta["status"] for meta in rows(tmp_path / "train_meta.csv")] == ["partial"] + [
        "read"
    ] * 3
    (row,) = rows(tmp_path / "rejected.csv")
    assert (row["SeriesInstanceUID"], row["file"]) == (uids[0], cut.name)
    assert row["reason"] == "undecodable_pixels"
    assert row["words"]
    assert len(np.load(tmp_path / "npy_sequence" / f"{uids[0]}.npy")) == 7
    before = outputs(tmp_path)
    assert run(tmp_path) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert outputs(tmp_path) == before


def test_frames_that_are_missing_from_a_multi_frame_file_are_one_row(tmp_path):
    uids = make_data(tmp_path)
    (file,) = (tmp_path / "series" / uids[1]).iterdir()
    content = file.read_bytes()
    frame_bytes = np.prod(read_series(file.parent).pixels.shape[1:]) * 2
    file.write_bytes(content[: -2 * int(frame_bytes)])
    run(tmp_path)
    found = [row for row in rows(tmp_path / "rejected.csv") if row["file"] == file.name]
    assert len(found) == 1
    assert found[0]["reason"] == "frames_missing"


def test_rejected_series_and_missing_files_stand_in_the_order_of_train_csv(tmp_path):
    uids = make_data(tmp_path)
    for uid in (uids[0], uids[3]):
        cut = sorted((tmp_path / "series" / uid).iterdir())[0]
        cut.write_bytes(cut.read_bytes()[:-100])
    shutil.rmtree(tmp_path / "series" / uids[2])
    assert run(tmp_path) == 4
    found = [
        (row["SeriesInstanceUID"], bool(row["file"])) for row in rows(tmp_path / "rejected.csv")
    ]
    assert found == [(uids[0], True), (uids[2], False), (uids[3], True)]


def test_files_that_change_while_they_are_read_are_tried_again(tmp_path, monkeypatch):
    uids = make_data(tmp_path)

    def writes_meanwhile(folder: Path, *how: Any) -> object:
        series = read_series(folder, *how)
        if folder.name == uids[0]:
            with open(min(folder.iterdir()), "ab") as file:
                file.write(b"more")
        return series

    monkeypatch.setattr(job, "read_series", writes_meanwhile)
    assert run(tmp_path) == 4
    (row,) = rows(tmp_path / "rejected.csv")
    assert (row["SeriesInstanceUID"], row["reason"]) == (uids[0], "changed_while_read")
    monkeypatch.undo()
    assert run(tmp_path) == 0


ABSURD = [
    {"Rows": 60000, "Columns": 60000},
    {"Rows": 16000, "Columns": 16000, "NumberOfFrames": 60000},
    {"Rows": 0},
]


def make_absurd(path: Path, changes: dict[str, int]) -> None:
    dataset = dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


@pytest.mark.parametrize("changes", ABSURD)
def test_an_absurd_header_costs_its_file_before_anything_is_allocated(tmp_path, changes):
    uids = make_data(tmp_path)
    cut = sorted((tmp_path / "series" / uids[0]).iterdir())[3]
    make_absurd(cut, changes)
    tracemalloc.start()
    assert run(tmp_path, "--limit", "1") == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = [(row["file"], row["reason"]) for row in rows(tmp_path / "rejected.csv")]
    reason = "frames_missing" if "NumberOfFrames" in changes else "bad_shape"
    assert found == [(cut.name, reason)]
    assert peak < 2**26


def test_a_compressed_file_that_states_more_than_the_limit_is_rejected_undecoded(tmp_path):
    uids = make_data(tmp_path)
    folder = tmp_path / "series" / uids[0]
    transcode(folder, RLELossless)
    make_absurd(min(folder.iterdir()), ABSURD[1])
    tracemalloc.start()
    assert run(tmp_path, "--limit", "1") == 4
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row["reason"] for row in rows(tmp_path / "rejected.csv")] == ["too_large"]
    assert peak < 2**26
