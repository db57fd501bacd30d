"""A tiny data set in the challenge's layout: two dozen series of a bright blob in noise, as DICOM.

The blob's column tells its location. Among the series are a sagittal and a coronal one, one that
is RLE-compressed, one stored from top to bottom, one enhanced multi-frame file whose localizer
has `f`, two series of one patient and one series whose aneurysm has no localizer.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import RLELossless

from intracranial.artifacts import DataPaths
from intracranial.tasks import LOCALIZER_COLUMNS
from tests.challenge import ANEURYSM_PRESENT, LABELS, LOCATIONS, TRAIN_COLUMNS
from tests.imaging.make_series import store, write_multi_frame, write_single_frames

EDGE = 64
"""Rows and columns of every image."""

SAGITTAL, CORONAL, RLE, MULTI_FRAME, REVERSED = 1, 3, 5, 7, 9
"""Numbers of the special series; odd, so that they have an aneurysm."""

ONE_PATIENT = (10, 11)
"""Two series of one patient."""

UNLOCALIZED = 13
"""A series whose aneurysm has no row in train_localizers.csv."""

SECRETS = {
    "PatientName": "Zebedee^Quill",
    "PatientBirthDate": "19470823",
    "StudyDate": "20190417",
    "AccessionNumber": "ACC-55512",
}
"""What every file says of the person; none of it may be written anywhere."""

SECRET_ID = "HOSPITAL-77"
"""First part of every PatientID."""

KEY = "5e" * 32 + "\n"
"""Content of secret.key, so that two folders of the same data become equal in every byte."""


@dataclass(frozen=True)
class TinySeries:
    """One series: its aneurysm is at column `x`, row `y` of the canonical slice `index`."""

    uid: str
    locations: tuple[str, ...]
    n: int
    index: int
    x: int
    y: int


def uid_of(number: int) -> str:
    return f"1.2.826.0.1.3680043.8.498.{number + 1}"


def make_tiny_data(data: Path, count: int = 26, first: int = 0) -> list[TinySeries]:
    """Write series/, train.csv and train_localizers.csv; equal arguments give equal files."""
    made = [_write_series(data / "series", first + k) for k in range(count)]
    write_tables(data, made)
    DataPaths(data).secret_key.write_text(KEY, encoding="ascii")
    return made


def write_tables(data: Path, made: list[TinySeries]) -> None:
    """train.csv and train_localizers.csv of these series."""
    with open(data / "train.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(TRAIN_COLUMNS)
        for series in made:
            positive = {*series.locations, *([ANEURYSM_PRESENT] if series.locations else [])}
            modality = "MRA" if is_mr(number_of(series)) else "CTA"
            row = [series.uid, "60", "Female", modality]
            writer.writerow([*row, *(int(label in positive) for label in LABELS)])
    with open(data / "train_localizers.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(LOCALIZER_COLUMNS)
        for series in made:
            number = number_of(series)
            if not series.locations or number == UNLOCALIZED:
                continue
            sop, where = f"{series.uid}.9.{series.index + 1}", {"x": series.x, "y": series.y}
            if number == MULTI_FRAME:
                sop, where = f"{series.uid}.9", {**where, "f": series.n - 1 - series.index}
            if number == REVERSED:
                sop = f"{series.uid}.9.{series.n - series.index}"
            for location in series.locations:
                writer.writerow([series.uid, sop, str(where), location])


def patient_of(number: int) -> str:
    """PatientID of a series."""
    return f"{SECRET_ID}-{min(ONE_PATIENT) if number in ONE_PATIENT else number}"


def number_of(series: TinySeries) -> int:
    return int(series.uid.rsplit(".", 1)[1]) - 1


def is_mr(number: int) -> bool:
    return number == MULTI_FRAME or number % 4 == 2


def _write_series(folder: Path, number: int) -> TinySeries:
    rng = np.random.default_rng(number)
    uid = uid_of(number)
    n = int(rng.integers(16, 23))
    location = (number // 2) % len(LOCATIONS)
    index, x, y = int(rng.integers(3, n - 3)), 6 + 4 * location, EDGE // 2
    volume = rng.normal(1100, 20, (n, EDGE, EDGE))
    locations = (LOCATIONS[location],) if number % 2 else ()
    if locations:
        z, row, column = np.ogrid[:n, :EDGE, :EDGE]
        squared = (z - index) ** 2 / 2 + (row - y) ** 2 / 9 + (column - x) ** 2 / 9
        volume += 500 * np.exp(-squared)
    volume = volume.astype(np.int16)
    plane = {SAGITTAL: "sagittal", CORONAL: "coronal"}.get(number, "axial")
    stored = store(volume, plane, spacing=(2.0, 3.0, 3.0), reverse=number == REVERSED)
    tags = {**SECRETS, "PatientID": patient_of(number)}
    if number == MULTI_FRAME:
        path = folder / uid / f"{uid}.9.dcm"
        write_multi_frame(path, stored, uid=uid, order=list(range(n))[::-1])
        dataset = pydicom.dcmread(path)
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    else:
        write_single_frames(
            folder / uid,
            stored,
            modality="MR" if is_mr(number) else "CT",
            uid=uid,
            compress=RLELossless if number == RLE else "",
            intercept=0 if is_mr(number) else -1024,
            tags=tags,
        )
    return TinySeries(uid, locations, n, index, x, y)
