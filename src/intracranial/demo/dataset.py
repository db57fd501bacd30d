"""A whole synthetic data set in the challenge's layout."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intracranial.demo.dicom_writer import Identity, write_series
from intracranial.demo.geometry import grid_of
from intracranial.demo.phantom import make_patient, render
from intracranial.demo.protocol import draw_acquisition
from intracranial.demo.streams import Purpose, stream
from intracranial.errors import InputError
from intracranial.processes.pool import WorkerDied, WorkerPool
from intracranial.tasks import LOCALIZER_COLUMNS, RSNA_2025, SERIES_COLUMN
from intracranial.threads import cores_for_processes

SECOND_SERIES = 0.1
"""Share of patients with two series, of different modalities where the draw says so."""


@dataclass(frozen=True)
class SeriesRows:
    """Rows of the two tables that one series adds."""

    number: int
    train: tuple[object, ...]
    localizers: tuple[tuple[object, ...], ...]


def patient_of(seed: int, number: int) -> tuple[int, int]:
    """Patient of a series and which of the patient's series it is; depends on both numbers only."""
    again = number > 0 and stream(seed, number, Purpose.PAIRING).random() < SECOND_SERIES
    if again and patient_of(seed, number - 1)[1] == 0:
        return patient_of(seed, number - 1)[0], 1
    return number, 0


def uid_from(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that depends on the parts only."""
    value = int(hashlib.sha256(repr(parts).encode()).hexdigest()[:24], 16)
    return f"2.25.{value}"


def make_series(folder: Path, seed: int, number: int) -> SeriesRows:
    """Draw, render and write one series.

    Args:
        folder: the data set's folder.
        seed: of the data set.
        number: of the series; the same seed and number give the same bytes.
    """
    cores_for_processes()
    index, which = patient_of(seed, number)
    patient = make_patient(seed, index)
    acquisition = draw_acquisition(stream(seed, number, Purpose.PROTOCOL))
    person = stream(seed, index, Purpose.IDENTITY)
    age, female = int(person.integers(24, 88)), bool(person.random() < 0.6)
    identity = Identity(
        patient_id=f"SYN{uid_from('patient', seed, index)[-10:]}",
        study_uid=uid_from("study", seed, index, which),
        series_uid=uid_from("series", seed, number),
        frame_of_reference_uid=uid_from("frame", seed, number),
        age=age,
        sex="F" if female else "M",
    )
    volume = render(patient, acquisition)
    written = write_series(folder / "series" / identity.series_uid, volume, acquisition, identity)
    grid = grid_of(acquisition)
    present, localizers = set(), []
    for finding in patient.aneurysms:
        at = grid.to_index(finding.centre)
        nearest = np.round(at).astype(int)
        if (nearest < 0).any() or (nearest >= grid.shape).any():
            continue  # outside of the scanned volume: nobody could have labelled it
        sop, frame = written[int(nearest[0])]
        coordinates = {"x": round(float(at[2]), 2), "y": round(float(at[1]), 2)}
        if frame is not None:
            coordinates["f"] = frame
        present.add(finding.location)
        localizers.append((identity.series_uid, sop, str(coordinates), finding.location))
    labels = [
        int(label in present or (label == RSNA_2025.overall and present != set()))
        for label in RSNA_2025.labels
    ]
    row = (identity.series_uid, age, "Female" if female else "Male", acquisition.modality, *labels)
    return SeriesRows(number, row, tuple(localizers))


TRAIN_COLUMNS = (SERIES_COLUMN, "PatientAge", "PatientSex", "Modality", *RSNA_2025.labels)
"""The 18 columns of train.csv in the challenge's order."""

MOST_SECONDS = 600.0
"""Limit of one series, which takes a second."""


def make_data_set(folder: Path, series: int, seed: int, num_workers: int) -> Iterator[SeriesRows]:
    """Write series and, at the end, train.csv and train_localizers.csv; yields as series finish.

    Args:
        folder: where the data set goes.
        series: number of series.
        seed: of the data set.
        num_workers: processes; 0 works here.

    Raises:
        InputError: a process died, or could not be started.
    """
    rows: list[SeriesRows] = []
    if num_workers == 0:
        for number in range(series):
            rows.append(make_series(folder, seed, number))
            yield rows[-1]
    else:
        with WorkerPool(num_workers, MOST_SECONDS) as pool:
            made = [pool.submit(make_series, folder, seed, number) for number in range(series)]
            for number, future in enumerate(made):
                try:
                    rows.append(future.result())
                except WorkerDied as death:
                    raise InputError(
                        f"the process that made series {number} {death} (killed for memory, or "
                        "stopped?); run the same command again, with fewer --num_workers if memory "
                        "is short"
                    ) from None
                yield rows[-1]
    _write(
        folder / "train_localizers.csv", LOCALIZER_COLUMNS, [r for s in rows for r in s.localizers]
    )
    _write(folder / "train.csv", TRAIN_COLUMNS, [s.train for s in rows])


def _write(path: Path, columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
