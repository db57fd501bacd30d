"""Make a split from the tables of preprocess_data.py and the localizers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from intracranial.artifacts import DataPaths
from intracranial.caching.manifest import open_preprocess
from intracranial.caching.secret import require_key
from intracranial.caching.tables import (
    read_meta,
    read_rejected,
    read_slices,
    rejected_series,
    rows_by_series,
    typed_meta,
)
from intracranial.errors import InputError
from intracranial.imaging.linkage import unkeyed
from intracranial.provenance import (
    MADE_BY,
)
from intracranial.splits.findings import Finding, finding_row
from intracranial.splits.folds import assign_folds, check_no_leak
from intracranial.splits.localizers import (
    LeftOut,
    count_reasons,
    first_of_each,
    localized_flags,
    read_localizers,
)
from intracranial.splits.negatives import negative_slices
from intracranial.splits.spots import NEGATIVE, POSITIVE, SPOT_COLUMNS, WHOLE, spread_slices
from intracranial.tasks import SERIES_COLUMN, Task

PREPROCESS = MADE_BY["preprocess"]


@dataclass(frozen=True)
class MadeSplit:
    """A split that is not yet on disk.

    `task` is that of the folder, without places where there is no table of them; `table` holds the
    text of train_meta.csv with `fold` and `localized`, sorted by series; `series` the same, typed
    and indexed by SeriesInstanceUID; `spots` rows of `SPOT_COLUMNS`; `findings` are
    sorted by series, slice and line of the localizers' table.
    """

    task: Task
    table: pd.DataFrame
    series: pd.DataFrame
    spots: list[dict[str, Any]]
    findings: list[Finding]
    left_out: list[LeftOut]


def make_split(
    data: DataPaths, folds: int, seed: int, per_positive: float, task: Task
) -> MadeSplit:
    """Check the localizers, assign the folds and choose the spots.

    Args:
        data: paths under the data folder.
        folds: number of folds, 2 or more.
        seed: of the division and of the negatives.
        per_positive: evaluation negatives for each positive spot.
        task: labels and locations.

    Raises:
        MissingArtifact: a table or the secret key is not there.
        InputError: a table or the key cannot be read, or no localizer can be used.
        UsageError: there are fewer groups than folds.
    """
    table = read_meta(data, task)
    _check_rows(table, data)
    series = typed_meta(table, data, task).sort_index()
    findings: list[Finding] = []
    left_out: list[LeftOut] = []
    if task.locations and data.localizers_csv.exists():
        rejected = rejected_series(read_rejected(data)) if data.rejected_csv.exists() else ()
        placed, left_out = read_localizers(
            data.localizers_csv, series, read_slices(data), task, frozenset(rejected)
        )
        # a stable sort: findings of one slice stay in the order of their lines
        findings = sorted(placed, key=lambda found: (found.series, found.index))
    else:
        task = replace(task, locations=())
    if task.locations and not findings:
        counts = count_reasons(left_out)
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        examples = "".join(f"\n  {row}" for row in first_of_each(left_out))
        raise InputError(
            f"{data.localizers_csv}: no row can be used ({reasons or 'it has no rows'}), so there "
            f"is nothing to train stage 1 on{examples and '; the first of each kind:'}{examples}"
        )
    # dealt out in the order of the hashes without a key, so that no key changes the folds
    hashes = series.assign(group=_without_key(series["group"], data))
    series["fold"] = assign_folds(hashes, folds, seed, task)
    series["localized"] = localized_flags(series, findings, task)
    check_no_leak(series)
    spots = positive_spots(series, findings)
    if task.locations:
        spots += negative_spots(series, findings, left_out, per_positive, seed, task)
    else:
        spots += whole_spots(series)
    table = table.set_index(SERIES_COLUMN).sort_index()
    table[["fold", "localized"]] = series[["fold", "localized"]]
    return MadeSplit(task, table.reset_index(), series, spots, findings, left_out)


def _check_rows(table: pd.DataFrame, data: DataPaths) -> None:
    path = data.train_meta_csv
    if table.empty:
        raise InputError(f"{path} has no series: run {PREPROCESS} and see {data.rejected_csv}")
    for column, bad, words in (
        (SERIES_COLUMN, table[SERIES_COLUMN].duplicated(), "appears twice"),
        ("group", table["group"].eq(""), "is empty"),
        ("group", ~table["group"].str.fullmatch("[0-9a-f]{16}"), "is no name of a group"),
    ):
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{path}, line {row + 2}: {column} {table[column][row]!r} {words}: "
                f"run {PREPROCESS} --overwrite"
            )


def _without_key(groups: pd.Series, data: DataPaths) -> pd.Series:
    key = require_key(data, open_preprocess(data).key)
    return groups.map({group: unkeyed(group, key) for group in groups.unique()})


def positive_spots(series: pd.DataFrame, findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """One row of `SPOT_COLUMNS` per finding, in their order.

    Args:
        series: typed rows with `fold`, indexed by SeriesInstanceUID.
        findings: sorted by series and slice.
    """
    rows = rows_by_series(series)
    spots = []
    for found in findings:
        spot = _spot(rows[found.series], found.series, found.index, POSITIVE, found.location)
        place = {name: value for name, value in finding_row(found).items() if name in SPOT_COLUMNS}
        spots.append({**spot, **place})
    return spots


def whole_spots(series: pd.DataFrame) -> list[dict[str, Any]]:
    """Spots where no label has a place: some slices of every series, with the series' labels."""
    return [
        _spot(row, uid, index, WHOLE)
        for uid, row in rows_by_series(series).items()
        for index in spread_slices(row["n"])
    ]


def negative_spots(
    series: pd.DataFrame,
    findings: Sequence[Finding],
    left_out: Sequence[LeftOut],
    per_positive: float,
    seed: int,
    task: Task,
) -> list[dict[str, Any]]:
    """Evaluation negatives as rows of `SPOT_COLUMNS`; see `negative_slices`.

    Series with a row that was left out, other than as a duplicate, give none: the row speaks of an
    finding whose place is not known.
    """
    doubtful = {row.series for row in left_out if row.reason != "duplicate"}
    usable = series.copy()
    usable.loc[usable.index.isin(doubtful), "localized"] = 0
    positives: defaultdict[str, list[int]] = defaultdict(list)
    for found in findings:
        positives[found.series].append(found.index)
    drawn = negative_slices(usable, positives, per_positive, seed, task)
    rows = rows_by_series(series)
    return [_spot(rows[uid], uid, index, NEGATIVE) for uid, index in drawn]


def _spot(
    row: Mapping[str, Any], uid: str, index: int, kind: str, location: str = ""
) -> dict[str, Any]:
    return {
        SERIES_COLUMN: uid,
        "index": index,
        "kind": kind,
        "location": location,
        "group": row["group"],
        "fold": int(row["fold"]),
    }
