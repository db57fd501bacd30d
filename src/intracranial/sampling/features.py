"""Feature files: stage-1 output of one series, as written by extract_features.py.

One safetensors file per series holds, for each step (and each augmented view), `features`
float16 (n, C), `logits` float32 (n, L) and, where stage 1 has heat maps, `peaks` float32 (n, L, 3);
views also hold `flags`, uint8 (mirrored, reversed).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from intracranial.artifacts import atomic_open
from intracranial.errors import InputError, MissingArtifact
from intracranial.provenance import MADE_BY

ARRAYS = ("features", "logits", "peaks")


@dataclass(frozen=True)
class FeatureSet:
    """Stage-1 output of one series at one step.

    Attributes:
        features: float16 (n, C).
        logits: float32 (n, L).
        peaks: float32 (n, L, 3), for each label x and y of the heat map's maximum in cache pixels,
            and its probability; None where stage 1 has no heat maps.
        mirrored: of an augmented view, whether left and right are exchanged.
        reversed_slices: of an augmented view, whether slices are in the other order.
    """

    features: np.ndarray
    logits: np.ndarray
    peaks: np.ndarray | None
    mirrored: bool = False
    reversed_slices: bool = False


def _name(step: int, view: int) -> str:
    return f"view{view}.step{step}" if view else f"step{step}"


def save_features(path: Path, sets: dict[tuple[int, int], FeatureSet], identity: str) -> None:
    """Write one series; keys are (step, view), view 0 being the plain one."""
    tensors: dict[str, np.ndarray] = {}
    for (step, view), found in sets.items():
        for name in ARRAYS:
            array = getattr(found, name)
            if array is not None:
                tensors[f"{_name(step, view)}.{name}"] = np.ascontiguousarray(array)
        if view:
            flags = np.array([found.mirrored, found.reversed_slices], dtype=np.uint8)
            tensors[f"{_name(step, view)}.flags"] = flags
    with atomic_open(path, "wb") as file:
        # one metadata key only: the library does not keep the order of several
        file.write(save(tensors, metadata={"identity": identity}))


def features_identity(path: Path) -> str | None:
    """Identity that a feature file carries, or None when there is no readable file."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            return (file.metadata() or {}).get("identity")
    except (FileNotFoundError, SafetensorError):
        return None


def load_features(
    path: Path, choose: Callable[[list[tuple[int, int]]], list[tuple[int, int]]] = lambda keys: keys
) -> dict[tuple[int, int], FeatureSet]:
    """Read one series.

    Args:
        path: of the file.
        choose: which of its (step, view) to read; all of them by default.

    Raises:
        MissingArtifact: the file is not there.
        InputError: it is damaged.
    """
    script = MADE_BY["features"]
    try:
        with safe_open(str(path), framework="numpy") as file:
            names = set(file.keys())
            keys = sorted(_key(name) for name in names if name.endswith(".features"))
            return {key: _read_set(file, names, *key) for key in choose(keys)}
    except FileNotFoundError:
        raise MissingArtifact(f"{path} is missing: run {script} first") from None
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}): delete it and run {script}") from None


def _key(name: str) -> tuple[int, int]:
    """(step, view) of a tensor's name, as `_name` makes it."""
    parts = name.split(".")
    view = int(parts[0].removeprefix("view")) if len(parts) == 3 else 0
    return int(parts[-2].removeprefix("step")), view


def _read_set(file: Any, names: set[str], step: int, view: int) -> FeatureSet:  # noqa: ANN401
    prefix = _name(step, view)
    found: dict[str, Any] = {
        part: file.get_tensor(f"{prefix}.{part}") if f"{prefix}.{part}" in names else None
        for part in ARRAYS
    }
    flags = file.get_tensor(f"{prefix}.flags") if f"{prefix}.flags" in names else (0, 0)
    return FeatureSet(**found, mirrored=bool(flags[0]), reversed_slices=bool(flags[1]))
