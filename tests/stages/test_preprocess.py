"""preprocess_data.py: DICOM folders in, caches and tables out, whatever happens in between."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intracranial.artifacts import DataPaths
from intracranial.caching import fingerprints, job
from intracranial.imaging.cache import to_cache
from intracranial.imaging.geometry import Geometry
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import read_series
from intracranial.provenance import read_manifest
from intracranial.stages import preprocess_data
from tests.challenge import LABELS, TRAIN_COLUMNS
from tests.imaging.make_series import (
    head,
    store,
    write_single_frames,
)
from tests.stages.preprocessed import ROOT, SIZE, make_data, outputs, rows, run, write_train_csv


def test_caches_and_tables_hold_what_the_reader_makes_of_each_series(tmp_path):
    uids = make_data(tmp_path)
    assert run(tmp_path) == 0
    data = DataPaths(tmp_path)
    metas = rows(data.train_meta_csv)
    assert [meta["SeriesInstanceUID"] for meta in metas] == uids
    assert list(metas[0])[: len(TRAIN_COLUMNS)] == list(TRAIN_COLUMNS)
    for uid, meta in zip(uids, metas, strict=True):
        series = read_series(data.series / uid)
        cached = np.load(data.sequence(uid))
        expected = to_cache(series, replace(STANDARD, size=SIZE))
        assert cached.dtype == np.float16
        np.testing.assert_array_equal(cached, expected)
        assert Geometry.from_row(meta) == series.geometry
        assert meta["dicom_modality"] == series.modality
        lines = [row for row in rows(data.slices_csv) if row["SeriesInstanceUID"] == uid]
        assert [row["SOPInstanceUID"] for row in lines] == list(series.sop_uids)
        assert [int(row["frame"]) for row in lines] == series.frames.tolist()
        for index in range(len(cached)):
            np.testing.assert_array_equal(np.load(data.slice(uid, index)), cached[index])
    manifest = read_manifest(data.preprocess_manifest, "preprocess")
    assert manifest["config"] == {
        "size": SIZE,
        "mr_window": "robust",
        "orient": "canonical",
        "rescale": "auto",
    }
    assert manifest["partial"] is None


def test_no_patient_name_id_or_date_is_written(tmp_path):
    make_data(tmp_path)
    run(tmp_path)
    for name, content in outputs(tmp_path).items():
        assert b"Secret" not in content, name
        assert b"P-1" not in content, name


def test_series_of_one_patient_share_a_group(tmp_path):
    make_data(tmp_path)
    run(tmp_path)
    assert len({meta["group"] for meta in rows(tmp_path / "train_meta.csv")}) == 1


def test_without_slice_copies_only_sequences_are_written(tmp_path):
    make_data(tmp_path)
    assert run(tmp_path, "--no_slices") == 0
    assert not (tmp_path / "npy_slice").exists()
    before = outputs(tmp_path)
    assert run(tmp_path) == 0
    after = outputs(tmp_path)
    assert len(list((tmp_path / "npy_slice").iterdir())) == 4
    assert {name: after[name] for name in before} == before


def test_a_second_run_has_nothing_to_do_and_says_so(tmp_path, capsys):
    make_data(tmp_path)
    run(tmp_path)
    before = outputs(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    capsys.readouterr()
    assert run(tmp_path) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert outputs(tmp_path) == before
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}


def test_the_estimate_is_printed_first(tmp_path, capsys):
    make_data(tmp_path)
    run(tmp_path)
    said = capsys.readouterr().out
    for word in ("4 series", "GiB of sequences", "slice copies", "GiB free", "min with", "folds"):
        assert word in said


def test_a_changed_option_is_refused_by_name_and_overwrite_rebuilds(tmp_path, capsys):
    make_data(tmp_path)
    run(tmp_path)
    before = outputs(tmp_path)
    capsys.readouterr()
    assert run(tmp_path, "--size", "48") == 5
    said = capsys.readouterr().out
    assert "option --size: 32 -> 48" in said
    assert "--overwrite" in said
    assert outputs(tmp_path) == before
    assert run(tmp_path, "--size", "48", "--overwrite") == 0
    assert np.load(tmp_path / "npy_sequence" / "1.2.826.0.npy").shape == (8, 48, 48)


def test_a_changed_train_csv_is_refused_and_overwrite_keeps_the_caches(tmp_path, capsys):
    uids = make_data(tmp_path)
    run(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    write_train_csv(tmp_path, uids, label="1")
    assert run(tmp_path) == 5
    assert "train.csv" in capsys.readouterr().out
    assert run(tmp_path, "--overwrite") == 0
    assert rows(tmp_path / "train_meta.csv")[0][LABELS[0]] == "1"
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}


def test_changed_files_of_a_series_are_refused_and_only_that_series_is_rebuilt(tmp_path, capsys):
    uids = make_data(tmp_path)
    run(tmp_path)
    write_single_frames(tmp_path / "series" / uids[2], store(head(seed=9), "sagittal"), uid=uids[2])
    assert run(tmp_path) == 5
    assert f"files of 1 series: {uids[2]}" in capsys.readouterr().out
    untouched = (tmp_path / "npy_sequence" / f"{uids[0]}.npy").stat().st_mtime_ns
    assert run(tmp_path, "--overwrite") == 0
    assert (tmp_path / "npy_sequence" / f"{uids[0]}.npy").stat().st_mtime_ns == untouched
    fresh = to_cache(read_series(tmp_path / "series" / uids[2]), replace(STANDARD, size=SIZE))
    np.testing.assert_array_equal(np.load(tmp_path / "npy_sequence" / f"{uids[2]}.npy"), fresh)


def test_a_copied_data_set_with_other_times_is_not_stale(tmp_path):
    make_data(tmp_path)
    run(tmp_path)
    for path in (tmp_path / "series").rglob("*.dcm"):
        os.utime(path, (1, 1))
    assert run(tmp_path) == 0
    (tmp_path / "fingerprints.json").unlink()
    assert run(tmp_path) == 0


def test_overwrite_rebuilds_everything_when_nothing_has_changed(tmp_path):
    make_data(tmp_path)
    run(tmp_path)
    before = outputs(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert run(tmp_path, "--overwrite") == 0
    assert outputs(tmp_path) == before
    assert all(path.stat().st_mtime_ns != times[path] for path in times)


def test_a_limited_run_is_partial_and_a_later_one_goes_on_to_the_same_bytes(tmp_path):
    make_data(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert run(tmp_path / "a") == 0
    assert run(tmp_path / "b", "--limit", "2") == 0
    manifest = read_manifest(tmp_path / "b" / "preprocess.json", "preprocess")
    assert manifest["partial"] == "2 of 4 series"
    assert len(rows(tmp_path / "b" / "train_meta.csv")) == 2
    assert run(tmp_path / "b", "--limit", "1") == 0
    assert len(rows(tmp_path / "b" / "train_meta.csv")) == 2
    assert run(tmp_path / "b") == 0
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")


def test_the_number_of_workers_changes_no_byte(tmp_path):
    make_data(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert run(tmp_path / "a") == 0
    assert run(tmp_path / "b", workers=2) == 0
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")


def test_bad_series_are_rejected_and_the_others_are_done(tmp_path, capsys):
    uids = make_data(tmp_path)
    shutil.rmtree(tmp_path / "series" / uids[0])
    for path in (tmp_path / "series" / uids[3]).iterdir():
        path.write_text("a letter, not an image")
    assert run(tmp_path) == 4
    said = capsys.readouterr().out
    assert "2 series read" in said
    assert "2 rejected" in said
    found = {row["SeriesInstanceUID"]: row["reason"] for row in rows(tmp_path / "rejected.csv")}
    assert found == {uids[0]: "missing_folder", uids[3]: "not_dicom"}
    assert str(tmp_path) not in (tmp_path / "rejected.csv").read_text()
    assert [row["SeriesInstanceUID"] for row in rows(tmp_path / "train_meta.csv")] == uids[1:3]
    capsys.readouterr()
    assert run(tmp_path) == 4
    assert "nothing to do" in capsys.readouterr().out
    assert run(tmp_path, "--allow_rejected") == 0


def test_a_rejected_series_that_was_mended_is_read_with_overwrite(tmp_path):
    uids = make_data(tmp_path)
    folder = tmp_path / "series" / uids[0]
    folder.rename(tmp_path / "away")
    assert run(tmp_path) == 4
    (tmp_path / "away").rename(folder)
    assert run(tmp_path) == 5
    assert run(tmp_path, "--overwrite") == 0
    assert len(rows(tmp_path / "train_meta.csv")) == 4


def test_a_series_above_the_limit_is_tried_again_when_the_limit_is_raised(tmp_path):
    make_data(tmp_path)
    assert run(tmp_path, "--max_series_gib", "0.00001") == 4
    assert {row["reason"] for row in rows(tmp_path / "rejected.csv")} == {"too_large"}
    assert run(tmp_path) == 0


@pytest.mark.parametrize("drop", ["SeriesInstanceUID", "Aneurysm Present"])
def test_a_missing_column_of_train_csv_is_named(tmp_path, capsys, drop):
    uids = make_data(tmp_path)
    write_train_csv(tmp_path, uids, drop=drop)
    assert run(tmp_path) == 3
    assert f"has no column '{drop}'" in capsys.readouterr().out


def test_a_missing_train_csv_says_what_to_put_there(tmp_path, capsys):
    assert run(tmp_path) == 3
    assert "train.csv is missing" in capsys.readouterr().out


@pytest.mark.parametrize("uid", ["../escape", "", "1.2 3", "..", "1" * 65])
def test_a_uid_that_is_none_is_refused(tmp_path, capsys, uid):
    make_data(tmp_path)
    write_train_csv(tmp_path, ["1.2.826.0", uid])
    assert run(tmp_path) == 3
    assert "SeriesInstanceUID: line 3" in capsys.readouterr().out


def test_a_series_listed_twice_is_refused(tmp_path, capsys):
    uids = make_data(tmp_path)
    write_train_csv(tmp_path, [*uids, uids[0]])
    assert run(tmp_path) == 3
    assert f"{uids[0]} (2 times)" in capsys.readouterr().out


def test_a_label_that_is_neither_0_nor_1_is_refused(tmp_path, capsys):
    uids = make_data(tmp_path)
    write_train_csv(tmp_path, uids, label="yes")
    assert run(tmp_path) == 3
    assert "line 2: 'yes'" in capsys.readouterr().out


def test_no_series_on_disk_at_all_is_one_clear_error(tmp_path, capsys):
    write_train_csv(tmp_path, ["1.2.3"])
    assert run(tmp_path) == 3
    assert "none of the 1 series" in capsys.readouterr().out


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(tmp_path, monkeypatch, capsys):
    make_data(tmp_path)
    real_save, calls = np.save, []

    def full(path: object, *args: object, **kwargs: object) -> None:
        calls.append(path)
        if len(calls) > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real_save(path, *args, **kwargs)

    monkeypatch.setattr(job.np, "save", full)
    assert run(tmp_path) == 3
    assert "No space left" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.partial"))
    assert len(list((tmp_path / "npy_slice").iterdir())) == 1
    assert not (tmp_path / "preprocess.json").exists()
    monkeypatch.undo()
    assert run(tmp_path) == 0


def test_too_little_free_disk_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    make_data(tmp_path)
    monkeypatch.setattr(preprocess_data, "free_gib", lambda path: 1e-6)
    assert run(tmp_path) == 3
    assert "--no_slices" in capsys.readouterr().out
    assert not (tmp_path / "npy_sequence").exists()


def test_verify_finds_a_damaged_cache(tmp_path, capsys):
    uids = make_data(tmp_path)
    run(tmp_path)
    path = tmp_path / "npy_sequence" / f"{uids[0]}.npy"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"\x11")
    assert run(tmp_path) == 0
    assert run(tmp_path, "--verify") == 5
    assert uids[0] in capsys.readouterr().out
    assert run(tmp_path, "--verify", "--overwrite") == 0
    assert path.read_bytes() == good


def test_a_cache_that_was_deleted_is_made_again(tmp_path):
    uids = make_data(tmp_path)
    run(tmp_path)
    before = outputs(tmp_path)
    (tmp_path / "npy_sequence" / f"{uids[1]}.npy").unlink()
    assert run(tmp_path) == 0
    assert outputs(tmp_path) == before


def test_the_reader_changes_no_byte_and_needs_no_overwrite(tmp_path):
    make_data(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert run(tmp_path / "a") == 0
    assert run(tmp_path / "b", "--reader", "pydicom") == 0
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")
    assert run(tmp_path / "a", "--reader", "pydicom") == 0


def test_the_rescale_policy_reaches_the_caches_and_their_identity(tmp_path, capsys):
    make_data(tmp_path)
    assert run(tmp_path) == 0
    applied = np.load(tmp_path / "npy_sequence" / "1.2.826.0.npy").astype(np.float32)
    assert run(tmp_path, "--rescale", "never") == 5
    assert "option --rescale: auto -> never" in capsys.readouterr().out
    assert run(tmp_path, "--rescale", "never", "--overwrite") == 0
    stored = np.load(tmp_path / "npy_sequence" / "1.2.826.0.npy").astype(np.float32)
    assert stored.mean() > applied.mean() + 1  # without the intercept of -1024
    assert rows(tmp_path / "train_meta.csv")[0]["rescale"] == "never"


def test_a_first_run_hashes_no_file_that_it_is_going_to_read(tmp_path, monkeypatch):
    make_data(tmp_path)
    hashed: list[Path] = []
    monkeypatch.setattr(fingerprints, "source_digest", lambda folder: hashed.append(folder) or "x")
    assert run(tmp_path) == 0
    assert run(tmp_path) == 0
    assert hashed == []


def command(data: Path, workers: int) -> list[str]:
    script = str(ROOT / "preprocess_data.py")
    flags = ["--data_dir", str(data), "--size", "256", "--num_workers", str(workers)]
    return [sys.executable, script, *flags]


def test_after_kill_9_in_the_middle_the_same_command_ends_with_the_same_bytes(tmp_path):
    make_data(tmp_path / "a", count=12, slices=24)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert subprocess.run(command(tmp_path / "a", 2), capture_output=True).returncode == 0
    process = subprocess.Popen(command(tmp_path / "b", 2), stdout=subprocess.DEVNULL)
    sequences = tmp_path / "b" / "npy_sequence"
    deadline = time.monotonic() + 60
    while len(list(sequences.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    time.sleep(0.5)  # the workers see that their parent is gone
    assert 2 <= len(list(sequences.glob("*.json"))) < 12
    assert not (tmp_path / "b" / "preprocess.json").exists()
    assert subprocess.run(command(tmp_path / "b", 2), capture_output=True).returncode == 0
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")


def test_sidecars_and_manifest_hold_no_times(tmp_path):
    make_data(tmp_path)
    run(tmp_path)
    year = str(time.gmtime().tm_year)
    manifest = json.loads((tmp_path / "preprocess.json").read_text())
    assert "started" not in manifest
    sidecar = (tmp_path / "npy_sequence" / "1.2.826.0.json").read_text()
    assert f'"{year}-' not in sidecar
