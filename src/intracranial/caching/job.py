"""One series -> its cache files, in a worker process.

The sidecar `npy_sequence/<uid>.json` is written last: it is the mark of a finished series, holds
its rows of the tables, and says what it was made from.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from intracranial.artifacts import TEMPORARY_SUFFIX, DataPaths, atomic_open, write_json
from intracranial.caching.fingerprints import ABSENT, look_at
from intracranial.caching.secret import key_identity
from intracranial.imaging.cache import CacheDigest, cached_slices
from intracranial.imaging.folder import source_digest
from intracranial.imaging.geometry import GEOMETRY_COLUMNS, THICKNESS_COLUMN, cache_scale
from intracranial.imaging.outcome import CODES, LeftOut, base_code
from intracranial.imaging.pixels import Pixels
from intracranial.imaging.series import ReadLimits, Series, SeriesError, read_series
from intracranial.options.common import identity
from intracranial.processes.allocation import keep_freed_memory
from intracranial.tasks import SOP_COLUMN

ReadT = TypeVar("ReadT")

SIDECAR_FORMAT = 5
"""Raise it when the same files and options give other bytes than before."""

CONTENT_HASH = "xxh3_128"
"""Hash of a cached sequence, and its key in the sidecar."""

CHANGED = "files changed while they were read; rerun the same command when nothing writes to them"

PARTIAL = "partial"
REJECTED = "rejected"
"""Values of a sidecar's `status`, beside "read"."""

PASSING_REASONS = frozenset(
    {
        "worker_died",
        "timed_out",
        "too_large",
        "out_of_memory",
        "unreadable",
        "changed_while_read",
        "internal",
    }
)
"""Reasons that lie in the machine or its limits: no sidecar, the next run tries again."""

NAMED_FRAMES = 5
"""Frames of one file that rejected.csv names."""

RESCALED = {
    "modality_lut": "modality_lut",
    "rescale_already_hu": "already_hu",
    "rescale_unwrapped": "unwrapped",
    "rescale_never": "never",
}
"""Code of a note -> the `rescale` column; "applied" without any of them."""

FILE_COLUMNS = (
    "status",
    "dicom_modality",
    "n",
    "size",
    *GEOMETRY_COLUMNS,
    THICKNESS_COLUMN,
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
    pixels: Pixels
    limits: ReadLimits
    slices: bool
    """Whether each slice is written as a file of its own too."""

    key: bytes = field(repr=False)
    """Of the data folder; keys the hashes of patient and study."""


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

    said: tuple[str, ...] = ()
    """What decoders have said about files, for the log."""


@dataclass(frozen=True)
class Failure:
    """Why a series cannot be read: reason code and words."""

    code: str
    words: str


def cache_series(job: Job) -> Outcome:
    """Read one series and write its caches and its sidecar.

    Errors of reading reject the series; errors of writing, such as a full disk, are raised.
    """
    keep_freed_memory()
    folder = job.data.series / job.uid
    stat = look_at(folder).stat
    series = attempt(lambda: read_series(folder, job.pixels, job.limits))
    if isinstance(series, Failure):
        return _reject(job, folder, stat, series.code, series.words)
    if look_at(folder).stat != stat:
        return _reject(job, folder, stat, "changed_while_read", CHANGED)
    digest, size = _write_caches(job, series)
    sidecar = {
        **_head(job, series.source),
        "status": series.status,
        "meta": _meta_row(series, job.pixels.size),
        "slices": _slice_rows(series),
        "lost": _lost_rows(series.left_out),
        "linkage": asdict(replace(series.linkage, pixels=digest.of_image).keyed(job.key)),
        "key": key_identity(job.key),
        CONTENT_HASH: digest.hexdigest(),
        "bytes": size,
    }
    write_json(job.data.sequence_sidecar(job.uid), sidecar)
    return Outcome(job.uid, stat, series.source, said=series.messages)


def attempt(read: Callable[[], ReadT]) -> ReadT | Failure:
    """What `read` makes of a series, or why it fails: no damaged file may end the run."""
    try:
        return read()
    except SeriesError as error:
        return Failure(error.code, error.message)
    except MemoryError:
        return Failure("out_of_memory", "not enough memory for this series")
    except OSError as error:
        return Failure("unreadable", f"{error}; check the disk and rerun")
    except Exception as error:  # whatever a damaged file provokes
        return Failure("internal", f"{type(error).__name__}: {error}")


def _head(job: Job, source: str) -> dict[str, Any]:
    return {
        "format": SIDECAR_FORMAT,
        "uid": job.uid,
        "config": identity(job.pixels),
        "source": source,
    }


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


def _write_caches(job: Job, series: Series) -> tuple[CacheDigest, int]:
    """Write the sequence and the slice copies; returns digest and length of the sequence."""
    digest = CacheDigest((len(series.images), job.pixels.size, job.pixels.size))
    size = len(digest.header)
    with atomic_open(job.data.sequence(job.uid), "wb") as file, _slice_folder(job) as copies:
        file.write(digest.header)
        for index, image in enumerate(cached_slices(series, job.pixels)):
            digest.update(image)
            file.write(image.data)
            size += image.nbytes
            if copies is not None:
                np.save(copies / f"{index:04d}.npy", image, allow_pickle=False)
    return digest, size


@contextmanager
def _slice_folder(job: Job) -> Iterator[Path | None]:
    """A folder for one file per slice, which takes its name when all of them are there."""
    if not job.slices:
        yield None
        return
    folder = job.data.slices / job.uid
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _meta_row(series: Series, size: int) -> dict[str, Any]:
    """Cells of train_meta.csv that come from the files."""
    scale_x, scale_y = cache_scale(series.geometry, size)
    return {
        "status": series.status,
        "dicom_modality": series.modality,
        "n": len(series.images),
        "size": size,
        **series.geometry.to_row(),
        THICKNESS_COLUMN: series.thickness,
        "scale_x": scale_x,
        "scale_y": scale_y,
        "rescale": _rescale(series.notes),
        "notes": ";".join(series.notes),
    }


def _rescale(notes: tuple[str, ...]) -> str:
    """How stored values became Hounsfield units or MR values."""
    codes = {base_code(note) for note in notes}
    return next((how for code, how in RESCALED.items() if code in codes), "applied")


def _lost_rows(left_out: Sequence[LeftOut]) -> list[dict[str, str]]:
    """Rows of rejected.csv for lost image data, one per file and code, without the series' UID."""
    lost: dict[tuple[str, str, str], list[int]] = {}
    for entry in left_out:
        if entry.lost:
            frames = lost.setdefault((entry.file, entry.code, entry.words), [])
            frames += [] if entry.frame is None else [entry.frame]
    return [
        {"file": file, "reason": code, "words": _words(code, more, sorted(frames))}
        for (file, code, more), frames in lost.items()
    ]


def _words(code: str, more: str, frames: list[int]) -> str:
    known = CODES.get(base_code(code))
    words = more or (known.meaning if known else "left out")
    if not any(frames):  # a single image is frame 0
        return words
    named = " ".join(map(str, frames[:NAMED_FRAMES]))
    more = f" and {len(frames) - NAMED_FRAMES} more" if len(frames) > NAMED_FRAMES else ""
    return f"{words}; frames from 0: {named}{more}"


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
