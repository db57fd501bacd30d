"""Stage-2 samples: the stage-1 output of a series as one sequence with its targets.

Training and evaluation thin long series in the same way; nothing is cut off. As in stage 1 all
randomness is keyed by (seed, epoch, series).
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from intracranial.options.stage2 import PARTS, SequenceAugmentation
from intracranial.sampling.features import FeatureSet, load_features
from intracranial.sampling.sample_errors import blame
from intracranial.sampling.series_info import SeriesInfo
from intracranial.tasks import Task


@dataclass(frozen=True)
class SequenceSpec:
    """What of the stage-1 output stage 2 sees.

    `parts` of features, logits and peaks; `limit` slices per series at most; `sigma_mm` of the
    per-slice targets.
    """

    parts: tuple[str, ...]
    limit: int
    sigma_mm: float

    def __post_init__(self) -> None:
        """Check that stage 2 sees something.

        Raises:
            ValueError: an unknown part or none, or no slice.
        """
        if not self.parts or not set(self.parts) <= set(PARTS):
            raise ValueError(f"parts {self.parts}: some of {', '.join(PARTS)} are expected")
        if self.limit < 1:
            raise ValueError(f"limit {self.limit} is below 1")


def tokens_of(found: FeatureSet, parts: Sequence[str]) -> np.ndarray:
    """Inputs of every slice: float32 (n, inputs), the chosen parts side by side."""
    arrays = {"features": found.features.astype(np.float32), "logits": found.logits}
    if found.peaks is not None:
        arrays["peaks"] = _logit(found.peaks[..., 2])
    return np.concatenate([arrays[part] for part in parts], axis=1)


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def thinned(n: int, limit: int, offset: float = 0.5) -> np.ndarray:
    """Slice indices that are kept: all, or `limit` of them evenly spread.

    `offset` in [0, 1) moves them within their interval; evaluation uses the middle.
    """
    if n <= limit:
        return np.arange(n)
    return np.minimum(((np.arange(limit) + offset) * n / limit).astype(np.int64), n - 1)


def positions_mm(indices: np.ndarray, n: int, slice_mm: float) -> np.ndarray:
    """Distance of slices from the middle of their series along the slice normal: float32 (k,)."""
    return ((indices - (n - 1) / 2) * slice_mm).astype(np.float32)


class SequenceDataset(Dataset[dict[str, torch.Tensor]]):
    """Sequences by (uid, epoch); without augmentation the first step's plain view.

    An item has `tokens` float32 (k, inputs), `position` float32 (k,), `known` bool (), `targets`
    and `weights` float32 (L,), `slice_targets` and `slice_weights` float32 (k, L).
    """

    def __init__(
        self,
        path_of: Callable[[str], Path],
        infos: dict[str, SeriesInfo],
        task: Task,
        spec: SequenceSpec,
        augmentation: SequenceAugmentation,
        seed: int,
    ) -> None:
        """Keep the specifications; files are read when an item is made.

        Args:
            path_of: feature file of a series.
            infos: series that may be requested.
            task: labels and locations.
            spec: what stage 2 sees.
            augmentation: how training varies it.
            seed: first part of every sample's random key.
        """
        self.path_of, self.infos, self.task = path_of, infos, task
        self.spec, self.augmentation, self.seed = spec, augmentation, seed
        self.mirror_labels = list(task.mirrored()) if task.flips else []
        localized = task.localized_labels
        self.whole = [k for k, name in enumerate(task.labels) if name not in localized]

    def __getitem__(self, request: tuple[str, int]) -> dict[str, torch.Tensor]:
        """One training sequence, drawn with the key of (series, epoch).

        Raises:
            InputError: it cannot be made; the message names series and file.
        """
        uid, epoch = request
        with blame(f"series {uid}, file {self.path_of(uid)}"):
            rng = np.random.default_rng([self.seed, 3, epoch, zlib.crc32(uid.encode())])

            def drawn(keys: list[tuple[int, int]]) -> list[tuple[int, int]]:
                allowed = [key for key in keys if self.augmentation.use_views or key[1] == 0]
                return [allowed[rng.integers(len(allowed))]]

            (found,) = load_features(self.path_of(uid), drawn).values()
            return self._make(self.infos[uid], found, rng)

    def _make(
        self, info: SeriesInfo, found: FeatureSet, rng: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        # A view that reversed a sagittal series has mirrored it, and says so in `mirrored`.
        mirrored, order_reversed = found.mirrored, found.reversed_slices
        tokens = tokens_of(found, self.spec.parts)
        if info.axis is not None and rng.random() < self.augmentation.reverse:
            tokens = tokens[::-1]
            order_reversed = not order_reversed
            mirrored ^= info.axis == "slices"
        kept = thinned(info.n, self.spec.limit, rng.random())
        kept = kept[rng.random(len(kept)) >= self.augmentation.slice_dropout]
        if not len(kept):
            kept = thinned(info.n, self.spec.limit)
        tokens = self._noisy(tokens, rng)[kept]
        targets, weights = np.nan_to_num(info.labels), info.label_weights
        slice_targets = self._slice_targets(info, order_reversed)[kept]
        known = (~np.isnan(info.labels)).astype(np.float32)
        if mirrored:
            targets, known = targets[self.mirror_labels], known[self.mirror_labels]
            slice_targets = slice_targets[:, self.mirror_labels]
            weights = weights[self.mirror_labels]
        return {
            "tokens": torch.from_numpy(np.ascontiguousarray(tokens)),
            "position": torch.from_numpy(positions_mm(kept, info.n, info.slice_mm)),
            "known": torch.tensor(info.spacing_known),
            "targets": torch.from_numpy(targets.copy()),
            "weights": torch.from_numpy(known.copy()),
            "slice_targets": torch.from_numpy(np.ascontiguousarray(slice_targets)),
            "slice_weights": torch.from_numpy(np.repeat(weights[None], len(kept), axis=0)),
        }

    def _noisy(self, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spec = self.augmentation
        if spec.noise:
            noise = rng.standard_normal(tokens.shape, dtype=np.float32)
            tokens = tokens + spec.noise * tokens.std(axis=0) * noise
        if spec.input_dropout:
            drawn = rng.random(tokens.shape[1], dtype=np.float32)
            tokens = tokens * (drawn >= spec.input_dropout)
        return tokens

    def _slice_targets(self, info: SeriesInfo, order_reversed: bool) -> np.ndarray:
        targets = np.zeros((info.n, len(self.task.labels)), dtype=np.float32)
        positions = np.arange(info.n)
        for index, location in zip(info.indices, info.locations, strict=True):
            centre = info.n - 1 - index if order_reversed else index
            distance = (positions - centre) * info.slice_mm / self.spec.sigma_mm
            peak = np.exp(-0.5 * distance**2).astype(np.float32)
            name = self.task.locations[location] if location >= 0 else None
            for label in (name, self.task.overall):
                if label is not None:
                    column = self.task.labels.index(label)
                    targets[:, column] = np.maximum(targets[:, column], peak)
        targets[:, self.whole] = np.nan_to_num(info.labels[self.whole])
        return targets


def collate(items: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Pad sequences to the longest one; `mask` bool (B, n) marks slices."""
    longest = max(len(item["tokens"]) for item in items)
    batch = {
        name: torch.stack([item[name] for item in items])
        for name in ("known", "targets", "weights")
    }
    for name in ("tokens", "position", "slice_targets", "slice_weights"):
        first = items[0][name]
        padded = first.new_zeros(len(items), longest, *first.shape[1:])
        for row, item in enumerate(items):
            padded[row, : len(item[name])] = item[name]
        batch[name] = padded
    lengths = torch.tensor([len(item["tokens"]) for item in items])
    batch["mask"] = torch.arange(longest) < lengths[:, None]
    return batch


def bucketed(
    infos: dict[str, SeriesInfo], batch_size: int, bucket: int, epoch: int, seed: int
) -> list[list[tuple[str, int]]]:
    """Requests of one epoch in batches of series of similar length, keyed by (seed, epoch).

    Args:
        infos: the series.
        batch_size: series per batch.
        bucket: batches whose series are drawn together and sorted by length.
        epoch: number of the epoch.
        seed: first part of the key.
    """
    rng = np.random.default_rng([seed, 4, epoch])
    uids = np.array(list(infos))[rng.permutation(len(infos))].tolist()
    pool = batch_size * bucket
    batches = []
    for start in range(0, len(uids), pool):
        members = sorted(uids[start : start + pool], key=lambda uid: infos[uid].n)
        batches += [members[i : i + batch_size] for i in range(0, len(members), batch_size)]
    return [[(uid, epoch) for uid in batches[i]] for i in rng.permutation(len(batches))]
