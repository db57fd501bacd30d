"""Combine the predictions of several runs: mean, mean rank, and fitted weights.

Reads    the predictions and metrics files of the runs: held-out predictions of one fold or of all,
         or folders that eval_end_to_end.py --out_dir scored. They must have the same rows; on a
         folder the runs may be of any split. Runs that have met the rows in training are named.
Writes   <out_dir>/mean_predictions.csv, rank_predictions.csv and fitted_predictions.csv, and
         ensemble.json: scores with intervals, the difference of each method from the best run,
         weights, and how optimistic they are; its schema is evaluation/results.schema.json.

    python tools/ensemble.py seed0 seed1 seed2 --fold all --out_dir model/ensemble
"""

from intracranial.surroundings import leave, make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from intracranial.artifacts import ALL_FOLDS, LOCK_SUFFIX, write_csv, write_json
from intracranial.errors import UsageError
from intracranial.options.evaluation import FEWEST_RESAMPLES, check_seed
from intracranial.processes.locks import only_one
from intracranial.runlog import run_tool
from intracranial.tasks import SERIES_COLUMN


@dataclass(frozen=True)
class Options:
    """What to combine."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Runs, or folders with predictions; two or more."""

    out_dir: Path
    """Where the combined predictions go."""

    model_dir: Path = Path("model")
    """Folder of all runs."""

    stage: Literal["end_to_end", "stage2"] = "end_to_end"
    """Whose predictions."""

    fold: str = "0"
    """Held-out fold; `all` for the held-out predictions of every fold together."""

    weights: tuple[float, ...] = ()
    """Weights of mean and rank, one per run (default: equal ones)."""

    resamples: int = 2000
    """Resamples of the bootstrap over patients."""

    seed: int = 0
    """Keys the resamples, and the parts of one fold in which weights are fitted."""

    def __post_init__(self) -> None:
        """Check what can be checked without the files."""
        if not all(math.isfinite(weight) and weight >= 0 for weight in self.weights):
            raise UsageError(f"--weights {' '.join(map(str, self.weights))}: give 0 or more each")
        if self.resamples < FEWEST_RESAMPLES:
            raise UsageError(f"--resamples {self.resamples}: give {FEWEST_RESAMPLES} or more")
        check_seed(self.seed)


def main(options: Options) -> int:
    """Combine, print, save."""
    import numpy as np

    from intracranial.ensembles.combination import align, check_runs, combine, format_ensemble
    from intracranial.evaluation.predictions import GROUP_COLUMN, prediction_rows
    from intracranial.evaluation.scored_runs import load_run, task_of_scores
    from intracranial.jsonable import to_json
    from intracranial.statistics.crossfit import over_folds, over_patients
    from intracranial.statistics.intervals import Settings

    weights = options.weights or None
    check_runs(options.runs, weights)
    where = (options.model_dir, options.stage)
    task = task_of_scores(options.runs[0], *where, options.fold)
    runs = align([load_run(run, *where, options.fold, task)[0] for run in options.runs])
    sample = runs[0].sample
    if options.fold == ALL_FOLDS:
        folds = np.full(len(sample), -1)
        for fold in range(len(sample)):
            if (folds >= 0).all():
                break
            held_out = load_run(options.runs[0], *where, str(fold), task)[0].sample.uids
            folds[np.isin(sample.uids, held_out)] = fold
        crossfit = over_folds(sample, folds)
    else:
        crossfit = over_patients(sample, task.has_finding(sample.targets), options.seed)
    settings = Settings(options.resamples, options.seed)
    found = combine(task, runs, weights, crossfit, settings)
    keys = [
        {SERIES_COLUMN: str(uid), GROUP_COLUMN: str(group)}
        for uid, group in zip(sample.uids, sample.groups, strict=True)
    ]
    content = {**to_json(found.table), "stage": options.stage, "fold": options.fold}
    with only_one(options.out_dir / f".ensemble{LOCK_SUFFIX}", f"{options.out_dir}"):
        for method, probabilities in found.probabilities.items():
            columns, rows = prediction_rows(task, keys, sample.targets, probabilities)
            write_csv(options.out_dir / f"{method}_predictions.csv", columns, rows)
        write_json(options.out_dir / "ensemble.json", content)
    print(format_ensemble(found.table))
    print(f"wrote {options.out_dir / 'ensemble.json'}")
    return 0


if __name__ == "__main__":
    leave(run_tool("ensemble", Options, main, __doc__))
