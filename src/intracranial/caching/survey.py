"""Where a data folder stands before a run: what is done, what is left, what is stale."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from intracranial.artifacts import DataPaths, ImageFile, load_array
from intracranial.caching.fingerprints import ABSENT, Fingerprints, Source, look_at
from intracranial.caching.job import CONTENT_HASH, REJECTED, SIDECAR_FORMAT
from intracranial.caching.secret import key_identity, read_key
from intracranial.caching.tables import MADE_COLUMNS, rejected_row
from intracranial.caching.train_table import read_train_csv
from intracranial.errors import InputError, StaleArtifact
from intracranial.options.common import before, identity
from intracranial.options.preprocess import PreprocessOptions
from intracranial.provenance import Request, changes, digest, file_digest
from intracranial.tasks import SERIES_COLUMN, Task, task_of_folder

SCRIPT = "preprocess_data.py"
NAMED = 5
"""Changed series that a message names."""


@dataclass
class State:
    """Where a data folder stands before a run."""

    task: Task
    """Of the data folder."""

    columns: list[str]
    rows: list[dict[str, str]]
    """Columns and rows of train.csv that this run covers."""

    total: int
    """Rows of the whole train.csv."""

    sources: dict[str, Source]
    contents: dict[str, str]
    """Content digests; those of series that were not finished come with their outcomes."""

    todo: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    """Differences between what was made and what is asked for, a line each."""

    stale: list[str] = field(default_factory=list)
    """Series whose caches were made from other files or options."""

    rejected: list[dict[str, str]] = field(default_factory=list)
    """Rows of rejected.csv for series that are finished."""

    tables_done: bool = False
    """Whether the tables and the manifest belong to the caches and cover this run's series."""

    @property
    def uids(self) -> list[str]:
        """Series of this run, in the order of train.csv."""
        return [row[SERIES_COLUMN] for row in self.rows]

    @property
    def done(self) -> int:
        """Series that need no work."""
        return len(self.rows) - len(self.todo)


def survey(options: PreprocessOptions, fingerprints: Fingerprints) -> State:
    """Compare what is asked for with what is on disk, without changing anything.

    Raises:
        InputError: train.csv is not usable, no series is on disk, or the secret key is damaged.
    """
    data = options.data
    task = task_of_folder(data.task)
    clash = [name for name in task.labels if name in MADE_COLUMNS]
    if clash:
        raise InputError(
            f"{data.task}: label {clash[0]!r} has the name of another column of "
            f"{data.train_meta_csv.name}; rename it"
        )
    columns, rows = read_train_csv(data.train_csv, task)
    manifest = _old_manifest(data.preprocess_manifest)
    wanted = rows[: options.limit]
    covered = _covered(manifest)
    if covered and options.limit is not None and covered >= {r[SERIES_COLUMN] for r in wanted}:
        # A smaller --limit than before asks for nothing new.
        wanted = [row for row in rows if row[SERIES_COLUMN] in covered]
    folders = {row[SERIES_COLUMN]: data.series / row[SERIES_COLUMN] for row in wanted}
    sources = {uid: look_at(folder) for uid, folder in folders.items()}
    if all(source.stat == ABSENT for source in sources.values()):
        raise InputError(
            f"none of the {len(folders)} series of {data.train_csv} is in {data.series}: put each "
            "series' files into a folder named by its SeriesInstanceUID there"
        )
    finished = {
        uid: folder for uid, folder in folders.items() if data.sequence_sidecar(uid).is_file()
    }
    contents = fingerprints.contents(finished, sources)
    state = State(task, columns, wanted, len(rows), sources, contents)
    _compare_series(state, options)
    _compare_manifest(state, options, manifest)
    return state


def _old_manifest(path: Path) -> dict[str, Any] | None:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None  # never finished: the sidecars say what is done
    return loaded if isinstance(loaded, dict) and loaded.get("complete") else None


def _covered(manifest: dict[str, Any] | None) -> set[str]:
    return set(manifest.get("sources", {})) if manifest else set()


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """The sidecar of a finished series; None when there is none or it is damaged."""
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return sidecar if isinstance(sidecar, dict) and "status" in sidecar else None


def _compare_series(state: State, options: PreprocessOptions) -> None:
    data = options.data
    options_changed: set[str] = set()
    files_changed: list[str] = []
    damaged: list[str] = []
    secret = read_key(data)
    own = "absent" if secret is None else key_identity(secret)
    for uid in state.uids:
        sidecar = read_sidecar(data.sequence_sidecar(uid))
        if sidecar is None:
            state.todo.append(uid)
            continue
        difference = _option_differences(sidecar, options)
        if sidecar.get("key", own) != own:
            difference.append(f"  {data.secret_key}, named by a digest: {sidecar['key']} -> {own}")
        if difference or sidecar.get("source") != state.contents.get(uid):
            options_changed.update(difference)
            if not difference:
                files_changed.append(uid)
            state.stale.append(uid)
        elif sidecar["status"] == REJECTED:
            state.rejected.append(rejected_row(uid, sidecar["reason"], sidecar["words"]))
        elif _is_missing(data, uid, sidecar, options.slices):
            state.todo.append(uid)
        elif options.verify and not _is_intact(data, uid, sidecar, options.slices):
            damaged.append(uid)
            state.stale.append(uid)
    state.changed += sorted(options_changed)
    if files_changed:
        state.changed.append(f"  files of {_named(files_changed)}")
    if damaged:
        state.changed.append(f"  content of the caches (against their hash) of {_named(damaged)}")


def _named(uids: Sequence[str]) -> str:
    more = f" and {len(uids) - NAMED} more" if len(uids) > NAMED else ""
    return f"{len(uids)} series: {', '.join(uids[:NAMED])}{more}"


def _option_differences(sidecar: dict[str, Any], options: PreprocessOptions) -> list[str]:
    old, new = sidecar.get("config", {}), identity(options.pixels)
    lines = changes("option --", old, new, before(type(options.pixels)))
    if sidecar.get("format") != SIDECAR_FORMAT:
        lines.append(f"  format of the caches: {sidecar.get('format')} -> {SIDECAR_FORMAT}")
    return lines


def _is_missing(data: DataPaths, uid: str, sidecar: dict[str, Any], slices: bool) -> bool:
    path = data.sequence(uid)
    if not path.is_file() or path.stat().st_size != sidecar["bytes"]:
        return True
    return slices and not (data.slices / uid).is_dir()


def _is_intact(data: DataPaths, uid: str, sidecar: dict[str, Any], slices: bool) -> bool:
    with open(data.sequence(uid), "rb") as file:
        if hashlib.file_digest(file, xxhash.xxh3_128).hexdigest() != sidecar[CONTENT_HASH]:
            return False
    if not slices:
        return True
    sequence = ImageFile(data.sequence(uid), SCRIPT)
    paths = [data.slice(uid, index) for index in range(len(sequence))]
    return all(
        path.is_file() and np.array_equal(load_array(path, SCRIPT), image)
        for path, image in zip(paths, map(sequence.__getitem__, range(len(paths))), strict=True)
    )


def make_request(state: State, options: PreprocessOptions) -> Request:
    """Identity of the tables: options, train.csv and the files of the series they cover."""
    count = len(state.rows)
    return options.request(
        "preprocess",
        {
            "task": digest(state.task.record()),
            "train.csv": file_digest(options.data.train_csv),
            "series": digest({uid: state.contents[uid] for uid in state.uids}),
        },
        f"{count} of {state.total} series" if count < state.total else None,
    )


def _compare_manifest(
    state: State, options: PreprocessOptions, manifest: dict[str, Any] | None
) -> None:
    if manifest is None:
        return
    data = options.data
    current = {"train.csv": file_digest(data.train_csv), "task": digest(state.task.record())}
    for name, path in (("train.csv", data.train_csv), ("task", data.task)):
        was, now = str(manifest["inputs"].get(name)), current[name]
        if was != now:
            state.changed.append(f"  {path}: SHA-256 {was[:16]} -> {now[:16]}")
    # an option that is none of the pixels' changes no cache: the sidecars do not tell it
    options_changed = changes(
        "option --", manifest.get("config", {}), options.identity(), before(type(options))
    )
    state.changed += [line for line in options_changed if line not in state.changed]
    tables = (data.train_meta_csv, data.slices_csv, data.rejected_csv)
    state.tables_done = (
        not state.changed
        and not state.todo
        and manifest.get("identity") == make_request(state, options).identity
        and all(path.is_file() for path in tables)
    )


def settle(state: State, options: PreprocessOptions) -> None:
    """Decide what is to be made again; nothing on disk changes yet.

    Raises:
        StaleArtifact: something has changed and --overwrite is off.
    """
    data = options.data
    if state.changed and not options.overwrite:
        raise StaleArtifact(
            f"{data.sequences} and the tables in {data.root} were made from other options or files"
            " (before -> now):\n"
            + "\n".join(state.changed)
            + f"\nGive the old ones back, or rebuild what has changed with: {SCRIPT} --overwrite"
        )
    if options.overwrite and state.tables_done:
        state.stale, state.rejected, state.tables_done = list(state.uids), [], False
    again = {*state.stale, *state.todo}
    state.todo = [uid for uid in state.uids if uid in again]
