"""Folds by patient group: assign them, and load the split that a later stage asks for.

Several splits coexist under `data/`: one per number of folds. `folds.json` holds one manifest for
each, and `load_split` is the only way in which later stages read a split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from intracranial.artifacts import FINAL_FOLD, DataPaths, read_json
from intracranial.caching.manifest import open_preprocess
from intracranial.caching.tables import META_COLUMNS, read_text_table, with_types
from intracranial.caching.train_table import ALWAYS_TRAIN, USE_COLUMN
from intracranial.errors import InputError, MissingArtifact, StaleArtifact, UsageError
from intracranial.provenance import (
    MADE_BY,
    check_manifest,
    digest,
    file_digest,
    require_made_from,
)
from intracranial.sidecar import Made, read_made
from intracranial.splits.findings import FINDING_COLUMNS, Finding, by_series, read_findings
from intracranial.splits.spots import POSITIVE, SPOT_COLUMNS
from intracranial.tasks import SERIES_COLUMN, Task

SCRIPT = MADE_BY["folds"]

ALWAYS_TRAINS = -1
"""Fold of series that train in every fold and are never held out."""


@dataclass(frozen=True)
class Split:
    """One division of the training series into folds, with its spots.

    `task` is what its series are labelled with: that of the data folder, without places where there
    is no table of them. `series` is indexed by SeriesInstanceUID and has the columns of
    train_meta.csv (labels float64 of 0, 1, and NaN where not known; flags and counts int64;
    spacings float64, NaN where unknown; else str), `fold` int64, `ALWAYS_TRAINS` for series that
    are never held out, and `localized` int64: 1 when every positive location has a localizer.
    `spots` has `SPOT_COLUMNS`; coordinates
    are float64, NaN where there are none, and `location` is '' for negatives. `findings` are those
    of each series that has any, by slice; none where no label has a place. `identity` names the
    split in the manifests of later stages; `split_hash` changes when a series changes its fold.
    """

    task: Task
    folds: int
    identity: str
    split_hash: str
    partial: str | None
    series: pd.DataFrame
    spots: pd.DataFrame
    findings: Mapping[str, tuple[Finding, ...]]

    def held_out(self, fold: int) -> list[str]:
        """SeriesInstanceUIDs of one fold, sorted.

        Raises:
            UsageError: there is no such fold.
        """
        check_fold(self, fold)
        return sorted(self.series.index[self.series["fold"] == fold])

    def training(self, fold: int | str) -> list[str]:
        """SeriesInstanceUIDs outside of one fold, sorted; every series for `FINAL_FOLD`.

        Raises:
            UsageError: there is no such fold.
        """
        if fold == FINAL_FOLD:
            return sorted(self.series.index)
        number = check_fold(self, fold)
        return sorted(self.series.index[self.series["fold"] != number])


def check_fold(split: Split, fold: int | str) -> int:
    """The fold's number, if the split has it.

    Raises:
        UsageError: it does not; the message quotes --fold.
    """
    text = str(fold)
    if not text.isdecimal() or int(text) >= split.folds:
        raise UsageError(f"--fold {fold}: this split has folds 0..{split.folds - 1}")
    return int(text)


def chosen_folds(split: Split, fold: str) -> list[int | str]:
    """What `--fold` stands for: one fold, every fold for `all`, or the final model.

    Raises:
        UsageError: there is no such fold.
    """
    if fold == "all":
        return list(range(split.folds))
    if fold == FINAL_FOLD:
        return [FINAL_FOLD]
    return [check_fold(split, fold)]


def assign_folds(series: pd.DataFrame, folds: int, seed: int, task: Task) -> pd.Series:
    """Fold of every series: whole groups, stratified over the labels and the modality.

    A group with a series that always trains, which its `Use` says, does so as a whole.

    Args:
        series: typed rows of train_meta.csv, indexed by SeriesInstanceUID.
        folds: number of folds, 2 or more.
        seed: of the stratification.
        task: labels to stratify over.

    Returns:
        int64 per series, 0 .. folds-1 or `ALWAYS_TRAINS`, with the index of `series`. No fold is
        empty.

    Raises:
        UsageError: there are fewer groups than folds.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    fixed = groups_that_always_train(series)
    divided = series[~series["group"].isin(fixed)]
    traits = divided[list(task.labels)] == 1
    for modality in task.modalities or sorted(divided["Modality"].unique()):
        traits[f"modality {modality}"] = divided["Modality"] == modality
    # Sorted by group, so that the folds do not depend on the order of the rows.
    by_group = traits.groupby(divided["group"]).any().sort_index()
    if len(by_group) < folds:
        raise UsageError(
            f"--folds {folds}: there are only {len(by_group)} patient groups among "
            f"{len(divided)} series, and a group stays in one fold; give {len(by_group)} or fewer"
            if len(by_group) > 1
            else f"--folds {folds}: all {len(divided)} series are of one patient group, "
            "which cannot be divided"
        )
    stratifier = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold_of_group = np.zeros(len(by_group), dtype=np.int64)
    for fold, (_, members) in enumerate(stratifier.split(by_group, by_group.to_numpy(dtype=int))):
        fold_of_group[members] = fold
    _fill_empty_folds(fold_of_group, by_group.to_numpy(dtype=int).sum(axis=1), folds)
    fold_of = dict(zip(by_group.index, fold_of_group, strict=True))
    assigned = series["group"].map({**fold_of, **dict.fromkeys(fixed, ALWAYS_TRAINS)})
    return assigned.astype("int64").rename("fold")


def groups_that_always_train(series: pd.DataFrame) -> list[str]:
    """Groups of which a series says so in train.csv's `Use`, sorted."""
    if USE_COLUMN not in series:
        return []
    return sorted(set(series.loc[series[USE_COLUMN] == ALWAYS_TRAIN, "group"]))


def _fill_empty_folds(fold_of_group: np.ndarray, traits: np.ndarray, folds: int) -> None:
    """Give every empty fold the plainest group of the largest fold (only tiny data need it)."""
    for fold in range(folds):
        sizes = np.bincount(fold_of_group, minlength=folds)
        if sizes[fold] == 0:
            members = np.flatnonzero(fold_of_group == sizes.argmax())
            fold_of_group[members[traits[members].argmin()]] = fold


def check_no_leak(series: pd.DataFrame) -> None:
    """Prove that no group is on both sides of a split.

    Args:
        series: columns `group` and `fold`, indexed by SeriesInstanceUID.

    Raises:
        InputError: a group lies in several folds; the message names its series.
    """
    leaking = series.groupby("group")["fold"].nunique()
    for group in leaking.index[leaking > 1]:
        rows = series[series["group"] == group]
        where = ", ".join(f"{uid} in fold {fold}" for uid, fold in rows["fold"].items())
        raise InputError(
            f"patient group {group} is in several folds ({where}): rebuild the split with "
            f"{SCRIPT} --overwrite"
        )


def split_hash(fold_of_series: Mapping[str, int] | pd.Series) -> str:
    """16 hexadecimal digits that name a division: the hash of the sorted uid:fold pairs."""
    return digest(sorted(f"{uid}:{int(fold)}" for uid, fold in fold_of_series.items()))


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
