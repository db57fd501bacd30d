"""The series that a fold's weights and features are of: a run names them in one file at most."""

from collections.abc import Collection, Mapping
from typing import Any

from intracranial.artifacts import FoldPaths
from intracranial.membership import read_part, trained_on
from intracranial.runlog import log
from intracranial.sidecar import part
from intracranial.splits.folds import Split
from intracranial.stages.slice_training import inner_split


def extracted_series(split: Split, features: Mapping[str, Any]) -> list[str]:
    """The series that have features, sorted: the first ones of the split.

    Args:
        split: the one that the features were made from.
        features: their manifest, which says how many there are.
    """
    return sorted(split.series.index)[: features["series"]]


def training_series(
    paths: FoldPaths,
    stage: str,
    manifest: Mapping[str, Any],
    split: Split,
    among: Collection[str] | None = None,
) -> list[str]:
    """The series that weights were trained on: as `membership.json` says, else as the split does.

    None, with a warning, where the split tells others than the weights were trained on.

    Args:
        paths: the fold's paths.
        stage: `stage1` or `stage2`.
        manifest: of the weights.
        split: the one that they were trained in.
        among: series that the stage could be trained on; None for all of the split.

    Raises:
        InputError: `membership.json` is damaged or belongs to other weights.
    """
    known = read_part(paths, stage, manifest)
    if known is not None:
        return list(known.training.series)
    sidecar = paths.manifest(stage)
    uids = split.training(paths.fold)
    uids = [uid for uid in uids if among is None or uid in among]
    uids = uids[: part(sidecar, manifest, "config", dict).get("limit")]
    if manifest["select"] == "inner":
        uids, _ = inner_split(split, uids, part(sidecar, manifest, "seed", int))
    if trained_on(uids) == manifest["trained_on"]:
        return uids
    log.warning(
        "%s is not there, and the split tells other series than %s was trained on: there are no "
        "figures of the training series",
        *(paths.membership, paths.weights(stage)),
    )
    return []
