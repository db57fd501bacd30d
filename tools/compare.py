"""Compare two runs on the same series: paired differences with intervals and p-values.

Reads    the predictions and metrics files of both runs: held-out predictions of one fold or of
         all, or two folders that eval_end_to_end.py --out_dir scored.
Writes   a JSON file, by default <stage>_against_<RUN_B>.json beside the predictions of RUN_A.

A run is the name of a folder under --model_dir, or a folder that holds predictions. Differences
are RUN_B minus RUN_A. Runs are compared when their split hashes are equal, or when they were scored
on the same list of series; otherwise the tool refuses.

    python tools/compare.py baseline larger --fold all
    python tools/compare.py results_a results_b
"""

from intracranial.surroundings import leave, make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from intracranial.errors import UsageError
from intracranial.options.evaluation import FEWEST_RESAMPLES, check_seed
from intracranial.runlog import run_tool


@dataclass(frozen=True)
class Options:
    """What to compare."""

    run_a: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_A")]
    """Run, or folder with predictions."""

    run_b: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_B")]
    """The other run, or folder."""

    model_dir: Path = Path("model")
    """Folder of all runs."""

    stage: Literal["end_to_end", "stage1", "stage2"] = "end_to_end"
    """Whose predictions: end_to_end, stage2 (series) or stage1 (spots)."""

    fold: str = "0"
    """Held-out fold; `all` for the held-out predictions of every fold together."""

    resamples: int = 2000
    """Resamples of the bootstrap over patients."""

    seed: int = 0
    """Keys the resamples."""

    out_file: Path | None = None
    """Where the JSON file goes."""

    def __post_init__(self) -> None:
        """Check what can be checked without the files."""
        if self.resamples < FEWEST_RESAMPLES:
            raise UsageError(f"--resamples {self.resamples}: give {FEWEST_RESAMPLES} or more")
        check_seed(self.seed)


def main(options: Options) -> int:
    """Compare, print, save."""
    from intracranial.artifacts import write_json
    from intracranial.evaluation.scored_runs import load_run, task_of_scores
    from intracranial.jsonable import to_json
    from intracranial.statistics.comparison import compare, format_comparison
    from intracranial.statistics.intervals import Settings

    where = (options.model_dir, options.stage, options.fold)
    task = task_of_scores(options.run_a, *where)
    first, folder = load_run(options.run_a, *where, task)
    second, _ = load_run(options.run_b, *where, task)
    found = compare(task, first, second, Settings(options.resamples, options.seed))
    name = f"{options.stage}_against_{Path(options.run_b).name}.json"
    path = options.out_file or folder / name
    write_json(path, {**to_json(found), "stage": options.stage, "fold": options.fold})
    print(format_comparison(task, found, "spots" if options.stage == "stage1" else "series"))
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    leave(run_tool("compare", Options, main, __doc__))
