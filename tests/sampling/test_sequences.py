"""Stage-2 samples: thinning, the laterality rule, batches and padding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from intracranial.options.stage2 import SequenceAugmentation
from intracranial.sampling.features import FeatureSet, save_features
from intracranial.sampling.sequences import (
    SequenceDataset,
    SequenceSpec,
    bucketed,
    collate,
    positions_mm,
    thinned,
    tokens_of,
)
from intracranial.sampling.series_info import SeriesInfo
from intracranial.tasks import RSNA_2025
from tests.challenge import OVERALL
from tests.sampling.test_slice_samples import series

TASK = RSNA_2025
LEFT_MCA = TASK.labels.index("Left Middle Cerebral Artery")
RIGHT_MCA = TASK.labels.index("Right Middle Cerebral Artery")
BASILAR = TASK.labels.index("Basilar Tip")
STILL = SequenceAugmentation(noise=0.0, input_dropout=0.0, slice_dropout=0.0, reverse=0.0)
SPEC = SequenceSpec(("logits",), 512, 4.0)


def numbered(n: int, mirrored: bool = False, reversed_slices: bool = False) -> FeatureSet:
    """Stage-1 output whose logits are the slice's index."""
    logits = np.repeat(np.arange(n, dtype=np.float32)[:, None], len(TASK.labels), axis=1)
    peaks = np.full((n, len(TASK.labels), 3), 0.5, dtype=np.float32)
    features = np.zeros((n, 4), dtype=np.float16)
    return FeatureSet(features, logits, peaks, mirrored, reversed_slices)


def dataset(
    folder: Path,
    info: SeriesInfo,
    augmentation: SequenceAugmentation = STILL,
    spec: SequenceSpec = SPEC,
    sets: dict[tuple[int, int], FeatureSet] | None = None,
) -> SequenceDataset:
    save_features(folder / info.uid, sets or {(1, 0): numbered(info.n)}, "x")
    return SequenceDataset(folder.joinpath, {info.uid: info}, TASK, spec, augmentation, 0)


def left_mca(axis: str | None = "columns", n: int = 30, index: int = 5) -> SeriesInfo:
    info = series("1.1", n=n, spots=((index, TASK.locations.index(TASK.labels[LEFT_MCA])),))
    plane = "sagittal" if axis == "slices" else "axial"
    return replace(info, axis=axis, plane=plane)


@pytest.mark.parametrize("n", [1, 5, 64, 65, 100, 1000])
@pytest.mark.parametrize("offset", [0.0, 0.5, 0.999])
def test_thinning_covers_the_whole_series_evenly_and_never_repeats(n: int, offset: float):
    kept = thinned(n, 64, offset)
    assert len(kept) == min(n, 64)
    assert len(np.unique(kept)) == len(kept)
    assert kept.min() >= 0 and kept.max() <= n - 1
    gap = n / 64
    assert kept[0] <= gap and n - 1 - kept[-1] <= gap  # both ends are covered
    assert np.diff(kept).max(initial=1) <= np.ceil(gap)


def test_short_series_are_not_thinned():
    assert thinned(64, 64, 0.9).tolist() == list(range(64))


def test_positions_are_millimetres_from_the_middle_of_the_series():
    assert positions_mm(np.arange(5), 5, 2.0).tolist() == [-4, -2, 0, 2, 4]
    assert positions_mm(np.array([0, 3]), 4, 1.0).tolist() == [-1.5, 1.5]


def test_tokens_are_the_chosen_parts_side_by_side_and_finite():
    found = numbered(3)
    found.peaks[..., 2] = np.array([0.0, 0.5, 1.0])[:, None]
    tokens = tokens_of(found, ("features", "logits", "peaks"))
    assert tokens.shape == (3, 4 + 14 + 14) and tokens.dtype == np.float32
    assert np.isfinite(tokens).all()
    assert tokens_of(found, ("peaks",))[1, 0] == 0.0


def test_per_slice_targets_peak_at_the_localizer_for_its_label_and_the_overall_one(tmp_path: Path):
    item = dataset(tmp_path, left_mca())["1.1", 0]
    targets = item["slice_targets"]
    assert targets.shape == (30, 14)
    for label in (LEFT_MCA, OVERALL):
        assert int(targets[:, label].argmax()) == 5 and targets[5, label] == 1
        assert float(targets[7, label]) == pytest.approx(np.exp(-0.5))  # 4 mm = one sigma away
    others = [k for k in range(14) if k not in (LEFT_MCA, OVERALL)]
    assert not targets[:, others].any()
    assert item["slice_weights"].min() == 1
    assert item["targets"][LEFT_MCA] == 1 and item["weights"].min() == 1


def test_reversing_a_sagittal_series_exchanges_sides_and_turns_slice_targets(tmp_path: Path):
    item = dataset(tmp_path, left_mca("slices"), replace(STILL, reverse=1.0))["1.1", 0]
    assert item["tokens"][:, 0].tolist() == list(range(30))[::-1]
    assert item["targets"][RIGHT_MCA] == 1 and item["targets"][LEFT_MCA] == 0
    assert int(item["slice_targets"][:, RIGHT_MCA].argmax()) == 24
    assert not item["slice_targets"][:, LEFT_MCA].any()
    assert int(item["slice_targets"][:, OVERALL].argmax()) == 24


def test_reversing_an_axial_series_exchanges_no_sides(tmp_path: Path):
    item = dataset(tmp_path, left_mca("columns"), replace(STILL, reverse=1.0))["1.1", 0]
    assert item["tokens"][:, 0].tolist() == list(range(30))[::-1]
    assert item["targets"][LEFT_MCA] == 1 and item["targets"][RIGHT_MCA] == 0
    assert int(item["slice_targets"][:, LEFT_MCA].argmax()) == 24


def test_a_series_without_known_sides_is_never_reversed(tmp_path: Path):
    item = dataset(tmp_path, left_mca(None), replace(STILL, reverse=1.0))["1.1", 0]
    assert item["tokens"][:, 0].tolist() == list(range(30))
    assert item["targets"][LEFT_MCA] == 1


@pytest.mark.parametrize(
    ("axis", "mirrored", "reversed_slices", "reverse", "label", "slice_"),
    [
        ("columns", True, False, 0.0, RIGHT_MCA, 5),
        ("columns", True, False, 1.0, RIGHT_MCA, 24),
        ("columns", False, True, 0.0, LEFT_MCA, 24),
        ("columns", True, True, 1.0, RIGHT_MCA, 5),
        ("slices", True, True, 0.0, RIGHT_MCA, 24),
        ("slices", True, True, 1.0, LEFT_MCA, 5),
        ("slices", False, False, 1.0, RIGHT_MCA, 24),
    ],
)
def test_the_flips_of_a_view_and_of_the_sequence_add_up(
    tmp_path: Path, axis, mirrored, reversed_slices, reverse, label, slice_
):
    sets = {(1, 1): numbered(30, mirrored, reversed_slices)}
    augmentation = replace(STILL, reverse=reverse)
    item = dataset(tmp_path, left_mca(axis), augmentation, sets=sets)["1.1", 0]
    assert item["targets"][label] == 1 and item["targets"].sum() == 2
    assert int(item["slice_targets"][:, label].argmax()) == slice_


def test_views_take_part_only_when_asked_for(tmp_path: Path):
    sets = {(1, 0): numbered(30), (1, 1): numbered(30, mirrored=True)}
    shown = {
        views: {
            int(
                dataset(tmp_path, left_mca(), replace(STILL, use_views=views), sets=sets)[
                    "1.1", epoch
                ]["targets"][RIGHT_MCA]
            )
            for epoch in range(12)
        }
        for views in (True, False)
    }
    assert shown == {True: {0, 1}, False: {0}}


def test_an_aneurysm_without_localizer_counts_for_the_series_and_not_for_its_slices(
    tmp_path: Path,
):
    info = left_mca("slices")
    weights = np.ones(14, dtype=np.float32)
    weights[[RIGHT_MCA, OVERALL]] = 0
    labels = info.labels.copy()
    labels[RIGHT_MCA] = 1
    info = replace(info, labels=labels, label_weights=weights, localized=False)
    item = dataset(tmp_path, info)["1.1", 0]
    assert item["weights"].min() == 1 and item["targets"][RIGHT_MCA] == 1
    assert not item["slice_weights"][:, [RIGHT_MCA, OVERALL]].any()
    assert item["slice_weights"][:, LEFT_MCA].min() == 1
    item = dataset(tmp_path, info, replace(STILL, reverse=1.0))["1.1", 0]
    assert not item["slice_weights"][:, [LEFT_MCA, OVERALL]].any()
    assert item["slice_weights"][:, RIGHT_MCA].min() == 1


def test_long_series_are_thinned_with_their_targets_and_positions(tmp_path: Path):
    info = left_mca(n=200, index=100)
    item = dataset(tmp_path, info, spec=replace(SPEC, limit=50))["1.1", 0]
    assert item["tokens"].shape == (50, 14)
    shown = item["tokens"][:, 0].numpy()
    assert np.allclose(item["position"].numpy(), (shown - 99.5) * info.slice_mm)
    nearest = int(np.abs(shown - 100).argmin())
    assert int(item["slice_targets"][:, LEFT_MCA].argmax()) == nearest


def test_slices_are_left_out_at_random_but_never_all(tmp_path: Path):
    half = dataset(tmp_path, left_mca(), replace(STILL, slice_dropout=0.5))
    assert 0 < len(half["1.1", 0]["tokens"]) < 30
    none = dataset(tmp_path, left_mca(), replace(STILL, slice_dropout=1.0))
    assert len(none["1.1", 0]["tokens"]) == 30


def test_a_sample_depends_on_its_key_alone(tmp_path: Path):
    noisy = SequenceAugmentation(noise=0.3, input_dropout=0.3, slice_dropout=0.3, reverse=0.5)
    one, two = (dataset(tmp_path, left_mca(), noisy) for _ in range(2))
    first = one["1.1", 3]
    for epoch in range(3):
        assert len(two["1.1", epoch]["tokens"])  # drawn before, and changing nothing
    again = two["1.1", 3]
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = one["1.1", 4]["tokens"]
    assert other.shape != first["tokens"].shape or not torch.equal(other, first["tokens"])


def test_padding_is_marked_and_zero(tmp_path: Path):
    items = []
    for uid, n in (("1.1", 30), ("1.2", 12)):
        items.append(dataset(tmp_path, replace(left_mca(n=n), uid=uid))[uid, 0])
    batch = collate(items)
    assert batch["mask"].sum(dim=1).tolist() == [30, 12]
    assert batch["mask"][1, :12].all()
    for name in ("tokens", "position", "slice_targets", "slice_weights"):
        assert batch[name].shape[:2] == (2, 30)
        assert not batch[name][1, 12:].any()
        assert torch.equal(batch[name][1, :12], items[1][name])
    assert batch["targets"].shape == batch["weights"].shape == (2, 14)
    assert batch["known"].tolist() == [True, True]


def infos_of_many_lengths(count: int = 203) -> dict[str, SeriesInfo]:
    rng = np.random.default_rng(1)
    return {f"1.{k}": series(f"1.{k}", n=int(rng.integers(20, 600))) for k in range(count)}


def test_an_epochs_batches_hold_every_series_once():
    infos = infos_of_many_lengths()
    batches = bucketed(infos, 8, 4, 2, 0)
    assert sorted(uid for batch in batches for uid, _ in batch) == sorted(infos)
    assert all(epoch == 2 for batch in batches for _, epoch in batch)
    assert len(batches) == 26 == len(bucketed(infos, 8, 4, 5, 0))
    assert max(map(len, batches)) == 8
    assert batches == bucketed(infos, 8, 4, 2, 0) != bucketed(infos, 8, 4, 3, 0)


def test_batches_of_similar_length_carry_little_padding():
    infos = infos_of_many_lengths()

    def padding(batches: list[list[tuple[str, int]]]) -> float:
        lengths = [[infos[uid].n for uid, _ in batch] for batch in batches]
        padded = sum(max(row) * len(row) for row in lengths)
        return 1 - sum(map(sum, lengths)) / padded

    batches = bucketed(infos, 8, 12, 0, 0)
    uids = [request for batch in batches for request in batch]
    rng = np.random.default_rng(0)
    shuffled = [uids[i] for i in rng.permutation(len(uids))]
    plain = padding([shuffled[i : i + 8] for i in range(0, len(uids), 8)])
    assert padding(batches) < 0.1 < 0.4 < plain
