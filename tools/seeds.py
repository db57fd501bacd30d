"""Spread of the scores of runs that differ in their seed alone.

Reads    the metrics files of all runs: of one held-out fold, or of all folds together.
Writes   a JSON file, by default <stage>_seeds.json beside the metrics of the first run.

Runs on different splits or series, and with other options than the seed, are refused: they would
differ for other reasons.

    python tools/seeds.py demo demo-seed1 demo-seed2 --fold all
"""

from intracranial.surroundings import leave, make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from intracranial.errors import UsageError
from intracranial.runlog import run_tool


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
    from intracranial.artifacts import write_json
    from intracranial.evaluation.scored_runs import load_run, require_seeds_alone, task_of_scores
    from intracranial.jsonable import to_json
    from intracranial.statistics.comparison import not_independent
    from intracranial.statistics.seeds import format_seeds, seed_table

    if len(set(options.runs)) < 2:
        raise UsageError("give two different runs or more")
    where = (options.model_dir, options.stage, options.fold)
    task = task_of_scores(options.runs[0], *where)
    loaded = [load_run(run, *where, task) for run in dict.fromkeys(options.runs)]
    table = seed_table(task, [run for run, _ in loaded])
    require_seeds_alone(list(dict.fromkeys(options.runs)), *where)
    path = options.out_file or loaded[0][1] / f"{options.stage}_seeds.json"
    write_json(path, {**to_json(table), "stage": options.stage, "fold": options.fold})
    print("\n".join([format_seeds(table), *not_independent(table.optimistic)]))
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    leave(run_tool("seeds", Options, main, __doc__))
