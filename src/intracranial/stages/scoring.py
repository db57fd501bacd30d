"""What the three evaluations share: which folds are scored, and that each is scored once.

A script's own module says what is opened and what is predicted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from intracranial.artifacts import ALL_FOLDS, FINAL_FOLD, FoldPaths, read_json, write_csv
from intracranial.errors import EXIT_DONE, UsageError
from intracranial.evaluation.all_folds import Pooled, check_seed_runs, summarise_folds
from intracranial.evaluation.predictions import GROUP_COLUMN, prediction_rows
from intracranial.evaluation.stage_scores import stage_metrics
from intracranial.evaluation.subgroups import sample_of_split
from intracranial.jsonable import to_json
from intracranial.lineage import Trained
from intracranial.options.evaluation import EvaluationOptions
from intracranial.processes.locks import only_one
from intracranial.provenance import MADE_BY, Plan, Request, plan, write_manifest
from intracranial.runlog import log
from intracranial.splits.folds import Split, chosen_folds
from intracranial.splits.split_files import load_split
from intracranial.statistics.intervals import Settings
from intracranial.tasks import SERIES_COLUMN, Task


def score_folds(
    options: EvaluationOptions, stage: str, score: Callable[[Split, int], int]
) -> tuple[int, Pooled | None]:
    """Score the held-out series of one fold, or of each and of all together.

    Args:
        options: of the script.
        stage: `stage1`, `stage2` or `end_to_end`.
        score: scores one fold; returns an exit code.

    Returns:
        The largest exit code, and the rows and table of all folds with `--fold all`.

    Raises:
        UsageError: the final model is asked for, which has no held-out fold.
    """
    if options.fold == FINAL_FOLD:
        raise UsageError(f"--fold {FINAL_FOLD}: the final model has no held-out fold to score")
    check_seed_runs(options, stage)
    split = load_split(options.data, options.folds)
    codes = [score(split, int(fold)) for fold in chosen_folds(split, options.fold)]
    pooled = None
    if options.fold == ALL_FOLDS:
        pooled = summarise_folds(options, split, stage, split.task)
    return max(codes, default=EXIT_DONE), pooled


def made_once(
    path: Path,
    lock: Path,
    request: Request,
    overwrite: bool,
    outputs: Sequence[Path],
    make: Callable[[], Mapping[str, Any]],
) -> Mapping[str, Any]:
    """The content of a metrics file: what `make` makes, unless it is made already.

    Args:
        path: of the metrics file.
        lock: held meanwhile, so that two equal commands do not work twice.
        request: what is scored, with what.
        overwrite: score again.
        outputs: what else `make` writes.
        make: scores and writes everything but the metrics file.

    Raises:
        StaleArtifact: it was made with other options or inputs.
        Busy: another command makes it.
    """
    if plan(path, request, overwrite, outputs) is Plan.DONE:
        log.info("%s: nothing to do, everything is scored", path)
        return read_json(path, MADE_BY[request.kind])
    with only_one(lock, f"the scores in {path}"):
        content = make()
        write_manifest(path, request, complete=True, content=content)
    log.info("wrote %s", path)
    return content


@dataclass(frozen=True, eq=False)
class Rows:
    """What one stage says of some rows.

    Attributes:
        uids: SeriesInstanceUID of each of the N rows.
        targets: float (N, L) of 0, 1, and NaN where a label is not known.
        probabilities: float (N, L).
        columns: further columns of the rows' table, by name (N,).
    """

    uids: Sequence[str]
    targets: np.ndarray
    probabilities: np.ndarray
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def none(cls, task: Task) -> "Rows":
        """No rows."""
        empty = np.zeros((0, len(task.labels)))
        return cls((), empty, empty)


def score_stage(
    options: EvaluationOptions,
    paths: FoldPaths,
    split: Split,
    stage: str,
    words: str,
    weights: Sequence[Trained],
    request: Request,
    predict: Callable[[], tuple[Rows, Rows]],
    unit: str = "series",
) -> None:
    """Score one stage on the rows of its held-out fold, beside its training rows.

    Args:
        options: of the intervals, and whether to score again.
        paths: the fold's.
        split: its task and patients.
        stage: `stage1` or `stage2`.
        words: what is scored, for headlines.
        weights: sidecars of all that took part.
        request: what is scored, with what.
        predict: gives the held-out rows and the training rows.
        unit: what a row is: series or spots.
    """

    def make() -> dict[str, Any]:
        held_out, training = predict()
        samples = [
            sample_of_split(split, split.task, list(rows.uids), rows.targets, rows.probabilities)
            for rows in (held_out, training)
        ]
        settings = Settings(options.resamples, options.seed)
        metrics = stage_metrics(split.task, words, samples[0], samples[1], weights, settings, unit)
        patients = split.series["group"]
        keys = [
            {
                SERIES_COLUMN: uid,
                **{name: column[row] for name, column in held_out.columns.items()},
                GROUP_COLUMN: patients[uid],
            }
            for row, uid in enumerate(held_out.uids)
        ]
        columns, rows = prediction_rows(split.task, keys, held_out.targets, held_out.probabilities)
        write_csv(paths.predictions(stage), columns, rows)
        return to_json(replace(metrics, split_hash=split.split_hash))

    made_once(
        paths.metrics(stage),
        paths.lock(f"{stage}_metrics"),
        request,
        options.overwrite,
        [paths.predictions(stage)],
        make,
    )
