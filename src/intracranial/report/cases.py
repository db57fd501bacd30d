"""Which series a report shows, and what it shows of each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from intracranial.report.projections import Projection
from intracranial.splits.findings import Finding
from intracranial.tasks import Task


@dataclass(frozen=True, eq=False)
class ShownSlice:
    """One slice of a case in pictures.

    Attributes:
        index: 0..n-1 in canonical order.
        image: float32 (H, W), as cached, values 0..5.
        point: (x, y) of the predicted point on the slice in cache pixels, or None.
        heat: float (h, w), probability over the whole image at any resolution, or None.
        place: of the slice, see `report.projections.place_in_words`; '' where not known.
    """

    index: int
    image: np.ndarray
    point: tuple[float, float] | None = None
    heat: np.ndarray | None = None
    place: str = ""


@dataclass(frozen=True, eq=False)
class Case:
    """One series of the gallery.

    Attributes:
        uid: SeriesInstanceUID.
        task: labels and words.
        why: why the series is shown, as `select_cases` says it.
        modality: DICOM Modality or train.csv's modality name.
        plane: "axial", "coronal", "sagittal", "oblique" or "unknown".
        directions: where columns, rows and slices run, see `array_directions`; None where the
            geometry is not known, and then no side is marked.
        truth: labels that are 1, in the task's order; None where no labels were given.
        probability: of the finding, see `Task.summary`, 0..1.
        top_label: the most probable label beside the overall one.
        top_probability: its probability, 0..1.
        slices: what is shown of it, the slice of the prediction first.
        stage2_curve: float (n,), stage 2's probability of the finding at every slice.
        stage1_curve: float (n,), the same from stage 1, or None.
        findings: of the series, all that have a place.
        pixel_spacing: mm of a cache pixel, (between rows, between columns), or None.
        projections: maximum-intensity projections, or none.
    """

    uid: str
    task: Task
    why: str
    modality: str
    plane: str
    directions: np.ndarray | None
    truth: tuple[str, ...] | None
    probability: float
    top_label: str
    top_probability: float
    slices: tuple[ShownSlice, ...]
    stage2_curve: np.ndarray
    stage1_curve: np.ndarray | None = None
    findings: tuple[Finding, ...] = ()
    pixel_spacing: tuple[float, float] | None = None
    projections: tuple[Projection, ...] = ()

    @property
    def geometry_known(self) -> bool:
        """Whether position and orientation come from the file."""
        return self.directions is not None

    def truth_in_words(self) -> str:
        """What is labelled, for the page and for the curve."""
        if self.truth is None:
            return "no labels given"
        if not self.truth and not self.findings:
            return f"no {self.task.finding} labelled"
        places = sorted({found.location or "somewhere" for found in self.findings})
        return ", ".join(self.truth) or ", ".join(places)


def select_cases(
    targets: np.ndarray | None, probabilities: np.ndarray, task: Task, per_kind: int = 2
) -> list[tuple[int, str]]:
    """Rows worth looking at and why, without repeats and in a fixed order.

    No threshold is applied: a series with the finding is a false negative when a series without
    one is at least as probable, and a false positive the other way round. Of those and of the best
    true positives `per_kind` each are shown, then the most probable, the least probable and the
    least certain series; ties go to the first row. A row that is chosen twice keeps both reasons.

    Args:
        targets: (N,) of 0 and 1, the finding; None where no labels were given.
        probabilities: (N,) float, the finding's.
        task: for the words.
        per_kind: how many series of each kind.

    Returns:
        At most 3 * per_kind + 3 pairs of row and reason.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 1 or (
        targets is not None and np.shape(targets) != np.shape(probabilities)
    ):
        raise ValueError("targets and probabilities must both be (N,): the overall label's column")
    if not len(probabilities):
        return []
    reasons: dict[int, list[str]] = {}
    if targets is not None:
        for row, why in _by_error(np.asarray(targets) == 1, probabilities, task, per_kind):
            reasons.setdefault(row, []).append(why)
    for extreme, why in (
        (np.argmax(probabilities), "most certain: the highest probability of all series"),
        (np.argmin(probabilities), "most certain: the lowest probability of all series"),
        (np.argmin(np.abs(probabilities - 0.5)), "least certain: the probability nearest to 0.5"),
    ):
        reasons.setdefault(int(extreme), []).append(why)
    return [(row, "; ".join(why)) for row, why in reasons.items()]


def _by_error(
    positive: np.ndarray, probabilities: np.ndarray, task: Task, per_kind: int
) -> Iterator[tuple[int, str]]:
    """Worst false negatives, worst false positives and best true positives."""
    with_one, without = np.flatnonzero(positive), np.flatnonzero(~positive)
    if not (len(with_one) and len(without)):
        return
    # Stable sorts of the value and of its negative: ties keep the order of the rows either way.
    rising = with_one[np.argsort(probabilities[with_one], kind="stable")]
    falling = without[np.argsort(-probabilities[without], kind="stable")]
    best = with_one[np.argsort(-probabilities[with_one], kind="stable")]
    missed = [row for row in rising if np.any(probabilities[without] >= probabilities[row])]
    alarms = [row for row in falling if np.any(probabilities[with_one] <= probabilities[row])]
    for row in missed[:per_kind]:
        count = np.count_nonzero(probabilities[without] >= probabilities[row])
        yield (
            int(row),
            f"false negative: {count} of {len(without)} series {task.without_finding} "
            "score as high",
        )
    for row in alarms[:per_kind]:
        count = np.count_nonzero(probabilities[with_one] <= probabilities[row])
        yield (
            int(row),
            f"false positive: {count} of {len(with_one)} series {task.with_finding} score as low",
        )
    for row in [row for row in best if row not in missed[:per_kind]][:per_kind]:
        count = np.count_nonzero(probabilities[without] < probabilities[row])
        words = f"of {len(without)} series {task.without_finding}"
        yield int(row), f"true positive: above {count} {words}"
