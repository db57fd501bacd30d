"""Manifests: what an artifact was made from, whether it still holds, and what to do if not.

Every stage writes a manifest (JSON) beside its output with the options and the identities of its
inputs. One rule for reruns: same options and inputs and complete, nothing to do; same but not
complete, it resumes; changed, `StaleArtifact` with the difference, and `--overwrite` rebuilds.
Downstream stages compare manifests, never pixels.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from intracranial.artifacts import read_json, write_json
from intracranial.errors import InputError, MissingArtifact, StaleArtifact

VERSION = "0.1.0"
"""Of this program; pyproject.toml takes the package's from here."""

MANIFEST_FORMAT = 1
RECORDED_PACKAGES = ("torch", "timm", "numpy", "pydicom", "opencv-python-headless", "scikit-learn")

MADE_BY = {
    "preprocess": "preprocess_data.py",
    "folds": "create_folds.py",
    "stage1": "train_stage1.py",
    "features": "extract_features.py",
    "stage2": "train_stage2.py",
    "membership": "train_stage1.py and train_stage2.py",
    "stage1_metrics": "eval_stage1.py",
    "stage2_metrics": "eval_stage2.py",
    "end_to_end_metrics": "eval_end_to_end.py",
}
"""Script that makes each kind of artifact."""


MANIFEST_KEYS = frozenset(
    {"format", "kind", "identity", "config", "inputs", "partial", "complete", "versions"}
)
"""What every manifest says, see `manifest_of`; its other keys are the stage's own content."""


class Plan(Enum):
    """What a rerun has to do."""

    FRESH = "fresh"
    RESUME = "resume"
    DONE = "done"


def digest(content: Any) -> str:  # noqa: ANN401
    """16 hexadecimal digits of the SHA-256 of `content` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path, missing_hint: str = "") -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        MissingArtifact: the file is not there.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise MissingArtifact(f"{path} is missing. {missing_hint}".strip()) from None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape results."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@dataclass(frozen=True)
class Request:
    """What a stage is about to make: its kind, its options and its inputs' identities.

    `config` holds only options that change the result; `inputs` maps a kind of artifact, or the
    name of a raw file, to its identity. `partial` says in words what was limited, or is None.
    `before` says of options that came later what their absence from `config` means.
    """

    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    partial: str | None = None
    before: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The hash that names this artifact downstream."""
        return digest(
            {
                "format": MANIFEST_FORMAT,
                "kind": self.kind,
                "config": self.config,
                "inputs": self.inputs,
            }
        )


def differences(old: Mapping[str, Any], request: Request) -> list[str]:
    """One line per option or input in which a manifest and a request differ."""
    lines = [
        *changes("option ", old.get("config", {}), request.config, request.before),
        *changes("input ", old.get("inputs", {}), request.inputs),
    ]
    return lines or ["  format of the manifest"]


def changes(
    title: str, old: Mapping[str, Any], new: Mapping[str, Any], absent: Mapping[str, Any] = {}
) -> list[str]:
    """One line per name of which the values differ; `absent` says what a missing one means."""
    before, after = {**absent, **old}, {**absent, **new}
    return [
        f"  {title}{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted({*before, *after})
        if before.get(name, "absent") != after.get(name, "absent")
    ]


def plan(
    path: Path,
    request: Request,
    overwrite: bool,
    outputs: Iterable[Path] = (),
    progress: Iterable[Path] = (),
) -> Plan:
    """Decide what a rerun does with the manifest at `path`.

    Args:
        path: the manifest's.
        request: what the stage is about to make.
        overwrite: rebuild whatever is there.
        outputs: files that belong to the finished artifact; when one was deleted, it resumes.
        progress: files of a run that was interrupted. A run that ended before it made any of
            these or of the outputs (no weights, say) leaves nothing that could be stale.

    Raises:
        StaleArtifact: the manifest was made with other options or inputs and `overwrite` is off.
    """
    old = read_json(path, MADE_BY[request.kind]) if path.exists() else None
    outputs = list(outputs)
    if old and not old.get("complete") and not any(p.exists() for p in (*outputs, *progress)):
        old = None
    found = decide(path, old, request, overwrite)
    if found is Plan.DONE and not all(output.exists() for output in outputs):
        return Plan.RESUME
    return found


def decide(path: Path, old: Mapping[str, Any] | None, request: Request, overwrite: bool) -> Plan:
    """`plan` for a manifest that is already read, or is None because there is none."""
    if overwrite or old is None:
        return Plan.FRESH
    script = MADE_BY[request.kind]
    if old.get("identity") != request.identity:
        raise StaleArtifact(
            f"{path} was made with other options or inputs:\n"
            + "\n".join(differences(old, request))
            + f"\nGive the old ones, choose another --run, or rebuild it with: {script} --overwrite"
        )
    return Plan.DONE if old.get("complete") else Plan.RESUME


def write_manifest(
    path: Path, request: Request, complete: bool, content: Mapping[str, Any] | None = None
) -> None:
    """Write the manifest of `request`; `content` is what the stage adds for its readers."""
    write_json(path, manifest_of(request, complete, content))


def manifest_of(
    request: Request, complete: bool, content: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The manifest of `request` as a JSON-ready mapping."""
    return {
        **(content or {}),
        "format": MANIFEST_FORMAT,
        "kind": request.kind,
        "identity": request.identity,
        "config": dict(request.config),
        "inputs": dict(request.inputs),
        "partial": request.partial,
        "complete": complete,
        "versions": versions(),
    }


def read_manifest(path: Path, kind: str) -> dict[str, Any]:
    """Read a finished manifest.

    Raises:
        MissingArtifact: it is not there.
        InputError: it is of another kind, or its stage has not finished.
    """
    return check_manifest(path, read_json(path, MADE_BY[kind]), kind)


def check_manifest(path: Path, manifest: dict[str, Any], kind: str) -> dict[str, Any]:
    """The manifest itself, if it is a finished one of this kind; errors as `read_manifest`."""
    script = MADE_BY[kind]
    if manifest.get("kind") != kind or manifest.get("format") != MANIFEST_FORMAT:
        raise InputError(f"{path} is not a {kind} manifest: run {script} --overwrite")
    if not manifest.get("complete"):
        raise InputError(f"{path}: its stage has not finished; run {script} again, it resumes")
    return manifest


def require_made_from(path: Path, manifest: Mapping[str, Any], current: Mapping[str, str]) -> None:
    """Check that an artifact was made from what its inputs are now.

    Args:
        path: the manifest's path, for the message.
        manifest: the manifest of the artifact.
        current: identity of each kind of input as it is on disk now.

    Raises:
        StaleArtifact: an input has been rebuilt since; the message names the script to rerun.
    """
    recorded = manifest.get("inputs", {})
    for kind, identity in current.items():
        if kind in recorded and recorded[kind] != identity:
            script = MADE_BY[manifest["kind"]]
            raise StaleArtifact(
                f"{path} is stale: it was made from {kind} {recorded[kind]}, but {kind} is now "
                f"{identity}. Rerun {script} with --overwrite."
            )
