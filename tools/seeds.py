"""Spread of the scores of runs that differ in their seed alone.

Reads    the metrics files of all runs: of one held-out fold, or of all folds together.
Writes   a JSON file, by default <stage>_seeds.json beside the metrics of the first run.

Runs on different splits, and on different series, are refused: they would differ for other reasons.

    python tools/seeds.py demo demo-seed1 demo-seed2 --fold all
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src.errors import InputError, UsageError
from src.runlog import run_tool
from src.task import RSNA_2025 as TASK


@dataclass(frozen=True)
class Options:
    """Which runs."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...")]
    """Names of two runs or more."""

    model_dir: Path = Path("model")
    """Folder of all runs."""

    stage: Literal["end_to_end", "stage1", "stage2"] = "end_to_end"
    """Whose scores."""

    fold: str = "0"
    """Held-out fold; `all` for the held-out predictions of every fold together."""

    out_file: Path | None = None
    """Where the JSON file goes."""


def main(options: Options) -> int:
    """Collect, print, save."""
    from src.artifacts import write_json
    from src.evaluation.comparison import not_independent
    from src.evaluation.intervals import Settings, auc_table
    from src.evaluation.scored_runs import load_run
    from src.evaluation.spread import spread
    from src.metrics import figure

    if len(set(options.runs)) < 2:
        raise UsageError("give two different runs or more")
    where = (options.model_dir, options.stage, options.fold, TASK)
    loaded = [load_run(run, *where) for run in dict.fromkeys(options.runs)]
    first = loaded[0][0]
    scores: dict[str, list[float | None]] = {"weighted AUC": [], "mean of locations": []}
    scores |= {label: [] for label in TASK.labels}
    for run, _ in loaded:
        if run.split_hash != first.split_hash or set(run.keys) != set(first.keys):
            raise InputError(f"{first.name} and {run.name} were not scored on the same series")
        if run.labels != TASK.labels:
            raise InputError(f"{run.name} does not predict every label")
        table, _ = auc_table(TASK, run.sample, Settings(0))
        scores["weighted AUC"].append(table["weighted_auc"]["value"])
        scores["mean of locations"].append(table["locations_mean"]["value"])
        for label in TASK.labels:
            scores[label].append(table["per_label"][label]["value"])
    found = {name: {"values": values, "spread": spread(values)} for name, values in scores.items()}
    width = max(map(len, found))
    print(f"{'':<{width}}   mean     sd    min    max")
    for name, row in found.items():
        cells = (row["spread"] or {}).get
        keys = ("mean", "standard_deviation", "min", "max")
        print(f"{name:<{width}}  {'  '.join(figure(cells(key)) for key in keys)}")
    optimistic = {run.name: run.optimistic for run, _ in loaded}
    for line in not_independent(optimistic):
        print(line)
    path = options.out_file or loaded[0][1] / f"{options.stage}_seeds.json"
    content = {"runs": list(optimistic), "optimistic": optimistic, "scores": found}
    write_json(path, {**content, "stage": options.stage, "fold": options.fold})
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(run_tool("seeds", Options, main, __doc__))
