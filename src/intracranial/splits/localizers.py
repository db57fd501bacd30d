"""Read train_localizers.csv and sort its rows into usable ones and ones left out with a reason.

A row that cannot be placed is never guessed at: it is left out and reported by its line in the
file, because a finding at a wrong slice teaches stage 1 something false.
"""

import ast
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from intracranial.caching.tables import rows_by_series
from intracranial.config import nearest
from intracranial.runlog import log
from intracranial.splits.findings import SIZE_COLUMNS, Finding, place
from intracranial.tasks import LOCALIZER_COLUMNS, SERIES_COLUMN, SOP_COLUMN, Task
from intracranial.user_tables import UserTable, read_user_table

REASONS = {
    "malformed_row": "row does not have the header's columns",
    "unknown_series": "series is not in train_meta.csv",
    "rejected_series": "series was rejected by preprocess_data.py",
    "unknown_location": "location is not one of the task's",
    "label_is_zero": "location's column in train.csv is 0",
    "location_unknown": "no location, and no overall label that the centre could be of",
    "unreadable_size": "width_mm, height_mm or depth_mm is no size",
    "unknown_slice": "SOPInstanceUID is in no slice of the series",
    "unreadable_coordinates": "coordinates cannot be read",
    "missing_frame": "multi-frame file without frame number f",
    "frame_out_of_range": "frame number f is in no slice",
    "outside_image": "coordinates lie outside of the image",
    "duplicate": "same as an earlier row",
}
"""Why a row is left out: code and words, in the order in which they are checked."""

ABSENT = (
    f"put a table of the findings' centres there, with the columns {', '.join(LOCALIZER_COLUMNS)}"
)
"""What to do where there is no such table."""

LISTED_ROWS = 20
"""Rows left out that the log lists."""

LONGEST_COORDINATES = 1000
"""Characters; longer text is no coordinate pair and is not given to the parser."""


@dataclass(frozen=True)
class LeftOut:
    """A row that cannot be used: its line in the file, a code of `REASONS`, and the values."""

    line: int
    series: str
    reason: str
    detail: str

    def __str__(self) -> str:
        """One line for the log."""
        return f"line {self.line}: {REASONS[self.reason]}: {self.detail}"


class _Refused(Exception):
    """A row failed a check; arguments are the reason's code and the detail."""


def read_localizers(
    path: Path,
    series: pd.DataFrame,
    slices: pd.DataFrame,
    task: Task,
    rejected: frozenset[str] = frozenset(),
) -> tuple[list[Finding], list[LeftOut]]:
    """Read and check every row, and place what it marks.

    Args:
        path: train_localizers.csv.
        series: typed rows of train_meta.csv, indexed by SeriesInstanceUID.
        slices: typed rows of slices.csv.
        task: its locations.
        rejected: SeriesInstanceUIDs that preprocess_data.py rejected.

    Returns:
        The findings of the usable rows, and the other rows, each in the order of the file.

    Raises:
        MissingArtifact: the file is not there.
        InputError: it is no csv file, or a column is missing or there twice.
    """
    table = read_user_table(path, LOCALIZER_COLUMNS, ABSENT)
    frames = _frames_by_file(table, slices)
    rows = rows_by_series(series)
    kept: list[Finding] = []
    left_out: list[LeftOut] = []
    seen: dict[tuple[Any, ...], int] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        uid = row.get(SERIES_COLUMN) or ""
        try:
            if line in table.excess:
                raise _Refused("malformed_row", "too many cells")
            found = _check_row(row, rows, frames, rejected, task)
            key = (found.series, found.index, found.x, found.y, found.location)
            if key in seen:
                raise _Refused("duplicate", f"the row in line {seen[key]} says the same")
            seen[key] = line
            kept.append(found)
        except _Refused as refusal:
            reason, detail = refusal.args
            left_out.append(LeftOut(line, uid, reason, detail))
    return kept, left_out


def count_reasons(left_out: Sequence[LeftOut]) -> dict[str, int]:
    """Rows left out per reason, the commonest first."""
    return dict(Counter(row.reason for row in left_out).most_common())


def first_of_each(left_out: Sequence[LeftOut]) -> list[LeftOut]:
    """The first row left out for each reason, the commonest reason first."""
    first = {row.reason: row for row in reversed(left_out)}
    return [first[reason] for reason in count_reasons(left_out)]


def log_left_out(path: Path, left_out: Sequence[LeftOut]) -> None:
    """Say how many rows were left out for which reason, and list the first of them."""
    if not left_out:
        return
    log.warning("%d rows of %s were left out:", len(left_out), path.name)
    for reason, count in count_reasons(left_out).items():
        log.warning("  %5d  %s (%s)", count, REASONS[reason], reason)
    for row in left_out[:LISTED_ROWS]:
        log.warning("  %s", row)
    if len(left_out) > LISTED_ROWS:
        log.warning("  ... and %d more", len(left_out) - LISTED_ROWS)


def localized_flags(series: pd.DataFrame, findings: Sequence[Finding], task: Task) -> pd.Series:
    """1 for each series in which every positive location has a localizer, else 0; negatives are 1.

    A series that is positive overall but at no location has nothing to localise its finding by,
    so it counts as not localized. So does one with a centre whose location is not known, as long as
    a positive location lacks its own. Labels that are not known want nothing.

    Args:
        series: typed rows of train_meta.csv, indexed by SeriesInstanceUID.
        findings: those of the usable rows.
        task: its labels.

    Returns:
        int64 per series, with the index of `series`.
    """
    found: dict[str, set[str]] = {}
    for finding in findings:
        found.setdefault(finding.series, set()).add(finding.location)
    labels = series[list(task.locations)].to_numpy(dtype=np.float64)
    present = np.zeros(len(series), dtype=bool)
    if task.overall is not None and task.locations:
        present = series[task.overall].to_numpy() == 1
    flags = []
    for uid, row, overall in zip(series.index, labels, present, strict=True):
        wanted = {name for name, value in zip(task.locations, row, strict=True) if value == 1}
        have = found.get(str(uid), set())
        flags.append(int(wanted <= have and bool(wanted or have or not overall)))
    return pd.Series(flags, index=series.index, dtype="int64", name="localized")


def _frames_by_file(
    table: UserTable, slices: pd.DataFrame
) -> dict[tuple[str, str], dict[int, tuple[int, tuple[float, float, float] | None]]]:
    """(series, SOPInstanceUID) -> stored frame -> (slice index, position); marked series only."""
    marked = {row[SERIES_COLUMN] for row in table.rows}
    wanted = slices[slices[SERIES_COLUMN].isin(marked)]
    frames: dict[tuple[str, str], dict[int, tuple[int, tuple[float, float, float] | None]]] = {}
    columns = [SERIES_COLUMN, SOP_COLUMN, "frame", "index", "x", "y", "z"]
    for uid, sop, frame, index, x, y, z in wanted[columns].itertuples(index=False):
        position = (x, y, z) if all(map(math.isfinite, (x, y, z))) else None
        frames.setdefault((uid, sop), {})[int(frame)] = (int(index), position)
    return frames


def _check_row(
    row: Mapping[str, str | None],
    series: Mapping[str, Mapping[str, Any]],
    frames: Mapping[tuple[str, str], Mapping[int, tuple[int, Any]]],
    rejected: frozenset[str],
    task: Task,
) -> Finding:
    cells = [cell for cell in (row[name] for name in LOCALIZER_COLUMNS) if cell is not None]
    if len(cells) < len(LOCALIZER_COLUMNS):
        raise _Refused("malformed_row", "too few cells")
    uid, sop, text, location = cells
    if uid not in series:
        if uid in rejected:
            raise _Refused("rejected_series", f"{uid}; see rejected.csv")
        raise _Refused("unknown_series", uid or "empty")
    if not location and len(task.locations) == 1:
        location = task.locations[0]
    label = location or task.overall
    if label is None:
        raise _Refused("location_unknown", f"series {uid}")
    if location and location not in task.locations:
        hint = nearest(location, task.locations)
        raise _Refused("unknown_location", f"{location!r}{hint}")
    if series[uid][label] == 0:
        raise _Refused("label_is_zero", f"{label!r} of series {uid}")
    stored = frames.get((uid, sop))
    if stored is None:
        raise _Refused("unknown_slice", f"{sop or 'empty'} of series {uid}")
    x, y, f = _parse_coordinates(text)
    frame = _frame_number(f, stored)
    width, height = series[uid]["columns"], series[uid]["rows"]
    # Pixel centres have whole numbers, so the image reaches half a pixel beyond them.
    if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
        raise _Refused("outside_image", f"x {x:g}, y {y:g} in an image of {width} x {height}")
    index, position = stored[frame]
    x, y, mm = place(series[uid], x, y, position)
    return Finding(uid, index, x, y, location, mm, _sizes(row))


def _sizes(row: Mapping[str, str | None]) -> tuple[float | None, float | None, float | None]:
    sizes: list[float | None] = []
    for name in SIZE_COLUMNS:
        cell = row.get(name) or ""
        try:
            size = float(cell) if cell else None
        except ValueError:
            size = math.nan
        if size is not None and not (math.isfinite(size) and size > 0):
            raise _Refused("unreadable_size", f"{name} is {cell!r}")
        sizes.append(size)
    return sizes[0], sizes[1], sizes[2]


def _parse_coordinates(text: str) -> tuple[float, float, float | None]:
    if len(text) > LONGEST_COORDINATES:
        raise _Refused("unreadable_coordinates", f"{len(text)} characters")
    try:
        content = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise _Refused("unreadable_coordinates", repr(text)) from None
    if not isinstance(content, dict):
        raise _Refused("unreadable_coordinates", f"{text!r} is no dict")
    for name in ("x", "y"):
        if name not in content:
            raise _Refused("unreadable_coordinates", f"{text!r} has no {name}")
    numbers: list[float] = []
    for name in ("x", "y", "f"):
        value = content.get(name)
        if value is None and name == "f":
            return numbers[0], numbers[1], None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _Refused("unreadable_coordinates", f"{name} of {text!r} is no number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise _Refused("unreadable_coordinates", f"{name} of {text!r} is not finite")
        numbers.append(number)
    return numbers[0], numbers[1], numbers[2]


def _frame_number(f: float | None, stored: Mapping[int, Any]) -> int:
    """The stored frame that `f` means; a file with one frame needs no `f`."""
    if f is None:
        if set(stored) != {0}:
            raise _Refused("missing_frame", f"the file has {max(stored) + 1} frames or more")
        return 0
    frame = math.floor(f + 0.5)
    if frame not in stored:
        raise _Refused(
            "frame_out_of_range",
            f"f {f:g}, but the slices have frames {min(stored)}..{max(stored)}",
        )
    return frame
