"""The probabilities behind the averaged ones: by view and step, and of stage 1 alone.

They are a table beside the predictions, so that what each view adds can be told over all folds, and
other averages be tried, without the networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intracranial.artifacts import write_csv
from intracranial.errors import InputError
from intracranial.evaluation.predictions import numbers, read_rows
from intracranial.inference.views import PLAIN_NAME
from intracranial.provenance import MADE_BY
from intracranial.tasks import SERIES_COLUMN, Task

MAXIMUM = "stage 1, maximum"
"""Instead of a view: the highest probability of stage 1 over the slices, plain, at all steps."""

VIEW_COLUMN, STEP_COLUMN = "view", "step"


@dataclass(frozen=True, eq=False)
class Views:
    """How else each of N series was seen.

    Attributes:
        maximum: (N, L), of stage 1 over the slices.
        by_view: of each series, by the name of the view: (steps, L).
        views: those that were asked for beside the plain one; a series may lack some.
        steps: of stage 1, in slices, ascending.
    """

    maximum: np.ndarray
    by_view: Sequence[Mapping[str, np.ndarray]]
    views: tuple[str, ...]
    steps: tuple[int, ...]


def write_views(path: Path, task: Task, uids: Sequence[str], seen: Views) -> None:
    """Write the table: for each series a row of its maximum and one per view and step."""
    rows = []
    for uid, maximum, by_view in zip(uids, seen.maximum, seen.by_view, strict=True):
        found = [(MAXIMUM, "", maximum)]
        for view, steps in by_view.items():
            found += [(view, str(n), one) for n, one in zip(seen.steps, steps, strict=True)]
        rows += [
            {SERIES_COLUMN: uid, VIEW_COLUMN: view, STEP_COLUMN: step}
            | dict(zip(task.labels, map(float, values), strict=True))
            for view, step, values in found
        ]
    write_csv(path, (SERIES_COLUMN, VIEW_COLUMN, STEP_COLUMN, *task.labels), rows)


def read_views(path: Path, task: Task, uids: Sequence[str]) -> Views:
    """The same read back, of some series in their order.

    Raises:
        MissingArtifact: there is no such table.
        InputError: a column, a series or a step of one is missing, or a cell is not a number.
    """
    script = MADE_BY["end_to_end_metrics"]
    columns, rows = read_rows(path, script)
    wanted = (SERIES_COLUMN, VIEW_COLUMN, STEP_COLUMN, *task.labels)
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}: run {script} --overwrite")
    values = numbers(path, rows, task.labels)
    cells: dict[tuple[str, str, str], np.ndarray] = {
        (row[SERIES_COLUMN], row[VIEW_COLUMN], row[STEP_COLUMN]): value
        for row, value in zip(rows, values, strict=True)
    }
    steps = sorted({step for _, view, step in cells if view != MAXIMUM}, key=int)
    names = list(dict.fromkeys(view for _, view, _ in cells if view != MAXIMUM))
    maximum, by_view = [], []
    try:
        for uid in uids:
            maximum.append(cells[uid, MAXIMUM, ""])
            own = [view for view in names if view == PLAIN_NAME or (uid, view, steps[0]) in cells]
            by_view.append(
                {view: np.stack([cells[uid, view, step] for step in steps]) for view in own}
            )
    except (KeyError, IndexError) as error:
        raise InputError(f"{path} has no row {error}: run {script} --overwrite") from None
    views = tuple(view for view in names if view != PLAIN_NAME)
    return Views(np.array(maximum), by_view, views, tuple(map(int, steps)))


def joined(parts: Sequence[Views]) -> Views:
    """Those of several folds as one; views and steps must be alike.

    Raises:
        InputError: they are not.
    """
    first = parts[0]
    for one in parts[1:]:
        if (set(one.views), one.steps) != (set(first.views), first.steps):
            raise InputError(
                f"the folds were scored in different ways (views {' '.join(first.views)} and steps "
                f"{first.steps}, views {' '.join(one.views)} and steps {one.steps}): give all of "
                "them the same --views and --steps"
            )
    return Views(
        np.concatenate([one.maximum for one in parts]),
        [by_view for one in parts for by_view in one.by_view],
        first.views,
        first.steps,
    )
