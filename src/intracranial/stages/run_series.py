"""The series that a fold's weights and features are of: a run names them in one file at most."""

from collections.abc import Collection

from intracranial.artifacts import FoldPaths
from intracranial.lineage import FeaturesSidecar, Stage1Sidecar, Stage2Sidecar
from intracranial.membership import read_part, trained_on
from intracranial.runlog import log
from intracranial.splits.folds import Split
from intracranial.stages.slice_training import inner_split


def extracted_series(split: Split, features: FeaturesSidecar) -> list[str]:
    """The series that have features, sorted: the first ones of the split.

    Args:
        split: the one that the features were made from.
        features: their sidecar, which says how many there are.
    """
    return sorted(split.series.index)[: features.series]


def training_series(
    paths: FoldPaths,
    weights: Stage1Sidecar | Stage2Sidecar,
    split: Split,
    among: Collection[str] | None = None,
) -> list[str]:
    """The series that weights were trained on: as `membership.json` says, else as the split does.

    None, with a warning, where the split tells others than the weights were trained on.

    Args:
        paths: the fold's paths.
        weights: their sidecar.
        split: the one that they were trained in.
        among: series that the stage could be trained on; None for all of the split.

    Raises:
        InputError: `membership.json` is damaged or belongs to other weights.
    """
    stage = weights.path.stem
    known = read_part(paths, stage, weights.trained_on)
    if known is not None:
        return list(known.training.series)
    uids = split.training(paths.fold)
    uids = [uid for uid in uids if among is None or uid in among]
    uids = uids[: weights.config.get("limit")]
    if weights.select == "inner" and weights.seed is not None:
        uids, _ = inner_split(split, uids, weights.seed)
    if trained_on(uids) == weights.trained_on:
        return uids
    log.warning(
        "%s is not there, and the split tells other series than %s was trained on: there are no "
        "figures of the training series",
        *(paths.membership, paths.weights(stage)),
    )
    return []
