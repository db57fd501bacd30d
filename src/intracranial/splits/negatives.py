"""Fixed evaluation negatives: slices without a finding, chosen so that nothing but it differs.

If negatives lay elsewhere in the head than positives, came from other planes or modalities, or
from healthy patients only, a model could tell them apart without seeing the finding. So each one
is drawn for a positive: from its fold, plane and modality, at its relative position, half of them
from series with a finding elsewhere.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from intracranial.caching.tables import rows_by_series
from intracranial.splits.spots import (
    eligible_negatives,
    exclusion_radius,
    relative_position,
    slice_at,
)
from intracranial.tasks import Task

ENOUGH_POSITIVES = 10
"""A plane and modality with fewer positives borrows the positions of all positives."""

Stratum = tuple[str, str]


@dataclass
class _Candidate:
    """A series that negatives may come from, and what is left of it."""

    uid: str
    fold: int
    n: int
    stratum: Stratum
    positive: bool
    left: np.ndarray
    used: int = 0

    def nearest(self, target: int) -> int | None:
        """The free slice nearest to `target`, or None when none is left."""
        if not len(self.left):
            return None
        return int(self.left[np.abs(self.left - target).argmin()])

    def take(self, index: int) -> None:
        """Mark a slice as used."""
        self.left = self.left[self.left != index]
        self.used += 1


def negative_slices(
    series: pd.DataFrame,
    positives: Mapping[str, Sequence[int]],
    per_positive: float,
    seed: int,
    task: Task,
) -> list[tuple[str, int]]:
    """Draw the evaluation negatives.

    Args:
        series: typed rows with `fold` and `localized`, indexed by SeriesInstanceUID; rows from
            which no negative may come have `localized` 0.
        positives: slice indices of the localizers of each series, one per localizer.
        per_positive: negatives for each positive, 1 or more.
        seed: of the draw.
        task: the labels.

    Returns:
        (SeriesInstanceUID, slice index), sorted, no pair twice; fewer than asked only when the
        series have no more eligible slices.
    """
    rng = np.random.default_rng(seed)
    rows = rows_by_series(series)
    candidates = _candidates(rows, positives, task)
    marked = [(uid, index) for uid in sorted(positives) for index in sorted(positives[uid])]
    positions = _positions_by_stratum(rows, marked)
    wanted = max(len(marked), round(per_positive * len(marked)))
    rounds = math.ceil(wanted / len(marked)) if marked else 0
    order = [int(i) for _ in range(rounds) for i in rng.permutation(len(marked))][:wanted]
    by_fold: defaultdict[int, list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_fold[candidate.fold].append(candidate)
    drawn: list[tuple[str, int]] = []
    for turn, number in enumerate(order):
        uid, index = marked[number]
        row = rows[uid]
        position = relative_position(index, row["n"])
        # Alternate over the rounds too, so that each positive is met by both kinds of series.
        from_positive = (turn + turn // len(marked)) % 2 == 1
        stratum = _stratum(row)
        pools = _pools(candidates, by_fold[row["fold"]], stratum)
        choice = _choose(pools, from_positive, position, stratum, positions, rng)
        if choice is None:
            break
        chosen, slice_index = choice
        chosen.take(slice_index)
        drawn.append((chosen.uid, slice_index))
    return sorted(drawn)


def _stratum(row: Mapping[str, Any]) -> Stratum:
    return row["plane"], row["dicom_modality"]


def _candidates(
    rows: Mapping[str, Mapping[str, Any]], positives: Mapping[str, Sequence[int]], task: Task
) -> list[_Candidate]:
    found = []
    for uid, row in sorted(rows.items()):
        left = eligible_negatives(row["n"], positives.get(uid, ()))
        if row["localized"] and len(left):
            labels = np.array([row[name] for name in task.labels], dtype=np.float64)
            positive = bool(task.has_finding(labels)) or bool(positives.get(uid))
            found.append(_Candidate(uid, row["fold"], row["n"], _stratum(row), positive, left))
    return found


def _positions_by_stratum(
    rows: Mapping[str, Mapping[str, Any]], marked: Sequence[tuple[str, int]]
) -> dict[Stratum, list[float]]:
    positions: defaultdict[Stratum, list[float]] = defaultdict(list)
    for uid, index in marked:
        row = rows[uid]
        positions[_stratum(row)].append(relative_position(index, row["n"]))
    return positions


def _pools(
    candidates: list[_Candidate], same_fold: list[_Candidate], stratum: Stratum
) -> Iterator[list[_Candidate]]:
    """Series to draw from, the best matching ones first."""
    yield [c for c in same_fold if c.stratum == stratum]
    yield [c for c in same_fold if c.stratum[1] == stratum[1]]
    yield same_fold
    yield candidates


def _choose(
    pools: Iterator[list[_Candidate]],
    from_positive: bool,
    position: float,
    stratum: Stratum,
    positions: Mapping[Stratum, list[float]],
    rng: np.random.Generator,
) -> tuple[_Candidate, int] | None:
    """The first series, least used first, with a free slice near the wanted position."""
    last_resort: tuple[_Candidate, int] | None = None
    for pool in pools:
        shuffled = [pool[i] for i in rng.permutation(len(pool))]
        # The wanted kind of series comes first, then the least used one.
        shuffled.sort(key=lambda c: (c.positive != from_positive, c.used))
        for candidate in shuffled:
            wanted = position
            own = positions.get(candidate.stratum, [])
            if candidate.stratum != stratum and len(own) >= ENOUGH_POSITIVES:
                wanted = own[int(rng.integers(len(own)))]
            target = slice_at(wanted, candidate.n)
            index = candidate.nearest(target)
            if index is None:
                continue
            # Half the exclusion radius: nearer than the slices that the next negative may use.
            if abs(index - target) <= exclusion_radius(candidate.n) // 2:
                return candidate, index
            last_resort = last_resort or (candidate, index)
    return last_resort
