"""Labels worth looking at again: those that unseen predictions contradict most.

A series is suspect for a label when it scores like the series labelled the other way. That is
told by ranks, so that neither calibration nor the label's frequency plays a part. Most suspects
are errors of the model; the list says where a second look at the image costs least.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from intracranial.statistics.sample import Sample
from intracranial.tasks import Task

LEAST_SERIES = 5
"""Series of either class that a label needs; among fewer, ranks say little."""

LEAST_SHARE = 0.5
"""A suspect scores beyond the median of the series labelled the other way."""

SUSPECTS_SHOWN = 10
"""Suspects of either kind: what one reader looks at in a sitting."""


@dataclass(frozen=True)
class Suspect:
    """One label of one series.

    Attributes:
        uid: SeriesInstanceUID.
        label: the label's name.
        labelled: whether it is labelled as present.
        probability: predicted, 0..1.
        beyond: how many series labelled the other way it scores beyond, or level with.
        others: how many series are labelled the other way.
    """

    uid: str
    label: str
    labelled: bool
    probability: float
    beyond: int
    others: int

    @property
    def share(self) -> float:
        """Share of the others that it scores beyond, 0..1."""
        return self.beyond / self.others


@dataclass(frozen=True)
class SuspectsTable:
    """Both kinds of `suspects`, the most contradicted first."""

    labelled_absent: tuple[Suspect, ...]
    labelled_present: tuple[Suspect, ...]


def suspects(
    task: Task,
    uids: Sequence[str],
    targets: np.ndarray,
    probabilities: np.ndarray,
    seen: Collection[str] = (),
) -> tuple[list[Suspect], list[Suspect]]:
    """Negatives that score like positives, and positives that score like negatives.

    Args:
        task: the labels.
        uids: N SeriesInstanceUIDs.
        targets: (N, L) of 0 and 1.
        probabilities: (N, L) float, of models that were not trained on these series.
        seen: series that were trained on after all: they are left out.

    Returns:
        Either kind by falling share, at most `SUSPECTS_SHOWN`, each series at its worst label only.
    """
    unseen = np.array([uid not in seen for uid in uids], dtype=bool)
    found: dict[bool, list[Suspect]] = {False: [], True: []}
    for column, label in enumerate(task.labels):
        positive = unseen & (targets[:, column] == 1)
        negative = unseen & (targets[:, column] == 0)
        if min(positive.sum(), negative.sum()) < LEAST_SERIES:
            continue
        scores = probabilities[:, column]
        for labelled, own, others in ((False, negative, positive), (True, positive, negative)):
            for row in np.flatnonzero(own).tolist():
                passed = (
                    scores[others] >= scores[row] if labelled else scores[others] <= scores[row]
                )
                found[labelled].append(
                    Suspect(
                        str(uids[row]),
                        label,
                        labelled,
                        float(scores[row]),
                        int(passed.sum()),
                        len(passed),
                    )
                )
    return _worst(found[False]), _worst(found[True])


def suspects_table(task: Task, sample: Sample, seen: Collection[str] = ()) -> SuspectsTable:
    """Both kinds of `suspects` of a sample."""
    pair = suspects(task, sample.uids.tolist(), sample.targets, sample.probabilities, seen)
    return SuspectsTable(*map(tuple, pair))


def _worst(found: list[Suspect]) -> list[Suspect]:
    """The largest shares, one per series; at equal shares the clearer probability is first."""
    ordered = sorted(
        (one for one in found if one.share >= LEAST_SHARE),
        key=lambda one: (-one.share, one.probability if one.labelled else -one.probability),
    )
    first: dict[str, Suspect] = {}
    for one in ordered:
        first.setdefault(one.uid, one)
    return list(first.values())[:SUSPECTS_SHOWN]
