"""Folds by patient group: what a split is, and how series are assigned to its folds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from intracranial.artifacts import FINAL_FOLD
from intracranial.caching.train_table import ALWAYS_TRAIN, USE_COLUMN
from intracranial.errors import InputError, UsageError
from intracranial.provenance import (
    MADE_BY,
    digest,
)
from intracranial.splits.findings import Finding
from intracranial.tasks import Task

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
