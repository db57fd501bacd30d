"""Open the artifacts of earlier stages, checking that each still belongs to its inputs."""

from collections.abc import Mapping
from typing import Any

from src.artifacts import DataPaths, FoldPaths
from src.errors import InputError
from src.provenance import MADE_BY, read_manifest, require_made_from
from src.runlog import log
from src.task import Task

NEEDED = {
    "stage1": ("preprocessing", "model", "input", "steps"),
    "stage2": ("model", "sequence", "precision"),
}
"""What a sidecar of weights must tell those who load them."""


def data_identities(data: DataPaths, split_identity: str) -> dict[str, str]:
    """Identities of the caches and the split, as they are on disk now."""
    preprocess = read_manifest(data.preprocess_manifest, "preprocess")
    return {"preprocess": preprocess["identity"], "folds": split_identity}


def open_stage(
    paths: FoldPaths, kind: str, current: Mapping[str, str], task: Task
) -> dict[str, Any]:
    """Manifest of `stage1`, `features` or `stage2` of one fold.

    Args:
        paths: the fold's paths.
        kind: which artifact.
        current: identities of its possible inputs as they are now; empty outside of training data.
        task: the task that the caller expects.

    Raises:
        MissingArtifact: the stage was not run.
        StaleArtifact: an input has been rebuilt since.
        InputError: it is not finished, lacks what its readers need, or was made for another task.
    """
    path = paths.features_manifest if kind == "features" else paths.manifest(kind)
    manifest = read_manifest(path, kind)
    require_made_from(path, manifest, current)
    for key in NEEDED.get(kind, ()):
        if key not in manifest:
            raise InputError(
                f"{path} lacks {key!r}, without which the weights cannot be used: copy the file "
                f"again, or run {MADE_BY[kind]} --overwrite"
            )
    labels = manifest.get("task", {}).get("labels")
    if labels is not None and list(labels) != list(task.labels):
        raise InputError(
            f"{path} predicts other labels ({len(labels)}, first {labels[:1]}) than this task "
            f"({len(task.labels)}, first {task.labels[0]!r}); train it with {MADE_BY[kind]}"
        )
    if manifest.get("partial"):
        log.warning("%s is partial (%s): figures from it are a trial", path, manifest["partial"])
    return manifest
