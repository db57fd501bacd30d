"""Stage-1 output of cached series with their augmented views, and the hard negatives in it."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from intracranial.artifacts import DataPaths, FoldPaths, ImageFile, write_csv
from intracranial.inference.encoder import Encoder, PreparedSlices
from intracranial.options.stage1 import StackAugmentation
from intracranial.provenance import MADE_BY
from intracranial.sampling.augment import augment
from intracranial.sampling.features import FeatureSet, load_features
from intracranial.sampling.series_info import SeriesInfo, series_infos
from intracranial.splits.folds import Split
from intracranial.splits.hard_negatives import COLUMNS as HARD_NEGATIVE_COLUMNS
from intracranial.splits.spots import eligible_negatives
from intracranial.tasks import Task


@dataclass(frozen=True)
class PreparedView:
    """One view of a series, ready for the encoder; view 0 is the plain one."""

    view: int
    slices: PreparedSlices
    mirrored: bool = False
    reversed_slices: bool = False


def prepare_views(
    encoder: Encoder,
    data: DataPaths,
    info: SeriesInfo,
    views: int,
    augmentation: StackAugmentation,
    seed: int,
) -> list[PreparedView]:
    """Read one cached series and make its views; this needs no device.

    Args:
        encoder: stage 1.
        data: where the caches lie.
        info: the series.
        views: augmented views beside the plain one.
        augmentation: of the views, stage 1's own.
        seed: keys the views.

    Raises:
        MissingArtifact, InputError: the cache is gone or damaged.
    """
    volume = ImageFile(data.sequence(info.uid), MADE_BY["preprocess"])
    region = encoder.inputs.region(info.size)
    found = [PreparedView(0, encoder.prepare(volume, region))]
    for view in range(1, views + 1):
        flags: list[tuple[bool, bool]] = []
        transform = _view(info, augmentation, [seed, 5, view, zlib.crc32(info.uid.encode())], flags)
        found.append(PreparedView(view, encoder.prepare(volume, region, transform), *flags[0]))
    return found


def encode_sets(encoder: Encoder, views: list[PreparedView]) -> dict[tuple[int, int], FeatureSet]:
    """Stage-1 output of a series by (step, view)."""
    return {
        (step, one.view): replace(found, mirrored=one.mirrored, reversed_slices=one.reversed_slices)
        for one in views
        for step, found in encoder.encode_prepared(one.slices).items()
    }


def _view(
    info: SeriesInfo, spec: StackAugmentation, random_key: list[int], flags: list[tuple[bool, bool]]
) -> Callable[[np.ndarray], np.ndarray]:
    def transform(slices: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(random_key)
        changed = augment(slices, np.zeros((0, 2)), info.axis, spec, rng)
        flags.append((changed.mirrored, changed.reversed_slices))
        return changed.stack

    return transform


def mine_hard_negatives(
    paths: FoldPaths, split: Split, fold: int, task: Task, threshold: float
) -> int:
    """Write hard_negatives.csv of one fold from its features; returns the number of slices.

    Series without features (a limited extraction) are left out. Slices near a localizer do not
    count, nor does a series with a positive location that has no localizer, or with any positive
    label where none has a place, since any of its slices may show that finding.
    """
    rows = []
    for uid, info in series_infos(split, split.held_out(fold), task).items():
        anywhere = not task.locations and bool(task.has_finding(info.labels))
        if anywhere or not info.localized or not paths.feature(uid).exists():
            continue
        for index, probability in _mined_slices(
            info, load_features(paths.feature(uid)), task, threshold
        ):
            row = (uid, index, round(probability, 6), split.split_hash)
            rows.append(dict(zip(HARD_NEGATIVE_COLUMNS, row, strict=True)))
    write_csv(paths.hard_negatives, HARD_NEGATIVE_COLUMNS, rows)
    return len(rows)


def _mined_slices(
    info: SeriesInfo, sets: dict[tuple[int, int], FeatureSet], task: Task, threshold: float
) -> list[tuple[int, float]]:
    logits = [task.summary(found.logits) for (_, view), found in sets.items() if view == 0]
    probability = np.mean([1 / (1 + np.exp(-x.astype(np.float64))) for x in logits], axis=0)
    return [
        (int(index), float(probability[index]))
        for index in eligible_negatives(info.n, info.indices)
        if probability[index] >= threshold
    ]
