"""train_meta.csv, slices.csv and rejected.csv, put together from the sidecars of the series."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from intracranial.artifacts import DataPaths, write_csv
from intracranial.caching.job import META_COLUMNS, PARTIAL, REJECTED
from intracranial.caching.train_table import PATIENT_COLUMN
from intracranial.imaging.linkage import Linkage, group_names, large_groups
from intracranial.tasks import SERIES_COLUMN, SOP_COLUMN

MADE_COLUMNS = ("group", *META_COLUMNS)
"""Columns that train_meta.csv adds to those of train.csv."""

DROPPED_COLUMNS = (PATIENT_COLUMN, "PatientName", "PatientBirthDate")
"""Columns of train.csv that no other table gets: they name a patient."""

SLICE_COLUMNS = (SERIES_COLUMN, "index", SOP_COLUMN, "frame", "x", "y", "z", "notes")
REJECTED_COLUMNS = (SERIES_COLUMN, "file", "reason", "words")


def rejected_row(uid: str, reason: str, words: str) -> dict[str, str]:
    """The row of rejected.csv for a whole series."""
    return {SERIES_COLUMN: uid, "file": "", "reason": reason, "words": words}


def write_tables(
    data: DataPaths,
    columns: Sequence[str],
    rows: Sequence[dict[str, str]],
    rejected: Sequence[dict[str, str]],
    key: bytes,
) -> dict[str, Any]:
    """Write the three tables in the order of train.csv.

    Args:
        data: the data folder.
        columns: columns of train.csv.
        rows: rows of train.csv that the run covers.
        rejected: rows of the rejected series; all other series have a finished sidecar.
        key: of the data folder.

    Returns:
        Counts: series read, of these with notes and in part, rejected, slices, groups; and the
        suspiciously large groups. Files left out count by reason in "lost files".
    """
    out = {row[SERIES_COLUMN]: row for row in rejected}
    kept = [row for row in rows if row[SERIES_COLUMN] not in out]
    metas: list[dict[str, Any]] = []
    linkages: list[Linkage] = []
    lost: dict[str, list[dict[str, str]]] = {}
    for row in kept:
        uid = row[SERIES_COLUMN]
        sidecar = _sidecar(data, uid)
        metas.append(sidecar["meta"])
        linkages.append(Linkage(**sidecar["linkage"]).unkeyed(key))
        lost[uid] = [{SERIES_COLUMN: uid, **line} for line in sidecar["lost"]]
    groups = group_names(
        linkages,
        [row[SERIES_COLUMN] for row in kept],
        key,
        [row.get(PATIENT_COLUMN, "") for row in kept],
    )
    given = [name for name in columns if name not in (*MADE_COLUMNS, *DROPPED_COLUMNS)]
    # later stages balance and report by it, whoever wrote the table
    modality = [] if "Modality" in given else ["Modality"]
    write_csv(
        data.train_meta_csv,
        [*given, *modality, *MADE_COLUMNS],
        (
            {"Modality": meta["dicom_modality"], **row, "group": group, **meta}
            for row, group, meta in zip(kept, groups, metas, strict=True)
        ),
    )
    write_csv(data.slices_csv, SLICE_COLUMNS, _slices(data, kept))
    lost_files = Counter(line["reason"] for found in lost.values() for line in found)
    for uid, line in out.items():
        lost[uid] = [line]
    ordered = (line for row in rows for line in lost[row[SERIES_COLUMN]])
    write_csv(data.rejected_csv, REJECTED_COLUMNS, ordered)
    return {
        "read": len(kept),
        "read with notes": sum(bool(meta["notes"]) for meta in metas),
        "read in part": sum(meta["status"] == PARTIAL for meta in metas),
        "rejected": len(rejected),
        "lost files": lost_files,
        "slices": sum(meta["n"] for meta in metas),
        "groups": len(set(groups)),
        "large groups": large_groups(groups),
    }


def _slices(data: DataPaths, rows: Sequence[dict[str, str]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        uid = row[SERIES_COLUMN]
        for line in _sidecar(data, uid)["slices"]:
            yield {SERIES_COLUMN: uid, **line}


def _sidecar(data: DataPaths, uid: str) -> dict[str, Any]:
    path = data.sequence_sidecar(uid)
    sidecar: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if sidecar["status"] == REJECTED:
        raise RuntimeError(f"{path} changed while the tables were written")
    return sidecar
