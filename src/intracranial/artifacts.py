"""Where the artifacts of the eight scripts lie, and how they are written and read.

Writes are atomic: a temporary name beside the target, then `os.replace`, so that a killed run
leaves either the old file or the new one. A manifest that says "complete" is written last.
"""

import contextlib
import csv
import errno
import json
import os
import shutil
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from intracranial.errors import InputError, MissingArtifact, UsageError

TEMPORARY_SUFFIX = ".partial"
LOCK_SUFFIX = ".lock"

FINAL_FOLD = "final"
"""Name of the model that is trained on every series, beside the numbered folds."""

ALL_FOLDS = "all"
"""Stands for each fold in turn, and names the folder of the tables over all folds."""


@dataclass(frozen=True)
class DataPaths:
    """Paths under `data/`: the raw series, the caches and the fold tables."""

    root: Path

    @property
    def series(self) -> Path:
        """Folder of raw DICOM: one folder per SeriesInstanceUID."""
        return self.root / "series"

    @property
    def task(self) -> Path:
        """The task of this folder; without it the RSNA 2025 aneurysm task."""
        return self.root / "task.yaml"

    @property
    def train_csv(self) -> Path:
        """The table of series and labels."""
        return self.root / "train.csv"

    @property
    def localizers_csv(self) -> Path:
        """The table of the findings' centres; optional."""
        return self.root / "train_localizers.csv"

    @property
    def sequences(self) -> Path:
        """Folder of cached series, `<uid>.npy` and `<uid>.json`."""
        return self.root / "npy_sequence"

    def sequence(self, uid: str) -> Path:
        """Cached series, float16 (n, size, size), values 0..5."""
        return self.sequences / f"{uid}.npy"

    def sequence_sidecar(self, uid: str) -> Path:
        """Marker of a finished cached series: its table rows and digests."""
        return self.sequences / f"{uid}.json"

    @property
    def slices(self) -> Path:
        """Folder of optional per-slice copies."""
        return self.root / "npy_slice"

    def slice(self, uid: str, index: int) -> Path:
        """One cached slice, float16 (size, size)."""
        return self.slices / uid / f"{index:04d}.npy"

    @property
    def train_meta_csv(self) -> Path:
        """One row per cached series."""
        return self.root / "train_meta.csv"

    @property
    def slices_csv(self) -> Path:
        """One row per cached slice."""
        return self.root / "slices.csv"

    @property
    def rejected_csv(self) -> Path:
        """One row per series or file that could not be used."""
        return self.root / "rejected.csv"

    @property
    def report(self) -> Path:
        """The data report, one HTML page."""
        return self.root / "report.html"

    @property
    def report_figures(self) -> Path:
        """Every figure in the tables of the data report."""
        return self.root / "report.json"

    @property
    def preprocess_manifest(self) -> Path:
        """What the caches and tables were made from."""
        return self.root / "preprocess.json"

    @property
    def secret_key(self) -> Path:
        """Key of all hashes of patients and studies; it stays in this folder."""
        return self.root / "secret.key"

    @property
    def fingerprints(self) -> Path:
        """Cache of file digests keyed by size and modification time; safe to delete."""
        return self.root / "fingerprints.json"

    @property
    def ranks(self) -> Path:
        """Messages between the processes of one preprocess_data.py run; gone when it has ended."""
        return self.root / "ranks"

    def folds_csv(self, folds: int) -> Path:
        """Fold of every series."""
        return self.root / f"train_{folds}_folds.csv"

    def spots_csv(self, folds: int) -> Path:
        """Spots of stage 1 with their folds."""
        return self.root / f"train_stage1_{folds}_folds.csv"

    @property
    def findings_csv(self) -> Path:
        """Every labelled finding that could be placed: slice, pixels, mm, size."""
        return self.root / "findings.csv"

    @property
    def folds_manifest(self) -> Path:
        """Every split made so far: count, seed, hash, file names."""
        return self.root / "folds.json"

    def lock(self, script: str) -> Path:
        """Tells that a script works on what it makes here; see `processes.locks`."""
        return self.root / f".{script}{LOCK_SUFFIX}"

    @property
    def records(self) -> Path:
        """Folder of run records and logs of the data stages."""
        return self.root / "runs"


@dataclass(frozen=True)
class FoldPaths:
    """Paths under `model/<run>/fold-<k>/`, `model/<run>/final/` or `model/<run>/all/`."""

    model_dir: Path
    run: str
    fold: int | str

    @property
    def root(self) -> Path:
        """Folder of this fold's model."""
        name = f"fold-{self.fold}" if str(self.fold).isdigit() else str(self.fold)
        return self.model_dir / self.run / name

    def weights(self, stage: str) -> Path:
        """EMA weights of `stage1` or `stage2`, safetensors."""
        return self.root / f"{stage}.safetensors"

    def manifest(self, stage: str) -> Path:
        """Sidecar of the weights: everything needed to load them and to judge their age."""
        return self.root / f"{stage}.json"

    @property
    def membership(self) -> Path:
        """What both stages know of their training series; see `intracranial.membership`."""
        return self.root / "membership.json"

    def checkpoint(self, stage: str) -> Path:
        """State to resume training from."""
        return self.root / f"{stage}_last.pt"

    def log_csv(self, stage: str) -> Path:
        """One row per epoch."""
        return self.root / f"{stage}_log.csv"

    def curves(self, stage: str) -> Path:
        """The log as a picture."""
        return self.root / f"{stage}_curves.png"

    def batches(self, stage: str) -> Path:
        """Contact sheet of the first training batches."""
        return self.root / f"{stage}_batches.png"

    def not_finite(self, stage: str) -> Path:
        """Members of the batch whose loss or gradient was not finite."""
        return self.root / f"{stage}_not_finite.json"

    def tensorboard(self, stage: str) -> Path:
        """Folder of TensorBoard event files."""
        return self.root / "tensorboard" / stage

    def metrics(self, stage: str) -> Path:
        """Score table of `stage1`, `stage2` or `end_to_end`."""
        return self.root / f"{stage}_metrics.json"

    def predictions(self, stage: str) -> Path:
        """Probabilities per spot (`stage1`) or per series."""
        return self.root / f"{stage}_predictions.csv"

    @property
    def ranks(self) -> Path:
        """Messages of processes that share the series of this fold, or of `all`, while they do."""
        return self.root / "ranks"

    @property
    def features(self) -> Path:
        """Folder of stage-1 features, one file per series."""
        return self.root / "features"

    def feature(self, uid: str) -> Path:
        """Stage-1 output for every slice of one series."""
        return self.features / f"{uid}.safetensors"

    @property
    def features_manifest(self) -> Path:
        """What the features were made from."""
        return self.root / "features.json"

    @property
    def hard_negatives(self) -> Path:
        """Slices of this fold's held-out series that stage 1 takes for a finding."""
        return self.root / "hard_negatives.csv"

    @property
    def report(self) -> Path:
        """The self-contained report page."""
        return self.root / "report.html"

    def lock(self, kind: str) -> Path:
        """Tells that a command makes a kind of artifact here; see `processes.locks`."""
        return self.root / f".{kind}{LOCK_SUFFIX}"

    @property
    def records(self) -> Path:
        """Folder of run records and logs."""
        return self.root / "runs"


@dataclass(frozen=True)
class ScoredFolderPaths:
    """Results of eval_end_to_end.py for a folder of series, under its --out_dir."""

    root: Path

    @property
    def metrics(self) -> Path:
        """Score table."""
        return self.root / "end_to_end_metrics.json"

    @property
    def predictions(self) -> Path:
        """Probabilities per series."""
        return self.root / "end_to_end_predictions.csv"

    @property
    def points(self) -> Path:
        """Where: points of each series, in pixels and mm."""
        return self.root / "end_to_end_points.csv"

    @property
    def views(self) -> Path:
        """Probabilities per series, view and step, and the maximum of stage 1."""
        return self.root / "end_to_end_views.csv"

    @property
    def report(self) -> Path:
        """The self-contained report page."""
        return self.root / "report.html"

    @property
    def lock(self) -> Path:
        """Tells that a command scores here; see `processes.locks`."""
        return self.root / f".end_to_end{LOCK_SUFFIX}"

    @property
    def fingerprints(self) -> Path:
        """Cache of the digests of the scored series; safe to delete."""
        return self.root / "fingerprints.json"


def require_fold(paths: FoldPaths) -> None:
    """Refuse a fold that the run does not have; for runs whose split is not at hand.

    Raises:
        MissingArtifact: there is no such run.
        UsageError: the run has no such fold.
    """
    run = paths.root.parent
    if not run.is_dir():
        raise MissingArtifact(f"{run} is not a folder: give the folder of a run, model/<run>")
    if not paths.root.is_dir():
        folders = (*run.glob("fold-*"), *run.glob(FINAL_FOLD))
        there = sorted(path.name.removeprefix("fold-") for path in folders)
        raise UsageError(f"fold {paths.fold}: run {run} has {_folds_in_words(there)}")


def _folds_in_words(names: Sequence[str]) -> str:
    return f"folds {', '.join(names)}" if names else "no trained folds"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            if error.errno is None:  # numpy: "80 requested and 16 written"
                raise OSError(errno.EIO, f"not written whole, {error}", str(path)) from None
            error.filename = str(path)  # a full disk does not say which file it was
        raise


@contextlib.contextmanager
def atomic_open(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """An open file that becomes `path` when the block ends without an error."""
    # names of files that are no text in the machine's encoding become codes, so that it is UTF-8
    encoding, newline, errors = (None,) * 3 if "b" in mode else ("utf-8", "", "backslashreplace")
    with (
        atomic_path(path) as temporary,
        open(temporary, mode, encoding=encoding, newline=newline, errors=errors) as file,
    ):
        yield file


def remove_temporaries(folder: Path, prefix: str = "") -> None:
    """Delete what killed runs left behind in `folder` (not below it), of names with a prefix."""
    if folder.is_dir():
        for leftover in folder.glob(f".{prefix}*{TEMPORARY_SUFFIX}"):
            leftover.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with sorted keys, so that equal content gives equal bytes."""
    with atomic_open(path) as file:
        json.dump(content, file, indent=1, sort_keys=True, allow_nan=False)
        file.write("\n")


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        MissingArtifact: the file is not there; the message names the script `made_by`.
        InputError: the file is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingArtifact(f"{path} is missing: run {made_by} first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not valid JSON ({error}): delete it and run {made_by}"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold a JSON object: delete it and run {made_by}")
    return content


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table; floats keep their shortest exact form, missing values are empty."""
    with atomic_open(path) as file:
        writer = csv.DictWriter(file, fieldnames=list(columns), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({column: _cell(row.get(column)) for column in columns})


def _cell(value: Any) -> Any:  # noqa: ANN401
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, np.generic):
        return value.item()
    return value


def save_array(path: Path, array: np.ndarray) -> None:
    """Write one array as npy."""
    with atomic_open(path, "wb") as file:
        np.save(file, array, allow_pickle=False)


class ImageFile:
    """The images of an npy file (n, ...), each read when it is asked for.

    A memory map would do the same, but where a disk fails, or the file is cut while it is read,
    the system kills a process for it; here it is an error.
    """

    def __init__(self, path: Path, made_by: str) -> None:
        """Open it.

        Raises:
            MissingArtifact: it is not there; the message names the script `made_by`.
            InputError: it is no npy file, or cut short.
        """
        self._path, self._made_by = path, made_by
        try:
            self._file = open(path, "rb", buffering=0)
        except FileNotFoundError:
            raise MissingArtifact(f"{path} is missing: run {made_by} first") from None
        weakref.finalize(self, self._file.close)
        try:
            with _named(path):
                version = np.lib.format.read_magic(self._file)
                header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                self.shape, by_columns, self.dtype = header(self._file)
        except (ValueError, AttributeError) as error:
            raise self._damaged(str(error)) from None
        if by_columns or self.dtype.hasobject or not self.shape:
            raise self._damaged(f"{self.dtype} {self.shape} in another order of bytes")
        self._start = self._file.tell()
        self._bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        expected = self._start + len(self) * self._bytes
        found = os.fstat(self._file.fileno()).st_size
        if found < expected:
            raise self._damaged(f"{found} bytes in place of {expected}")

    def __len__(self) -> int:
        """Number of images."""
        return int(self.shape[0])

    def __getitem__(self, index: int) -> np.ndarray:
        """One image.

        Raises:
            IndexError: it has not so many.
            InputError: the file was cut.
            OSError: it cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self._path}: image {index} of {len(self)}")
        content = bytearray(self._bytes)
        rest = memoryview(content)
        with _named(self._path):
            self._file.seek(self._start + index * self._bytes)
            while rest:
                count = self._file.readinto(rest)
                if not count:
                    raise self._damaged(f"it ends in image {index} of {len(self)}")
                rest = rest[count:]
        return np.frombuffer(content, self.dtype).reshape(self.shape[1:])

    def _damaged(self, words: str) -> InputError:
        return InputError(
            f"{self._path} is not a readable npy file ({words}): delete it and run {self._made_by}"
        )


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of reading name the file: those of an open one do not."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def load_array(path: Path, made_by: str) -> np.ndarray:
    """Read one npy array; errors as `ImageFile`."""
    try:
        with _named(path):
            return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise MissingArtifact(f"{path} is missing: run {made_by} first") from None
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path} is not a readable npy file ({error}): delete it and run {made_by}"
        ) from None


def free_gib(path: Path) -> float:
    """Free space in GiB where `path` lies or will lie."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free / 2**30
