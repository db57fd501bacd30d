"""One table over all folds: each fold's score, and the score of the pooled held-out predictions."""

import pandas as pd

from src.artifacts import ALL_FOLDS, write_json
from src.metrics import figure, format_table, score_table
from src.options.common import ModelOptions
from src.provenance import read_manifest
from src.runlog import log
from src.task import Task


def summarise_folds(options: ModelOptions, folds: int, stage: str, task: Task) -> None:
    """Print and write `model/<run>/all/<stage>_metrics.json`.

    Args:
        options: for the run's paths.
        folds: number of folds; each must have been scored.
        stage: `stage1`, `stage2` or `end_to_end`.
        task: labels and their weights.
    """
    values, tables = {}, []
    for fold in range(folds):
        paths = options.fold_paths(fold)
        metrics = read_manifest(paths.metrics(stage), f"{stage}_metrics")
        values[str(fold)] = metrics["weighted_auc"]["value"]
        tables.append(pd.read_csv(paths.predictions(stage)))
    pooled = pd.concat(tables)
    targets = pooled[[f"true {label}" for label in task.labels]].to_numpy()
    table = score_table(task, targets, pooled[list(task.labels)].to_numpy())
    known = [value for value in values.values() if value is not None]
    log.info("%s, weighted AUC of each fold:", stage)
    for fold_name, value in values.items():
        log.info("  fold %s  %s", fold_name, figure(value))
    if known:
        spread = max(known) - min(known)
        log.info("  mean %s, spread %s", figure(sum(known) / len(known)), figure(spread))
    unit = "spots" if stage == "stage1" else "series"
    log.info("%s, held-out predictions of all folds:\n%s", stage, format_table(task, table, unit))
    path = options.fold_paths(ALL_FOLDS).metrics(stage)
    write_json(path, {**table, "weighted_auc_by_fold": values, "folds": folds})
    log.info("wrote %s", path)
