"""Hard negatives: slices without an aneurysm that a stage-1 model took for one.

They come from hard_negatives.csv of the other folds of a run, or from the public f_dict_hard.pkl
of the original solution (a dict: SeriesInstanceUID -> slice indices).
"""

import io
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from intracranial.artifacts import FINAL_FOLD, FoldPaths
from intracranial.errors import InputError, MissingArtifact, StaleArtifact
from intracranial.splits.folds import Split
from intracranial.tasks import SERIES_COLUMN

COLUMNS = (SERIES_COLUMN, "index", "probability", "split_hash")
"""Columns of hard_negatives.csv."""

_SAFE_GLOBALS = {
    ("builtins", "dict"),
    ("builtins", "list"),
    ("builtins", "set"),
    ("builtins", "tuple"),
    ("collections", "defaultdict"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}
"""All that the original's file needs; anything else in a pickle is refused."""


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        if (module, name) not in _SAFE_GLOBALS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        if name in ("dict", "list", "set", "tuple"):
            return {"dict": dict, "list": list, "set": set, "tuple": tuple}[name]
        return super().find_class(module, name)


def read_original_pickle(path: Path) -> dict[str, np.ndarray]:
    """Read f_dict_hard.pkl without running anything from it.

    Returns:
        int64 slice indices by SeriesInstanceUID. They count slices in the original's order by z.

    Raises:
        InputError: the file is missing, holds anything but containers and integer arrays, or is
            not a dict of indices.
    """
    try:
        content = _RestrictedUnpickler(io.BytesIO(path.read_bytes())).load()
    except FileNotFoundError:
        raise InputError(f"--hard_negatives {path}: there is no such run or file") from None
    except Exception as error:  # a hostile or damaged pickle can raise nearly anything
        raise InputError(f"--hard_negatives {path} is refused: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"--hard_negatives {path} is not a dict of slice indices")
    hard = {}
    for uid, indices in content.items():
        items = list(indices) if isinstance(indices, set) else indices
        try:
            array = np.asarray(items)
        except ValueError:  # lists of unequal length inside of the list
            array = np.zeros((0, 0))
        if (
            not isinstance(uid, str)
            or array.ndim != 1
            or (array.size and array.dtype.kind not in "iu")
        ):
            raise InputError(
                f"--hard_negatives {path}: the entry of {uid!r} is no list of integers"
            )
        hard[uid] = array.astype(np.int64)
    return hard


def same_order_as_original(split: Split, uid: str) -> bool:
    """Whether the original's slice order (by z of ImagePositionPatient) is ours.

    Our axial series run from inferior to superior, which is ascending z; in the other planes the
    original's order is not a spatial one.
    """
    row = split.series.loc[uid]
    return row["plane"] == "axial" and bool(row["geometry_known"])


def read_mined(paths: Iterable[FoldPaths], split: Split) -> dict[str, np.ndarray]:
    """Join hard_negatives.csv of several folds.

    Raises:
        MissingArtifact: a fold has none.
        StaleArtifact: one was mined with another split.
    """
    hard: dict[str, np.ndarray] = {}
    for fold in paths:
        path = fold.hard_negatives
        if not path.exists():
            raise MissingArtifact(
                f"{path} is missing: run extract_features.py --mine_hard_negatives --fold "
                f"{fold.fold} of run {fold.run} first"
            )
        table = pd.read_csv(path, dtype={SERIES_COLUMN: str, "split_hash": str})
        other = set(table["split_hash"]) - {split.split_hash}
        if other:
            raise StaleArtifact(
                f"{path} was mined with split {sorted(other)[0]}, but the present split is "
                f"{split.split_hash}: rerun extract_features.py --mine_hard_negatives --overwrite"
            )
        for uid, rows in table.groupby(SERIES_COLUMN):
            hard[str(uid)] = rows["index"].to_numpy(dtype=np.int64)
    return hard


def hard_negatives(
    source: str | None, model_dir: Path, split: Split, fold: int | str, uids: list[str]
) -> dict[str, np.ndarray]:
    """Hard negatives for the training series of one fold.

    Args:
        source: None, a run's name under `model_dir`, or a path ending in .pkl.
        model_dir: folder of all runs.
        split: the present split.
        fold: held-out fold; its own series are never used.
        uids: training series.
    """
    if source is None:
        return {}
    if source.endswith(".pkl"):
        found = read_original_pickle(Path(source))
        known = {uid for uid in found if uid in split.series.index}
        found = {uid: found[uid] for uid in known if same_order_as_original(split, uid)}
    else:
        others = [k for k in range(split.folds) if fold == FINAL_FOLD or k != fold]
        found = read_mined((FoldPaths(model_dir, source, k) for k in others), split)
    return {uid: found[uid] for uid in uids if uid in found}
