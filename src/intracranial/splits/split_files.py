"""folds.json and the tables of its splits: written, checked and read back.

Several splits coexist under `data/`: one per number of folds. `folds.json` holds one manifest for
each, and `load_split` is the only way in which later scripts read a split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from intracranial.artifacts import DataPaths, read_json, write_csv, write_json
from intracranial.caching.manifest import open_preprocess
from intracranial.caching.tables import META_COLUMNS, read_text_table, with_types
from intracranial.errors import InputError, MissingArtifact, StaleArtifact, UsageError
from intracranial.provenance import (
    MADE_BY,
    Plan,
    Request,
    check_manifest,
    decide,
    digest,
    file_digest,
    manifest_of,
    require_made_from,
)
from intracranial.sidecar import Made, read_made
from intracranial.splits.findings import (
    FINDING_COLUMNS,
    by_series,
    read_findings,
    write_findings,
)
from intracranial.splits.folds import Split, check_no_leak, split_hash
from intracranial.splits.make_split import MadeSplit
from intracranial.splits.spots import NEGATIVE, POSITIVE, SPOT_COLUMNS
from intracranial.tasks import SERIES_COLUMN, Task

SCRIPT = MADE_BY["folds"]


@dataclass(frozen=True, kw_only=True)
class SplitManifest(Made):
    """What folds.json tells of one split.

    Attributes:
        task: of its series; without places where there was no table of them.
        split_hash: see `split_hash`.
        files: digest of each of its tables, by name.
        counts: how many series, groups and spots there are, by words for the log.
    """

    task: Task
    split_hash: str
    files: dict[str, str]
    counts: dict[str, int]


def read_splits(data: DataPaths) -> dict[str, dict[str, Any]]:
    """Manifests of all splits made so far, by number of folds as text; empty before the first.

    Raises:
        InputError: folds.json is not what create_folds.py writes.
    """
    if not data.folds_manifest.exists():
        return {}
    splits = read_json(data.folds_manifest, SCRIPT).get("splits")
    if not isinstance(splits, dict):
        raise InputError(f"{data.folds_manifest} lists no splits: delete it and run {SCRIPT}")
    return splits


def split_manifest(data: DataPaths, manifest: dict[str, Any]) -> SplitManifest:
    """The manifest of one split as its type.

    Raises:
        InputError: create_folds.py has not finished it, or it is damaged.
    """
    path = data.folds_manifest
    return read_made(path, check_manifest(path, manifest, "folds"), SplitManifest)


def cache_inputs(data: DataPaths) -> dict[str, str]:
    """Identities of what preprocess_data.py made, as they are on disk now.

    The table counts beside the manifest: a series that failed for want of memory and was read by
    a later run is a new row from the same files and options. The names of its groups do not count,
    but which series are in one: on two machines with different keys the same data are the same.

    Raises:
        MissingArtifact: preprocess_data.py has not run.
        InputError: it has not finished, or the table cannot be read.
    """
    path = data.train_meta_csv
    preprocess = open_preprocess(data)
    table = read_text_table(path, (SERIES_COLUMN, "group"), MADE_BY["preprocess"])
    table["group"] = first_of_group(table[SERIES_COLUMN], table["group"])
    return {
        "preprocess": preprocess.identity,
        path.name: digest([table.columns.tolist(), table.to_numpy().tolist()]),
    }


def first_of_group(uids: pd.Series, groups: pd.Series) -> pd.Series:
    """The smallest SeriesInstanceUID of each row's group: a name that no key changes.

    Args:
        uids: SeriesInstanceUIDs.
        groups: the group of each, with the same index.
    """
    return uids.groupby(groups).transform("min")


def needs_work(data: DataPaths, folds: int, request: Request, overwrite: bool) -> bool:
    """Whether the split has to be made; False when it is there and made from the same things.

    Raises:
        StaleArtifact: it was made with other options or inputs, or edited since, and `overwrite`
            is off.
    """
    manifest = read_splits(data).get(str(folds))
    try:
        plan = decide(data.folds_manifest, manifest, request, overwrite)
        if plan is not Plan.DONE or manifest is None:
            return True
        made = split_manifest(data, manifest)
        check_files(data, folds, made)
    except MissingArtifact:
        return True
    except StaleArtifact as error:
        raise StaleArtifact(f"{error} (this is the split with --folds {folds})") from None
    return made.partial != request.partial


def save_split(
    data: DataPaths, folds: int, seed: int, made: MadeSplit, request: Request
) -> SplitManifest:
    """Write the tables, then the manifest among those of the other splits; return the manifest."""
    paths = (data.folds_csv(folds), data.spots_csv(folds))
    columns = [str(column) for column in made.table.columns]
    write_csv(
        paths[0],
        columns,
        (dict(zip(columns, row, strict=True)) for row in made.table.itertuples(index=False)),
    )
    write_csv(paths[1], SPOT_COLUMNS, made.spots)
    if made.task.locations:
        write_findings(data.findings_csv, made.findings)
    kinds = [spot["kind"] for spot in made.spots]
    content = {
        "count": folds,
        "seed": seed,
        "task": made.task.record(),
        "split_hash": split_hash(made.series["fold"]),
        "files": {path.name: file_digest(path) for path in paths},
        "counts": {
            "series": len(made.series),
            "groups": int(made.series["group"].nunique()),
            "positive spots": kinds.count(POSITIVE),
            "negative spots": kinds.count(NEGATIVE),
            **({} if made.task.locations else {"spots": len(kinds)}),
            "localizers left out": len(made.left_out),
        },
    }
    manifest = manifest_of(request, complete=True, content=content)
    write_json(data.folds_manifest, {"splits": {**read_splits(data), str(folds): manifest}})
    return split_manifest(data, manifest)


def load_split(data: DataPaths, folds: int | None) -> Split:
    """Load a split after checking that it is whole and still belongs to the caches.

    Args:
        data: paths under the data folder.
        folds: number of folds; None stands for the only split there is.

    Raises:
        MissingArtifact: no split has been made, or a file of it is gone.
        UsageError: there is no split with that many folds, or None leaves a choice.
        StaleArtifact: the caches were rebuilt since, or a file of the split was edited.
        InputError: a file of the split cannot be read.
    """
    splits = read_splits(data)
    if not splits:
        raise MissingArtifact(f"{data.folds_manifest} has no split: run {SCRIPT} first")
    folds = _choose(splits, folds)
    path = data.folds_csv(folds)
    manifest = split_manifest(data, splits[str(folds)])
    try:
        require_made_from(path, splits[str(folds)], cache_inputs(data))
        check_files(data, folds, manifest)
    except StaleArtifact as error:
        raise StaleArtifact(f"{error} (this is the split with --folds {folds})") from None
    task = manifest.task
    columns = (*META_COLUMNS, *task.labels, "fold", "localized")
    series = with_types(read_text_table(path, columns, SCRIPT), path, task)
    series = series.set_index(SERIES_COLUMN)
    check_no_leak(series)
    spots_path = data.spots_csv(folds)
    return Split(
        task=task,
        folds=folds,
        identity=manifest.identity,
        split_hash=manifest.split_hash,
        partial=manifest.partial,
        series=series,
        spots=with_types(read_text_table(spots_path, SPOT_COLUMNS, SCRIPT), spots_path),
        findings=by_series(read_findings(data.findings_csv, SCRIPT)) if task.locations else {},
    )


def _choose(splits: Mapping[str, Any], folds: int | None) -> int:
    made: Sequence[int] = sorted(int(count) for count in splits)
    listed = ", ".join(map(str, made))
    if folds is None:
        if len(made) > 1:
            raise UsageError(f"which split? give --folds with one of {listed}")
        return made[0]
    if folds not in made:
        raise UsageError(
            f"--folds {folds}: there is no such split, only {listed}; make it with "
            f"{SCRIPT} --folds {folds}"
        )
    return folds


def check_files(data: DataPaths, folds: int, manifest: SplitManifest) -> None:
    """Check that the files of a split are as create_folds.py wrote them.

    findings.csv serves all splits of the folder, so it is held against the spots of this one.

    Raises:
        MissingArtifact: one is gone.
        StaleArtifact: one was edited since, or findings.csv has other findings than the split.
        InputError: a file cannot be read.
    """
    for path in (data.folds_csv(folds), data.spots_csv(folds)):
        hint = f"Run {SCRIPT} --folds {folds}"
        if file_digest(path, hint) != manifest.files.get(path.name):
            raise StaleArtifact(
                f"{path} was changed after {SCRIPT} made it. Rebuild it with "
                f"{SCRIPT} --folds {folds} --overwrite"
            )
    if manifest.task.locations:
        _check_findings(data, folds)


def _check_findings(data: DataPaths, folds: int) -> None:
    script = f"{SCRIPT} --folds {folds}"
    spots = read_text_table(data.spots_csv(folds), SPOT_COLUMNS, script)
    findings = read_text_table(data.findings_csv, FINDING_COLUMNS, script)
    shared = [name for name in FINDING_COLUMNS if name in SPOT_COLUMNS]
    positives = spots.loc[spots["kind"] == POSITIVE, shared]
    if findings[shared].to_numpy().tolist() != positives.to_numpy().tolist():
        raise StaleArtifact(
            f"{data.findings_csv} has other findings than {data.spots_csv(folds)}: it was edited, "
            f"or written by a split of other localizers. Rebuild it with {script} --overwrite"
        )
