"""Open the artifacts of earlier stages, checking that each still belongs to its inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intracranial.artifacts import FINAL_FOLD, DataPaths, FoldPaths
from intracranial.errors import InputError, MissingArtifact, UsageError
from intracranial.provenance import MADE_BY, read_manifest, require_made_from
from intracranial.runlog import log
from intracranial.sidecar import damaged, part
from intracranial.tasks import Task, task_from


@dataclass(frozen=True)
class SplitName:
    """Which division into how many folds weights were trained in."""

    folds: int
    hash: str


@dataclass(frozen=True)
class TrainedOn:
    """How many series weights were trained on, and a digest of them all."""

    series: int
    digest: str


OF_EVERY_STAGE: dict[str, Any] = {"identity": str, "inputs": dict, "partial": str | None}

NEEDED: dict[str, dict[str, Any]] = {
    "stage1": {
        **OF_EVERY_STAGE,
        "task": dict,
        "preprocessing": dict,
        "model": dict,
        "input": dict,
        "steps": tuple[int, ...],
        "weights_licence": str,
        "select": str,
    },
    "features": {**OF_EVERY_STAGE, "series": int},
    "stage2": {
        **OF_EVERY_STAGE,
        "task": dict,
        "model": dict,
        "sequence": dict,
        "precision": str,
        "select": str,
    },
}
"""What an artifact's manifest must tell its readers, as `sidecar.part` takes it. What is in a part
is checked where something is made from it."""

RECORDS: dict[str, dict[str, Any]] = {
    "stage1": {"split": SplitName, "trained_on": TrainedOn},
    "stage2": {"trained_on": TrainedOn},
}
"""What weights must tell of their training to be scored; predictions do without."""


def data_identities(data: DataPaths, split_identity: str) -> dict[str, str]:
    """Identities of the caches and the split, as they are on disk now."""
    path = data.preprocess_manifest
    preprocess = read_manifest(path, "preprocess")
    return {"preprocess": part(path, preprocess, "identity", str), "folds": split_identity}


def open_stage(
    paths: FoldPaths, kind: str, current: Mapping[str, str], task: Task | None = None
) -> dict[str, Any]:
    """Manifest of `stage1`, `features` or `stage2` of one fold.

    Args:
        paths: the fold's paths.
        kind: which artifact.
        current: identities of its possible inputs as they are now; empty outside of training data.
        task: the task that the caller expects; None for any.

    Raises:
        MissingArtifact: the stage was not run.
        StaleArtifact: an input has been rebuilt since.
        InputError: it is not finished, lacks what its readers need, is damaged, or was made for
            another task.
    """
    path = paths.features_manifest if kind == "features" else paths.manifest(kind)
    manifest = read_manifest(path, kind)
    for key, type_of_part in NEEDED[kind].items():
        part(path, manifest, key, type_of_part)
    require_made_from(path, manifest, current)
    recorded = manifest.get("task")
    labels = recorded.get("labels") if isinstance(recorded, dict) else None
    if task is not None and isinstance(labels, list) and labels != list(task.labels):
        raise InputError(
            f"{path} predicts other labels ({len(labels)}, first {labels[:1]}) than this task "
            f"({len(task.labels)}, first {task.labels[0]!r}); train it with {MADE_BY[kind]}"
        )
    if manifest.get("partial"):
        log.warning("%s is partial (%s): figures from it are a trial", path, manifest["partial"])
    return manifest


def require_record(paths: FoldPaths, kind: str, manifest: Mapping[str, Any]) -> None:
    """Check that weights tell of their training what scoring asks for, before they are scored.

    Args:
        paths: the fold's paths.
        kind: `stage1` or `stage2`.
        manifest: its content.

    Raises:
        InputError: the manifest does not tell, or is damaged.
    """
    for key, type_of_part in RECORDS[kind].items():
        part(paths.manifest(kind), manifest, key, type_of_part)


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


@dataclass(frozen=True)
class TrainedFold:
    """Both trained stages of one fold: whatever opens them takes this.

    Attributes:
        paths: of the fold.
        task: that both stages were trained for.
        stage1: sidecar of the slice classifier, see `NEEDED`.
        stage2: sidecar of the sequence classifier.
    """

    paths: FoldPaths
    task: Task
    stage1: dict[str, Any]
    stage2: dict[str, Any]

    @property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """The sidecars by the names of the stages."""
        return {"stage1": self.stage1, "stage2": self.stage2}


def open_fold(paths: FoldPaths, current: Mapping[str, str] | None = None) -> TrainedFold:
    """Open both stages of one fold; the run's folder alone is enough.

    Args:
        paths: the fold's paths.
        current: identities of what they may have been made from as they are now, where the training
            data are at hand.

    Raises:
        MissingArtifact, UsageError: as `require_fold`.
        MissingArtifact, StaleArtifact, InputError: as `open_stage` and `task_of`; or the stages are
            of different tasks.
    """
    require_fold(paths)
    inputs = dict(current or {})
    stage1 = open_stage(paths, "stage1", inputs)
    stage2 = open_stage(paths, "stage2", {**inputs, "stage1": stage1["identity"]})
    task, other = (
        task_of(paths.manifest(kind), manifest)
        for kind, manifest in (("stage1", stage1), ("stage2", stage2))
    )
    if task != other:
        raise InputError(
            f"{paths.root}: stage 1 was trained for the task {task.name!r} with {len(task.labels)} "
            f"labels, stage 2 for {other.name!r} with {len(other.labels)}, or they differ in the "
            f"labels: run {MADE_BY['stage2']} --overwrite"
        )
    return TrainedFold(paths, task, stage1, stage2)


def task_of(path: Path, manifest: Mapping[str, Any]) -> Task:
    """The task that weights were trained for, as their sidecar tells it.

    Args:
        path: of the sidecar, for the message.
        manifest: its content, of `stage1` or `stage2`.

    Raises:
        InputError: the sidecar lacks a part of the task, or the parts do not fit each other.
    """
    recorded = part(path, manifest, "task", dict)
    model = part(path, manifest, "model", dict)
    if "labels" not in model:
        raise damaged(path, "`model` lacks 'labels'")
    try:
        task = task_from(recorded)
    except (ValueError, TypeError) as error:
        raise damaged(path, f"its task is damaged: {error}") from None
    if len(task.labels) != model["labels"]:
        raise damaged(
            path,
            f"its task is damaged: it has {len(task.labels)} labels, the network {model['labels']}",
        )
    return task
