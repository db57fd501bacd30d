"""Write the folder to upload for the challenge: code, weights, and the list of wheels.

Reads    model/<run>: weights and sidecars, and what becomes the prior, the answer for a series that
         cannot be read: the mean of the held-out predictions of its folds or, where `final` is all
         that was trained, how frequent each label was in training. --prior gives another.
Writes   <out_dir>/kaggle_submission.py with predict(series_path); intracranial/, the code;
         model/<run>/, weights and sidecars; submission.json; wheels.txt, which pip download takes
         where there is a network, for pip install --no-index --find-links where there is none.

    python tools/kaggle_submission.py --model model/convnext_base_dinov3 --out_dir upload
"""

from intracranial.surroundings import leave, make_safe

if __name__ == "__main__":
    make_safe()  # before the imports that take seconds

import contextlib
import importlib.metadata
import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import intracranial
from intracranial.artifacts import FINAL_FOLD, LOCK_SUFFIX, FoldPaths
from intracranial.deployment.submission import SubmissionConfig, not_to_be_emptied
from intracranial.errors import InputError, UsageError
from intracranial.processes.locks import only_one
from intracranial.runlog import run_tool
from intracranial.sidecar import damaged

if TYPE_CHECKING:
    from intracranial.lineage import Stage2Sidecar
    from intracranial.tasks import Task

ROOT = Path(__file__).resolve().parent.parent
ENTRY = Path(__file__).parent / "templates" / "kaggle_submission.py"
SHARED = "/kaggle/shared"
"""Where the challenge's gateway puts the files of a series; it asks that they be deleted."""


@dataclass(frozen=True)
class Options:
    """What to pack."""

    model: Path
    """Folder of the run, model/<run>."""

    out_dir: Path
    """Folder to write; it must not exist or be empty."""

    fold: tuple[str, ...] = ()
    """Folds to average, numbers or `final` (default: all that are trained)."""

    prior: Path | None = None
    """JSON file with a probability for each label, in place of the run's own prior."""

    views: tuple[str, ...] = ()
    """Test-time augmentation: flip, reverse, crop, crop90; each takes as long as the plain view."""

    seconds: float = 120.0
    """Budget of one series, reading and networks together, once the networks are loaded; then the
    prior is the answer."""

    shared_dir: str = SHARED
    """Folder where the gateway puts series; it is emptied after the answer to one in it."""

    def __post_init__(self) -> None:
        """Check what can be checked without the files."""
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UsageError(f"--seconds {self.seconds}: give more than 0")
        reason = not_to_be_emptied(self.shared_dir, self.out_dir, self.model)
        if reason is not None:
            raise UsageError(f"--shared_dir: {reason}")


def main(options: Options) -> int:
    """Pack and say what was packed; the lock is beside the folder, which has to be empty."""
    lock = options.out_dir.with_name(f".{options.out_dir.name}{LOCK_SUFFIX}")
    with only_one(lock, f"{options.out_dir}"):
        return pack(options)


def pack(options: Options) -> int:
    """`main`, when no other command writes into the folder."""
    from intracranial.inference.run import Predictor, trained_folds

    if options.out_dir.exists() and any(options.out_dir.iterdir()):
        raise InputError(f"--out_dir {options.out_dir} is not empty: delete it, or name another")
    # What cannot be opened here could not be served there, and every answer would be the prior.
    predictor = Predictor(options.model, options.fold or None, device="cpu", views=options.views)
    folds = predictor.folds
    run = options.model.absolute()
    if options.prior is not None:
        prior, prior_from = prior_of_file(options.prior, predictor.labels), options.prior.name
    else:
        trained = trained_folds(run) if options.fold else folds
        prior, prior_from = prior_of_run(run, trained, predictor.task)
    config = SubmissionConfig(
        run=f"model/{run.name}",
        folds=folds,
        views=options.views,
        seconds=options.seconds,
        shared=options.shared_dir,
        labels=predictor.labels,
        prior=prior,
        prior_from=prior_from,
    )
    with written_whole(options.out_dir):
        copy_model(run, folds, options.out_dir)
        copy_code(options.out_dir)
        (options.out_dir / "wheels.txt").write_text(wheels(), encoding="utf-8")
        config.save(options.out_dir)
    print(f"wrote {options.out_dir}: folds {', '.join(folds)}; the prior: {prior_from}")
    return 0


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[None]:
    """Make a folder; when the block ends with an error, leave it as it was: absent or empty."""
    was_there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not was_there:
            folder.rmdir()
        raise


def copy_model(run: Path, folds: tuple[str, ...], out_dir: Path) -> None:
    """Weights and sidecars of both stages of each fold."""
    for fold in folds:
        here = FoldPaths(run.parent, run.name, fold)
        there = FoldPaths(out_dir / "model", run.name, fold)
        there.root.mkdir(parents=True)
        for stage in ("stage1", "stage2"):
            shutil.copyfile(here.manifest(stage), there.manifest(stage))
            shutil.copyfile(here.weights(stage), there.weights(stage))


def prior_of_run(run: Path, folds: tuple[str, ...], task: "Task") -> tuple[dict[str, float], str]:
    """The answer for a series that cannot be read, by label, and what it is in words.

    The mean held-out probability rather than the labels' frequencies: among predictions of networks
    a series that cannot be read should rank where an average one does. A run of which only `final`
    is trained has none, and its prior are the frequencies among its training series.

    Args:
        run: absolute path of the run's folder.
        folds: that are trained, as `trained_folds` gives them.
        task: the run's.

    Raises:
        InputError: there is neither; the message says what to do.
    """
    import numpy as np

    from intracranial.evaluation.predictions import reference_predictions
    from intracranial.lineage import open_stage2

    found = []
    for fold in folds:
        paths = FoldPaths(run.parent, run.name, fold)
        stage2 = open_stage2(paths, {}, task)
        if fold == FINAL_FOLD:
            return frequencies(stage2, task.labels)
        reference = reference_predictions(paths, stage2.identity, task)
        if reference is not None:
            found.append(reference[1].probabilities)
    if not found:
        raise InputError(
            f"{run} has no held-out predictions for the prior: run eval_end_to_end.py or "
            "eval_stage2.py on its folds, or give --prior FILE"
        )
    every = np.concatenate(found)
    prior = dict(zip(task.labels, every.mean(axis=0).tolist(), strict=True))
    return prior, f"mean of the held-out predictions of {len(every)} series"


def frequencies(stage2: "Stage2Sidecar", labels: Sequence[str]) -> tuple[dict[str, float], str]:
    """Share of the training series that have each label, and what that is in words.

    Args:
        stage2: the sidecar.
        labels: that the run predicts.

    Raises:
        InputError: it was written before sidecars counted labels, or the counts are damaged.
    """
    path, counted = stage2.path, stage2.training_labels
    if counted is None:
        raise InputError(
            f"{path} does not tell how frequent each label was in training, and the final model "
            "has no held-out predictions: give --prior FILE, a JSON file with a probability for "
            "each label, or train stage 2 again with train_stage2.py --fold final --overwrite"
        )
    prior = {label: counted.positives.get(label, -1) / counted.series for label in labels}
    if not all(0 <= share <= 1 for share in prior.values()):
        raise damaged(path, f"`training_labels` {counted.positives} are no counts of the labels")
    return prior, f"label frequencies of the {counted.series} training series"


def prior_of_file(path: Path, labels: Sequence[str]) -> dict[str, float]:
    """A prior that was given.

    Raises:
        OSError: it cannot be read.
        InputError: it is not a JSON object with a probability, 0..1, for each of these labels.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        content = None
    if (
        not isinstance(content, dict)
        or set(content) != set(labels)
        or not all(isinstance(one, int | float) and 0 <= one <= 1 for one in content.values())
    ):
        raise InputError(
            f"--prior {path}: give a JSON object with a probability, 0 to 1, for each of the "
            f"labels {', '.join(labels)} and nothing else"
        )
    return {label: float(content[label]) for label in labels}


def copy_code(out_dir: Path) -> None:
    """The package as a wheel has it, and the entry."""
    shutil.copytree(
        Path(intracranial.__file__).parent,
        out_dir / intracranial.__name__,
        ignore=shutil.ignore_patterns("__pycache__", "*.schema.json"),
    )
    shutil.copyfile(ENTRY, out_dir / ENTRY.name)
    shutil.copyfile(ROOT / "LICENSE", out_dir / "LICENSE")


def wheels() -> str:
    """Requirements with the versions that are installed here."""
    lines = [
        "# Leave out what is installed there in a version that will do, torch first of all.",
        "# pip download -r wheels.txt -d wheels    where there is a network",
        "# pip install --no-index --find-links wheels -r wheels.txt    where there is none",
    ]
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        name = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
        if name:
            # a local version such as +cpu names a build that no index has
            version = importlib.metadata.version(name[0]).split("+")[0]
            lines.append(f"{name[0]}=={version}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    leave(run_tool("kaggle_submission", Options, main, __doc__))
