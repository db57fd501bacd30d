"""Open the artifacts of earlier stages: their sidecars as types, each checked against its inputs.

What a stage tells its readers is one dataclass (`Stage1Record`, ...), which the stage fills in and
writes; what a reader gets (`Stage1Sidecar`, ...) has beside it what the artifact was made from.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from intracranial.artifacts import DataPaths, FoldPaths, require_fold
from intracranial.caching.manifest import open_preprocess
from intracranial.errors import InputError
from intracranial.imaging.pixels import Pixels
from intracranial.membership import TrainedOn
from intracranial.models.sequence_classifier import SequenceClassifierConfig
from intracranial.models.slice_classifier import SliceClassifierConfig
from intracranial.options.common import identity
from intracranial.provenance import MADE_BY, read_manifest, require_made_from
from intracranial.runlog import log
from intracranial.sampling.sequences import SequenceSpec
from intracranial.sampling.stacks import StackSpec
from intracranial.sidecar import Made, read_made
from intracranial.tasks import Task


@dataclass(frozen=True)
class SplitName:
    """Which division into how many folds weights were trained in."""

    folds: int
    hash: str


@dataclass(frozen=True)
class LabelCounts:
    """How many series weights were trained on, and how many of them have each label."""

    series: int
    positives: dict[str, int]

    def __post_init__(self) -> None:
        """Check that a share can be made.

        Raises:
            ValueError: there are no series.
        """
        if self.series < 1:
            raise ValueError("counts of one series or more are expected")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What both trainings tell: for what, on what, and what selected the weights.

    Scoring asks for `split` and `trained_on` (see `require_record`); predicting does without.
    """

    task: Task
    select: str
    seed: int | None = None
    fold: int | str | None = None
    split: SplitName | None = None
    trained_on: TrainedOn | None = None


@dataclass(frozen=True, kw_only=True)
class Stage1Record(Trained):
    """What the readers of stage 1 need beside its weights.

    Attributes:
        model: the network.
        input: how cached slices become its input.
        steps: distances in slices between the channels of a stack that it was trained with.
        preprocessing: how the series were read and cached.
        weights_licence: of the initial weights, in words.
    """

    model: SliceClassifierConfig
    input: StackSpec
    steps: tuple[int, ...]
    preprocessing: Pixels
    weights_licence: str

    def __post_init__(self) -> None:
        """Check that the parts fit each other.

        Raises:
            ValueError: they do not.
        """
        _check_labels(self.task, self.model.labels)
        if not self.steps or min(self.steps) < 1:
            raise ValueError(
                f"`steps` is {list(self.steps)}, not distances of 1 slice or more",
            )
        if self.model.input_size != self.input.input_size:
            raise ValueError(
                f"`input.input_size` is {self.input.input_size} and `model.input_size` "
                f"{self.model.input_size}",
            )
        if self.model.channels != self.input.channels:
            raise ValueError(
                f"`input` describes stacks of {self.input.channels} channels and "
                f"`model.channels` is {self.model.channels}"
            )

    def to_json(self) -> dict[str, Any]:
        """The same as the manifest holds it."""
        return {
            "task": self.task.record(),
            "model": identity(self.model),
            "input": identity(self.input),
            "steps": list(self.steps),
            "preprocessing": identity(self.preprocessing),
            "weights_licence": self.weights_licence,
            **_training(self),
        }


@dataclass(frozen=True, kw_only=True)
class Stage1Sidecar(Stage1Record, Made):
    """`stage1.json`."""


@dataclass(frozen=True, kw_only=True)
class FeaturesRecord:
    """What the readers of the features need: of how many series, at which steps, for which task."""

    series: int
    steps: tuple[int, ...]
    task: Task

    def to_json(self) -> dict[str, Any]:
        """The same as the manifest holds it."""
        return {"series": self.series, "steps": list(self.steps), "task": self.task.record()}


@dataclass(frozen=True, kw_only=True)
class FeaturesSidecar(FeaturesRecord, Made):
    """`features.json`."""


@dataclass(frozen=True, kw_only=True)
class Stage2Record(Trained):
    """What the readers of stage 2 need beside its weights.

    Attributes:
        model: the network.
        sequence: how features become its input.
        precision: at which it was trained and is run.
        training_labels: of the series that it was trained on.
    """

    model: SequenceClassifierConfig
    sequence: SequenceSpec
    precision: str
    training_labels: LabelCounts | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit each other.

        Raises:
            ValueError: they do not.
        """
        _check_labels(self.task, self.model.labels)

    def to_json(self) -> dict[str, Any]:
        """The same as the manifest holds it."""
        counted = self.training_labels
        return {
            "task": self.task.record(),
            "model": asdict(self.model),
            "sequence": asdict(self.sequence),
            "precision": self.precision,
            **_training(self),
            **({} if counted is None else {"training_labels": asdict(counted)}),
        }


@dataclass(frozen=True, kw_only=True)
class Stage2Sidecar(Stage2Record, Made):
    """`stage2.json`."""


def _check_labels(task: Task, labels: int) -> None:
    if len(task.labels) != labels:
        raise ValueError(
            f"its task is damaged: it has {len(task.labels)} labels, the network {labels}"
        )


def _training(record: Trained) -> dict[str, Any]:
    """The parts of a record that both trainings write; what is not known is left out."""
    known = {
        "seed": record.seed,
        "fold": record.fold,
        "select": record.select,
        "split": record.split and asdict(record.split),
        "trained_on": record.trained_on and asdict(record.trained_on),
    }
    return {name: value for name, value in known.items() if value is not None}


SidecarT = TypeVar("SidecarT", Stage1Sidecar, FeaturesSidecar, Stage2Sidecar)


def data_identities(data: DataPaths, split_identity: str) -> dict[str, str]:
    """Identities of the caches and the split, as they are on disk now."""
    return {"preprocess": open_preprocess(data).identity, "folds": split_identity}


def open_stage1(
    paths: FoldPaths, current: Mapping[str, str], task: Task | None = None
) -> Stage1Sidecar:
    """Sidecar of a fold's stage 1; arguments and errors as `open_stage2`."""
    return _open(paths.manifest("stage1"), "stage1", Stage1Sidecar, current, task)


def open_features(
    paths: FoldPaths, current: Mapping[str, str], task: Task | None = None
) -> FeaturesSidecar:
    """Manifest of a fold's features; arguments and errors as `open_stage2`."""
    return _open(paths.features_manifest, "features", FeaturesSidecar, current, task)


def open_stage2(
    paths: FoldPaths, current: Mapping[str, str], task: Task | None = None
) -> Stage2Sidecar:
    """Sidecar of a fold's stage 2.

    Args:
        paths: the fold's paths.
        current: identities of its possible inputs as they are now; empty outside of training data.
        task: the task that the caller expects; None for any.

    Raises:
        MissingArtifact: the stage was not run.
        StaleArtifact: an input has been rebuilt since.
        InputError: it is not finished, lacks what its readers need, is damaged, or was made for
            another task.
    """
    return _open(paths.manifest("stage2"), "stage2", Stage2Sidecar, current, task)


def _open(
    path: Path, name: str, kind: type[SidecarT], current: Mapping[str, str], task: Task | None
) -> SidecarT:
    manifest = read_manifest(path, name)
    found = read_made(path, manifest, kind)
    require_made_from(path, manifest, current)
    if task is not None and found.task.labels != task.labels:
        raise InputError(
            f"{path} predicts other labels ({len(found.task.labels)}, first "
            f"{found.task.labels[0]!r}) than this task ({len(task.labels)}, first "
            f"{task.labels[0]!r}); train it with {MADE_BY[name]}"
        )
    if found.partial:
        log.warning("%s is partial (%s): figures from it are a trial", path, found.partial)
    return found


def require_record(sidecar: Stage1Sidecar | Stage2Sidecar) -> None:
    """Check that weights tell of their training what scoring asks for, before they are scored.

    Raises:
        InputError: the sidecar does not tell.
    """
    for name in ("split", "trained_on") if isinstance(sidecar, Stage1Sidecar) else ("trained_on",):
        if getattr(sidecar, name) is None:
            raise InputError(
                f"{sidecar.path} lacks {name!r}, without which it cannot be scored: copy the file "
                f"again, or run {MADE_BY[sidecar.path.stem]} --overwrite"
            )


@dataclass(frozen=True)
class TrainedFold:
    """What is trained of one fold: whatever opens it takes this.

    Attributes:
        paths: of the fold.
        stage1: the slice classifier.
        stage2: the sequence classifier; None where the fold answers by stage 1 alone.
    """

    paths: FoldPaths
    stage1: Stage1Sidecar
    stage2: Stage2Sidecar | None = None

    @property
    def task(self) -> Task:
        """The task that it was trained for."""
        return self.stage1.task

    @property
    def sidecars(self) -> dict[str, Stage1Sidecar | Stage2Sidecar]:
        """The sidecars of the stages that it has, by name."""
        found: dict[str, Stage1Sidecar | Stage2Sidecar] = {"stage1": self.stage1}
        return found if self.stage2 is None else {**found, "stage2": self.stage2}

    @property
    def partial(self) -> str | None:
        """What its last stage was limited to, in words, or None."""
        return list(self.sidecars.values())[-1].partial


def open_fold(
    paths: FoldPaths,
    current: Mapping[str, str] | None = None,
    task: Task | None = None,
    stage1_alone: bool = False,
) -> TrainedFold:
    """Open a trained fold; the run's folder alone is enough.

    Args:
        paths: the fold's paths.
        current: identities of what it may have been made from as they are now, where the training
            data are at hand.
        task: the task that the caller expects; None for any.
        stage1_alone: take stage 1 alone, whether there is a stage 2 or not.

    Raises:
        MissingArtifact, UsageError: as `require_fold`.
        MissingArtifact, StaleArtifact, InputError: as `open_stage2`; or the stages are of different
            tasks.
    """
    require_fold(paths)
    inputs = dict(current or {})
    stage1 = open_stage1(paths, inputs, task)
    if stage1_alone:
        return TrainedFold(paths, stage1)
    stage2 = open_stage2(paths, {**inputs, "stage1": stage1.identity}, task)
    first, other = stage1.task, stage2.task
    if first != other:
        raise InputError(
            f"{paths.root}: stage 1 was trained for the task {first.name!r} with "
            f"{len(first.labels)} labels, stage 2 for {other.name!r} with {len(other.labels)}, or "
            f"they differ in the labels: run {MADE_BY['stage2']} --overwrite"
        )
    return TrainedFold(paths, stage1, stage2)
