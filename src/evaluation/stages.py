"""Scores of one stage on its held-out fold, beside those on its training rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from src.errors import InputError
from src.evaluation.crossfit import over_patients
from src.evaluation.intervals import Settings
from src.evaluation.sample import Sample
from src.evaluation.tables import evaluate, log_tables, selected_on
from src.metrics import score_table
from src.runlog import log
from src.task import Task


def stage_metrics(
    task: Task,
    stage: str,
    held_out: Sample,
    training: tuple[np.ndarray, np.ndarray],
    manifests: Sequence[Mapping[str, Any]],
    settings: Settings,
    unit: str = "series",
) -> dict[str, Any]:
    """Metrics of one stage, printed and JSON-ready (schema: `src.evaluation.tables`).

    Args:
        task: the labels.
        stage: name for the headline.
        held_out: rows of the held-out fold; their table is the top level of the result.
        training: targets (N, L) and probabilities (N, L) of the training rows, for the gap.
        manifests: of all weights that took part; say on what they were selected.
        settings: of the intervals.
        unit: what a row is: series or spots.

    Raises:
        InputError: nothing to score in the held-out fold.
    """
    if not len(held_out):
        raise InputError(f"{stage}: the held-out fold has nothing to score")
    crossfit = over_patients(held_out, held_out.targets[:, task.overall_index], settings.seed)
    table = evaluate(task, held_out, settings, crossfit, selected_on(manifests))
    log_tables(task, f"{stage}, held out", table, unit)
    seen = score_table(task, *training) if len(training[0]) else None
    value, trained = table["weighted_auc"]["value"], (seen or {}).get("weighted_auc", {})
    gap = None
    if seen and value is not None and trained["value"] is not None:
        gap = trained["value"] - value
        log.info(
            "%s, weighted AUC: training %.3f, held out %.3f, gap %.3f",
            *(stage, trained["value"], value, gap),
        )
    return {**table, "training": seen, "gap": gap}
