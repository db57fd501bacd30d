"""Subgroups of the scored series: what each belongs to, and a score table for each.

Age, sex and modality names come from the labels' table; they serve tables like these and never
steer a model.
"""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from intracranial.imaging.geometry import THICKNESS_COLUMN
from intracranial.splits.folds import Split
from intracranial.statistics.intervals import (
    Settings,
    TableWithIntervals,
    table_with_intervals,
)
from intracranial.statistics.sample import Sample
from intracranial.tasks import Task

UNKNOWN = "unknown"

NOT_STATED = "not stated"
"""Slice thickness of series whose files do not have it."""

AGE_BANDS = (45, 60, 75)
"""Ages in years at which a band begins: thirds of the usual patients, and the young."""

SLICE_BANDS = (1, 3)
"""Thicknesses of slices and distances between them in mm at which a band begins: thin for
angiography, thick for T2."""

MANY_FINDINGS = 2
"""Series with this many findings or more form one subgroup."""

FINDINGS = "findings"
"""The trait whose subgroups are compared with all series without a finding."""

AGE = re.compile(r"\s*(\d{1,3})(?:\.\d+)?\s*Y?\s*")
"""Years as a number, or as DICOM's age string (PS3.5 6.2, AS) such as 067Y."""


def describe(
    modality: str,
    plane: str,
    sex: str,
    age: str,
    thickness: float | None,
    distance: float | None,
    findings: int,
) -> dict[str, str]:
    """The traits of one series, each in words that sort in their natural order.

    Args:
        modality: train.csv's name or the DICOM Modality.
        plane: of the slices.
        sex: as in the labels' table; '' where it is not known.
        age: likewise, in years.
        thickness: of the slices in mm; None or NaN where the files do not state it.
        distance: between the centres of neighbouring slices in mm; None or NaN where it is not
            known. Slices may overlap or leave gaps, so it is not their thickness.
        findings: how many.
    """
    years = AGE.fullmatch(age.upper())
    return {
        "modality": modality or UNKNOWN,
        "plane": plane,
        "sex": sex.strip().capitalize() or UNKNOWN,
        "age": _band(int(years[1]), AGE_BANDS, 1) if years else UNKNOWN,
        "slice_thickness": _slice_band(thickness) or NOT_STATED,
        "slice_distance": _slice_band(distance) or UNKNOWN,
        FINDINGS: str(findings) if findings < MANY_FINDINGS else f"{MANY_FINDINGS}+",
    }


def _slice_band(mm: float | None) -> str:
    """The band of a thickness or distance, '' where there is none."""
    if mm is None or not (math.isfinite(mm) and mm > 0):
        return ""
    return f"{_band(mm, SLICE_BANDS, 0)} mm"


def _band(value: float, starts: Sequence[int], step: int) -> str:
    """The band of a value; `step` is 1 where whole numbers are counted, so that none is in two."""
    edges = [0, *starts]
    position = int(np.searchsorted(starts, value, "right"))
    if position == len(starts):
        return f"{edges[position]}+"
    return f"{edges[position]} to {edges[position + 1] - step}"


def count_findings(task: Task, labels: np.ndarray, placed: int) -> int:
    """Placed findings of a series, or its positive labels where more: some have no place."""
    names = task.locations or task.others or task.labels
    return max(placed, sum(labels[task.labels.index(name)] == 1 for name in names))


def sample_of_split(
    split: Split, task: Task, uids: Sequence[str], targets: np.ndarray, probabilities: np.ndarray
) -> Sample:
    """Rows of series in a split, with their patients and traits from its tables.

    Args:
        split: the split.
        task: the labels.
        uids: series of each row, (N,); a series may have several rows.
        targets: (N, L).
        probabilities: (N, L).
    """
    series = split.series.loc[list(dict.fromkeys(uids))]
    found: dict[str, dict[str, str]] = {}
    for uid, row in series.iterrows():
        labels = row[list(task.labels)].to_numpy(dtype=np.float64)
        found[str(uid)] = describe(
            str(row["Modality"]),
            str(row["plane"]),
            str(row.get("PatientSex", "")),
            str(row.get("PatientAge", "")),
            row.get(THICKNESS_COLUMN),
            float(row["spacing_slice"]) if row["geometry_known"] else None,
            count_findings(task, labels, len(split.findings.get(str(uid), ()))),
        )
    groups = dict(zip(series.index, series["group"], strict=True))
    return Sample(
        targets,
        probabilities,
        np.array(uids, dtype=str),
        np.array([groups[uid] for uid in uids], dtype=str),
        by_trait([found[uid] for uid in uids]),
    )


def by_trait(rows: Sequence[Mapping[str, str]]) -> dict[str, np.ndarray]:
    """Traits of rows as columns; none without rows."""
    names = rows[0] if rows else {}
    return {name: np.array([row[name] for row in rows], dtype=str) for name in names}


def subgroup_tables(
    task: Task, sample: Sample, settings: Settings
) -> dict[str, dict[str, TableWithIntervals]]:
    """A score table with intervals for each value of each trait.

    Series with k findings are scored together with all series that have none: alone they would
    have one class.
    """
    tables: dict[str, dict[str, TableWithIntervals]] = {}
    for trait, values in sample.traits.items():
        tables[trait] = {}
        for name in np.unique(values):
            chosen = values == name
            if trait == FINDINGS:
                if name == "0":
                    continue
                chosen = chosen | (values == "0")
            tables[trait][str(name)], _ = table_with_intervals(task, sample.rows(chosen), settings)
    return tables
