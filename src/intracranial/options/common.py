"""Options that several stages share."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from intracranial.artifacts import FINAL_FOLD, DataPaths, FoldPaths
from intracranial.config import plain
from intracranial.errors import UsageError

NOT_IDENTITY = frozenset(
    {
        "config",
        "data_dir",
        "model_dir",
        "run",
        "folds",
        "fold",
        "train_on_all",
        "mine_hard_negatives",
        "hard_threshold",
        "device",
        "num_workers",
        "overwrite",
        "verify",
        "allow_rejected",
        "series_dir",
        "out_dir",
        "labels",
        "localizers",
        "seed_runs",
        "report",
        "max_series_seconds",
        "checkpoint_minutes",
        "rank_patience",
        "deterministic",
        "compile",
        "tensorboard",
        "dry_run",
    }
)
"""Options that change where or how fast a stage runs, never what it makes. The split and the fold
are part of an artifact's identity through its inputs and `fold_identity`."""


def check_above_zero(name: str, value: float) -> None:
    """Refuse a limit that nothing keeps; `name` is that of the flag or argument.

    Raises:
        UsageError: it is not finite, or 0 or less.
    """
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} {value}: give more than 0")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of every stage."""

    config: Path | None = None
    """Recipe: a YAML file with a section per stage; its values are defaults that flags override."""

    data_dir: Path = Path("data")
    """Folder of the series, tables and caches."""

    overwrite: bool = False
    """Rebuild what was made with other options or inputs."""

    @property
    def data(self) -> DataPaths:
        """Paths under the data folder."""
        return DataPaths(self.data_dir)

    @property
    def record_dir(self) -> Path:
        """Folder for the run record and the log file."""
        return self.data.records

    def identity(self) -> dict[str, Any]:
        """The options that change the result, JSON-ready."""
        return {
            field.name: plain(getattr(self, field.name))
            for field in fields(self)
            if field.name not in NOT_IDENTITY
        }


@dataclass(frozen=True, kw_only=True)
class ModelOptions(DataOptions):
    """Options of every stage that works on one fold of one run."""

    model_dir: Path = Path("model")
    """Folder of all runs."""

    run: str | None = None
    """Name of the run, a folder under model_dir (default: the recipe's file name)."""

    folds: int | None = None
    """Number of folds of the split to use (default: the only split that create_folds.py made)."""

    fold: str = "0"
    """Held-out fold, 0 .. folds-1; `all` for each in turn; `final` for the model of all series."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX."""

    num_workers: int | None = None
    """Processes (in extract_features.py threads) that load data ahead; 0 for none. The default is 2
    where DICOM is read and features are made; for stacks and sequences 8 beside a GPU, or as many
    as there are cores for it, and 0 on a CPU, whose cores they would take from the training."""

    def __post_init__(self) -> None:
        """Check what can be checked without the data."""
        if self.fold not in ("all", FINAL_FOLD) and not self.fold.isdigit():
            raise UsageError(f"--fold {self.fold}: give a number, `all` or `{FINAL_FOLD}`")
        if self.num_workers is not None and self.num_workers < 0:
            raise UsageError(f"--num_workers {self.num_workers}: give 0 or more")
        name = self.run_name
        if not name or name.startswith(".") or "/" in name or "\\" in name:
            raise UsageError(f"--run {name!r}: give a plain folder name")

    @property
    def readers(self) -> int:
        """`num_workers`, or its default where DICOM is read and features are made."""
        return 2 if self.num_workers is None else self.num_workers

    @property
    def run_name(self) -> str:
        """The run's folder name."""
        if self.run is not None:
            return self.run
        if self.config is not None:
            return self.config.stem
        return self.default_run()

    def default_run(self) -> str:
        """Run name when neither --run nor --config is given; training uses the model's name."""
        raise UsageError("which run? give --run NAME or the recipe that trained it with --config")

    def fold_paths(self, fold: int | str) -> FoldPaths:
        """Paths of one fold of this run."""
        return FoldPaths(self.model_dir, self.run_name, fold)

    def fold_identity(self, fold: int | str) -> dict[str, Any]:
        """`identity` of one fold's artifact."""
        return {**self.identity(), "fold": str(fold)}

    @property
    def record_dir(self) -> Path:
        """Folder for the run record and the log file."""
        return self.model_dir / self.run_name / "runs"
