"""One series -> its cache files, in a worker process.

The sidecar `npy_sequence/<uid>.json` is written last: it is the mark of a finished series, holds
its rows of the tables, and says what it was made from.
"""

import hashlib
import io
import multiprocessing
import os
import shutil
import threading
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from src.artifacts import TEMPORARY_SUFFIX, DataPaths, atomic_open, write_json
from src.imaging.cache import CacheOptions, to_cache
from src.imaging.dicom import source_digest
from src.imaging.geometry import GEOMETRY_COLUMNS, cache_scale
from src.imaging.series import ReadOptions, Series, SeriesError, read_series
from src.imaging.sources import ABSENT, look_at
from src.task import SOP_COLUMN

SIDECAR_FORMAT = 1
"""Raise it when the same files and options give other bytes than before."""

READ = "read"
REJECTED = "rejected"

PASSING_REASONS = frozenset({"worker_died", "too_large", "out_of_memory", "unreadable", "internal"})
"""Reasons that lie in the machine or its limits: no sidecar, the next run tries again."""


META_COLUMNS = (
    "dicom_modality",
    "n",
    "size",
    *GEOMETRY_COLUMNS,
    "scale_x",
    "scale_y",
    "rescale",
    "notes",
)
"""Columns of train_meta.csv that come from the files of a series."""


@dataclass(frozen=True)
class Job:
    """One series to read."""

    uid: str
    data: DataPaths
    config: dict[str, Any]
    """Identity of the preprocessing options: size, mr_window, orient."""

    slices: bool
    max_gib: float


@dataclass(frozen=True)
class Outcome:
    """How one series ended."""

    uid: str
    stat: str = ""
    """Stat digest of the source before it was read."""

    source: str = ""
    """Content digest of the source; '' when unknown."""

    code: str = ""
    """Reason of the rejection, '' when the series was read."""

    message: str = ""


def prepare_worker() -> None:
    """One thread per worker, and no worker outlives a killed run."""
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        watch = threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True)
        watch.start()


def _leave_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def cache_series(job: Job) -> Outcome:
    """Read one series and write its caches and its sidecar.

    Errors of reading reject the series; errors of writing, such as a full disk, are raised.
    """
    folder = job.data.series / job.uid
    stat = look_at(folder).stat
    try:
        series, cached = _read(job, folder)
    except SeriesError as error:
        return _reject(job, folder, stat, error.code, error.message)
    except MemoryError:
        return _reject(job, folder, stat, "out_of_memory", "not enough memory for this series")
    except OSError as error:
        return _reject(job, folder, stat, "unreadable", f"{error}; check the disk and rerun")
    except Exception as error:  # whatever a damaged file provokes must not end the run
        return _reject(job, folder, stat, "internal", f"{type(error).__name__}: {error}")
    digest, size = _write_sequence(job.data.sequence(job.uid), cached)
    if job.slices:
        _write_slices(job.data.slices / job.uid, cached)
    sidecar = {
        **_head(job, series.source),
        "status": READ,
        "meta": _meta_row(series, job.config["size"]),
        "slices": _slice_rows(series),
        "linkage": asdict(series.linkage),
        "sha256": digest,
        "bytes": size,
    }
    write_json(job.data.sequence_sidecar(job.uid), sidecar)
    return Outcome(job.uid, stat, series.source)


def _read(job: Job, folder: Path) -> tuple[Series, np.ndarray]:
    options = ReadOptions(orient=job.config["orient"], max_gib=job.max_gib, expected_uid=job.uid)
    series = read_series(folder, options)
    return series, to_cache(series, CacheOptions(job.config["size"], job.config["mr_window"]))


def _head(job: Job, source: str) -> dict[str, Any]:
    return {"format": SIDECAR_FORMAT, "uid": job.uid, "config": job.config, "source": source}


def _reject(job: Job, folder: Path, stat: str, code: str, message: str) -> Outcome:
    """Record a rejection, in words that do not depend on where the data folder lies."""
    message = " ".join(message.replace(str(folder), f"series/{job.uid}").split())
    if code in PASSING_REASONS:
        return Outcome(job.uid, stat, "", code, message)
    source = source_digest(folder) if folder.is_dir() else ABSENT
    _remove_caches(job)
    sidecar = {
        **_head(job, source),
        "status": REJECTED,
        "reason": code,
        "words": message,
    }
    write_json(job.data.sequence_sidecar(job.uid), sidecar)
    return Outcome(job.uid, stat, source, code, message)


def _remove_caches(job: Job) -> None:
    """A series that is rejected now may have been read before its files changed."""
    job.data.sequence(job.uid).unlink(missing_ok=True)
    shutil.rmtree(job.data.slices / job.uid, ignore_errors=True)


def _write_sequence(path: Path, cached: np.ndarray) -> tuple[str, int]:
    """Write the sequence; returns SHA-256 and length of the file."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(cached))
    digest = hashlib.sha256(header.getvalue())
    digest.update(cached.data)
    with atomic_open(path, "wb") as file:
        file.write(header.getvalue())
        cached.tofile(file)
    return digest.hexdigest(), len(header.getvalue()) + cached.nbytes


def _write_slices(folder: Path, cached: np.ndarray) -> None:
    """Write one file per slice; the folder appears when all of them are there."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(cached):
            np.save(temporary / f"{index:04d}.npy", image, allow_pickle=False)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _meta_row(series: Series, size: int) -> dict[str, Any]:
    """Cells of train_meta.csv that come from the files."""
    scale_x, scale_y = cache_scale(series.geometry, size)
    return {
        "dicom_modality": series.modality,
        "n": len(series.pixels),
        "size": size,
        **series.geometry.to_row(),
        "scale_x": scale_x,
        "scale_y": scale_y,
        "rescale": "modality_lut" if _has_code(series.notes, "modality_lut") else "applied",
        "notes": ";".join(series.notes),
    }


def _has_code(notes: tuple[str, ...], code: str) -> bool:
    return any(note.split(":")[0] == code for note in notes)


def _slice_rows(series: Series) -> list[dict[str, Any]]:
    """Rows of slices.csv, without the series' UID."""
    rows = []
    for index, place in enumerate(series.positions.tolist()):
        x, y, z = (None if value != value else value for value in place)
        rows.append(
            {
                "index": index,
                SOP_COLUMN: series.sop_uids[index],
                "frame": int(series.frames[index]),
                "x": x,
                "y": y,
                "z": z,
                "notes": ";".join(series.slice_notes[index]),
            }
        )
    return rows
