"""Options that several stages share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from intracranial.artifacts import FINAL_FOLD, DataPaths, FoldPaths
from intracranial.config import option_types, option_values, plain
from intracranial.errors import UsageError
from intracranial.marks import SETTING, Before, Setting
from intracranial.provenance import Request

Precision = Literal["auto", "bf16", "fp16", "fp32"]
"""auto takes bf16 where the device is fast at it, see `compute.choose_compute`."""


def _marks(options_type: type) -> dict[str, tuple[Any, ...]]:
    """What each option is annotated with."""
    kinds = option_types(options_type)
    return {name: getattr(kind, "__metadata__", ()) for name, kind in kinds.items()}


def before(options_type: type) -> dict[str, Any]:
    """For each option that came later, what its absence in a manifest means."""
    return {
        name: mark.value
        for name, found in _marks(options_type).items()
        for mark in found
        if isinstance(mark, Before)
    }


def identity(options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Those of some options that change the result, JSON-ready; without those at their `Before`."""
    marks, absent = _marks(type(options)), before(type(options))
    values = {
        name: plain(value)
        for name, value in option_values(options).items()
        if SETTING not in marks[name]
    }
    return {
        name: value for name, value in values.items() if name not in absent or value != absent[name]
    }


def check_above_zero(name: str, value: float) -> None:
    """Refuse a limit that nothing keeps; `name` is that of the flag or argument.

    Raises:
        UsageError: it is not finite, or 0 or less.
    """
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} {value}: give more than 0")


@dataclass(frozen=True, kw_only=True)
class Computing:
    """How numbers are computed."""

    precision: Precision = "auto"
    """auto, bf16, fp16 or fp32; auto takes bf16 where the device is fast at it."""

    deterministic: Setting[bool] = False
    """On CUDA, use only kernels that give the same bits every time; slower. A CPU always does."""


@dataclass(frozen=True, kw_only=True)
class CompiledComputing(Computing):
    """How numbers are computed."""

    compile: Setting[bool] = False
    """Compile the network with torch.compile: a minute at the start, faster on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A part of the work, or a look at it."""

    limit: int | None = None
    """Use only the first N series (a trial; the artifact is marked as partial)."""

    dry_run: Setting[bool] = False
    """Say what would be done, and do nothing."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of every stage."""

    config: Setting[Path | None] = None
    """Recipe: a YAML file with a section per stage; its values are defaults that flags override."""

    data_dir: Setting[Path] = Path("data")
    """Folder of the series, tables and caches."""

    overwrite: Setting[bool] = False
    """Rebuild what was made with other options or inputs."""

    print_recipe: Setting[bool] = False
    """Print the section of a recipe that gives these very options, and do nothing."""

    @property
    def data(self) -> DataPaths:
        """Paths under the data folder."""
        return DataPaths(self.data_dir)

    @property
    def record_dir(self) -> Path:
        """Folder for the run record and the log file."""
        return self.data.records

    def identity(self) -> dict[str, Any]:
        """The options that change the result, see `identity`."""
        return identity(self)

    def request(
        self,
        kind: str,
        inputs: Mapping[str, str],
        partial: str | None = None,
        fold: int | str | None = None,
    ) -> Request:
        """What a stage is about to make with these options.

        Args:
            kind: of the artifact.
            inputs: identity of each of its inputs.
            partial: what was limited, in words; None for nothing.
            fold: of which the artifact is, where it is of one.
        """
        of_fold = {} if fold is None else {"fold": str(fold)}
        options = {**self.identity(), **of_fold}
        return Request(kind, options, inputs, partial, before(type(self)))


@dataclass(frozen=True, kw_only=True)
class ModelOptions(DataOptions):
    """Options of every stage that works on one fold of one run."""

    model_dir: Setting[Path] = Path("model")
    """Folder of all runs."""

    run: Setting[str | None] = None
    """Name of the run, a folder under model_dir (default: the recipe's file name)."""

    folds: Setting[int | None] = None
    """Number of folds of the split to use (default: the only split that create_folds.py made)."""

    fold: Setting[str] = "0"
    """Held-out fold, 0 .. folds-1; `all` for each in turn; `final` for the model of all series."""

    device: Setting[str] = "auto"
    """auto, cpu, cuda or cuda:INDEX."""

    num_workers: Setting[int | None] = None
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

    @property
    def record_dir(self) -> Path:
        """Folder for the run record and the log file."""
        return self.model_dir / self.run_name / "runs"
