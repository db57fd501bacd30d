"""A data folder as preprocess_data.py leaves it, without pixels: only the tables."""

import hashlib
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from intracranial.artifacts import DataPaths, write_csv
from intracranial.caching.secret import key_identity, make_key
from intracranial.imaging.geometry import Geometry, reorientation
from intracranial.provenance import Request, write_manifest
from intracranial.tasks import LOCALIZER_COLUMNS, RSNA_2025, SERIES_COLUMN, SOP_COLUMN
from tests.challenge import ANEURYSM_PRESENT, LABELS, LOCATIONS, MODALITIES, TRAIN_COLUMNS

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SIZE = 64
SHAPE = (100, 80)
"""Rows and columns as stored, unequal so that an exchange shows."""
STORED_SPACING = (0.5, 0.4)
"""PixelSpacing: mm between rows, mm between columns."""


def geometry_of(
    iop: tuple[float, ...] | None = AXIAL,
    origin: tuple[float, float, float] = (-10.0, -20.0, -30.0),
) -> Geometry:
    """Geometry of a series stored with this ImageOrientationPatient, slices 2 mm apart."""
    if iop is None:
        return Geometry(
            "unknown", SHAPE, (1.0,) * 3, None, (0.0,) * 3, (0.0, 0.0, 1.0), geometry_known=False
        )
    how = reorientation(iop)
    transpose, _, _, flip_slices = astuple(how)[1:]
    row_mm, column_mm = STORED_SPACING[::-1] if transpose else STORED_SPACING
    step = np.cross(iop[:3], iop[3:]) * (-2.0 if flip_slices else 2.0)
    return Geometry(
        how.plane, SHAPE, (2.0, row_mm, column_mm), iop, origin, tuple(step), *astuple(how)[1:]
    )


@dataclass
class TinyData:
    """Rows of the tables; `write` puts them under `root`."""

    root: Path
    meta: list[dict[str, Any]] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
    localizers: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)

    @property
    def paths(self) -> DataPaths:
        return DataPaths(self.root)

    def add_series(
        self,
        uid: str,
        *locations: str,
        group: str | None = None,
        n: int = 20,
        iop: tuple[float, ...] | None = AXIAL,
        multi_frame: bool = False,
        modality: str = "CTA",
        overall: int | None = None,
    ) -> None:
        """One series; single frames are `<uid>.<index>`, an enhanced file is `<uid>.0`."""
        geometry = geometry_of(iop)
        labels = {name: int(name in locations) for name in LOCATIONS}
        labels[ANEURYSM_PRESENT] = int(bool(locations)) if overall is None else overall
        self.meta.append(
            {
                SERIES_COLUMN: uid,
                "PatientAge": "060",
                "PatientSex": "F",
                "Modality": modality,
                **labels,
                "group": group or hashlib.sha256(uid.encode()).hexdigest()[:16],
                "dicom_modality": "CT" if modality == "CTA" else "MR",
                "n": n,
                "size": SIZE,
                **geometry.to_row(),
                "notes": "a, b",
            }
        )
        for index in range(n):
            # Enhanced files here are stored against the canonical order.
            frame = n - 1 - index if multi_frame else 0
            position = np.add(geometry.origin, np.multiply(index, geometry.slice_step))
            xyz = position.tolist() if geometry.geometry_known else ("", "", "")
            self.slices.append(
                {
                    SERIES_COLUMN: uid,
                    "index": index,
                    SOP_COLUMN: f"{uid}.0" if multi_frame else f"{uid}.{index}",
                    "frame": frame,
                    **dict(zip("xyz", xyz, strict=True)),
                }
            )

    def mark(
        self, uid: str, index: int | str, location: str, coordinates: str = "{'x': 40.0, 'y': 50.0}"
    ) -> int:
        """One localizer row; returns its line in the file."""
        row = (uid, f"{uid}.{index}", coordinates, location)
        self.localizers.append(dict(zip(LOCALIZER_COLUMNS, row, strict=True)))
        return len(self.localizers) + 1

    def write(self, preprocess: str = "first", partial: str | None = None) -> "TinyData":
        """Write all tables and the manifest of preprocess_data.py."""
        paths = self.paths
        columns = list(self.meta[0])
        assert set(TRAIN_COLUMNS) <= set(columns)
        write_csv(paths.train_meta_csv, columns, self.meta)
        write_csv(paths.slices_csv, list(self.slices[0]), self.slices)
        write_csv(paths.localizers_csv, LOCALIZER_COLUMNS, self.localizers)
        rejected = [{SERIES_COLUMN: uid, "reason": "no_images"} for uid in self.rejected]
        write_csv(paths.rejected_csv, (SERIES_COLUMN, "file", "reason", "words"), rejected)
        request = Request("preprocess", {"size": SIZE}, {"train.csv": preprocess}, partial)
        content = {"task": RSNA_2025.record(), "key": key_identity(make_key(paths))}
        write_manifest(paths.preprocess_manifest, request, complete=True, content=content)
        return self


def cohort(root: Path, patients: int = 40, seed: int = 0) -> TinyData:
    """Patients with one or two series; every other patient has one aneurysm near the middle."""
    rng = np.random.default_rng(seed)
    data = TinyData(root)
    planes = (AXIAL, (1.0, 0.0, 0.0, 0.0, 0.0, -1.0), (0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    for patient in range(patients):
        location = LOCATIONS[patient // 2 % len(LOCATIONS)] if patient % 2 else None
        for number in range(1 + patient % 5 // 4):
            n = int(rng.integers(20, 60))
            uid = f"1.2.{patient}.{number}"
            data.add_series(
                uid,
                *([location] if location else []),
                group=f"{patient:016x}",
                n=n,
                iop=planes[patient % 7 // 5],
                modality=MODALITIES[patient % len(MODALITIES)],
            )
            if location:
                data.mark(uid, int(n * rng.uniform(0.3, 0.6)), location)
    assert set(LABELS) <= set(data.meta[0])
    return data
