"""preprocess_data.py: which of several scans of a series is kept, and what decoders say."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from intracranial.imaging import decoding
from intracranial.imaging.dicom.parse import DicomFile
from intracranial.imaging.dicom.pixels import decode_frames
from intracranial.imaging.pixels import STANDARD
from intracranial.options.preprocess import PreprocessOptions
from tests.imaging.make_series import Stored, head, store, write_single_frames
from tests.stages.preprocessed import make_data, rows, run


def make_two_phases(data: Path) -> None:
    """The first series gets a second acquisition at the same positions."""
    uid, *_ = make_data(data)
    first, later = store(head(seed=0)), store(head(seed=9))
    both = Stored(
        np.concatenate([first.images, later.images]),
        first.iop,
        np.concatenate([first.positions, later.positions]),
        first.spacing,
    )
    for path in (data / "series" / uid).iterdir():
        path.unlink()
    tags = {"AcquisitionNumber": [1] * 8 + [2] * 8}
    write_single_frames(data / "series" / uid, both, uid=uid, per_slice=tags)


def test_the_phase_reaches_the_caches_and_is_part_of_what_they_are(tmp_path, capsys):
    make_two_phases(tmp_path)
    assert run(tmp_path) == 0
    first = [row["SOPInstanceUID"] for row in rows(tmp_path / "slices.csv")][:8]
    assert run(tmp_path) == 0
    assert run(tmp_path, "--phase", "last") == 5
    assert "option --phase: first -> last" in capsys.readouterr().out
    assert run(tmp_path, "--phase", "last", "--overwrite") == 0
    last = [row["SOPInstanceUID"] for row in rows(tmp_path / "slices.csv")][:8]
    assert not set(first) & set(last)
    assert (
        "volumes_dropped:8 slices:by acquisition" in rows(tmp_path / "train_meta.csv")[0]["notes"]
    )


def test_caches_of_before_there_was_a_phase_stay_what_they_are():
    """At the value that its absence meant, the option is no part of the identity."""
    assert set(PreprocessOptions().identity()) == {"size", "mr_window", "orient", "rescale"}
    assert PreprocessOptions(pixels=replace(STANDARD, phase="last")).identity()["phase"] == "last"


def test_what_a_decoder_says_is_logged_with_series_and_file(tmp_path, capsys, monkeypatch):
    uid, *_ = make_data(tmp_path)
    path = next((tmp_path / "series" / uid).iterdir())

    def speaking(file: DicomFile, frames: list[int]) -> Iterator[Any]:
        if file.file == path.name:
            file.messages.append("Unsupported JPEG data precision 12")
        yield from decode_frames(file, frames)

    monkeypatch.setattr(decoding, "decode_frames", speaking)
    assert run(tmp_path, "--num_workers", "0") == 0
    said = capsys.readouterr().out
    assert f"{uid}: a decoder says of {path.name}: Unsupported JPEG data precision 12" in said
    assert "decoder_message:1" in rows(tmp_path / "train_meta.csv")[0]["notes"]


def test_a_lost_slice_has_the_decoders_words_in_its_row(tmp_path):
    uid, *_ = make_data(tmp_path)
    path = next((tmp_path / "series" / uid).iterdir())
    dataset = pydicom.dcmread(path)
    dataset.PixelData = dataset.PixelData[:100]
    dataset.save_as(path)
    run(tmp_path)
    (row,) = rows(tmp_path / "rejected.csv")
    assert row["reason"] == "undecodable_pixels"
    assert "pixel data ends at byte 100 of" in row["words"]
