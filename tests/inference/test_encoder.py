"""Features of a series are the same numbers however the series comes."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from intracranial.artifacts import FoldPaths, ImageFile
from intracranial.compute import choose_compute
from intracranial.errors import InputError, MissingArtifact
from intracranial.inference.encoder import (
    ENCODE_BATCH,
    TAIL_MULTIPLE,
    Encoder,
    batch_size,
    heatmap_peaks,
)
from intracranial.lineage import open_stage1
from intracranial.models.slice_classifier import HEATMAP_STRIDE
from intracranial.sampling.stacks import InputSpec, input_to_cache, neighbours, prepare_slices
from intracranial.training.checkpoint import save_weights
from tests.tiny_data import uid_of
from tests.tiny_runs import Place


@pytest.fixture(scope="module")
def encoder(tiny: Place) -> Encoder:
    return Encoder(tiny.fold(), open_stage1(tiny.fold(), {}), choose_compute("cpu", "fp32"))


def volume(n: int, seed: int = 0, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 5, (n, size, size)).astype(np.float16)


def same(one, two) -> bool:
    names = ("features", "logits", "peaks")
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in names)


def test_every_slice_has_features_logits_and_peaks_at_every_step(encoder: Encoder):
    found = encoder.encode(volume(20))
    assert set(found) == {1, 2}
    for result in found.values():
        assert result.features.shape == (20, encoder.width)
        assert result.features.dtype == np.float16
        assert result.logits.shape == (20, 14) and result.logits.dtype == np.float32
        assert result.peaks.shape == (20, 14, 3) and result.peaks.dtype == np.float32
        assert np.isfinite(result.features).all()


@pytest.mark.parametrize("n", [1, 2, ENCODE_BATCH, ENCODE_BATCH + 1, 2 * ENCODE_BATCH - 1])
def test_series_of_any_length_have_a_row_per_slice(encoder: Encoder, n: int):
    assert all(len(result.features) == n for result in encoder.encode(volume(n)).values())


@pytest.mark.parametrize(
    ("device", "input_size", "batch"),
    [("cpu", 48, 16), ("cpu", 224, 8), ("cpu", 448, 2), ("cpu", 2048, 1), ("cuda", 448, 16)],
)
def test_large_stacks_go_in_small_batches_on_a_cpu(device: str, input_size: int, batch: int):
    assert batch_size(torch.device(device), input_size) == batch


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_in_batches_of_any_size_what_follows_changes_no_slice_before_it(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, batch: int
):
    monkeypatch.setattr(encoder, "batch", batch)
    monkeypatch.setattr(encoder, "multiple", min(TAIL_MULTIPLE, batch))
    long = encoder.encode(volume(21))[1]
    for n in (1, 2, 3, 6, 13):
        short = encoder.encode(volume(21)[:n])[1]
        assert len(short.features) == n
        assert np.array_equal(short.logits[: n - 1], long.logits[: n - 1])


def test_a_series_gives_the_same_numbers_alone_and_after_others(encoder: Encoder):
    alone = encoder.encode(volume(20))
    encoder.encode(volume(33, seed=1))
    again = encoder.encode(volume(20))
    assert all(same(alone[step], again[step]) for step in alone)


def test_what_follows_in_a_batch_changes_no_slice_before_it(encoder: Encoder):
    long = volume(40)
    short = long[:21]  # its tail is padded where the long one goes on
    for step, result in encoder.encode(long).items():
        other = encoder.encode(short)[step]
        kept = 21 - step  # the last slices have other neighbours
        assert np.array_equal(result.features[:kept], other.features[:kept])
        assert np.array_equal(result.logits[:kept], other.logits[:kept])


def test_a_stack_is_a_slice_and_its_neighbours_at_the_step(encoder: Encoder):
    slices = volume(20)
    prepared = torch.from_numpy(prepare_slices(slices, encoder.inputs))
    for step, result in encoder.encode(slices).items():
        for index in (0, 7, 19):
            stack = prepared[neighbours(index, step, 20)][None]
            with torch.inference_mode():
                output = encoder.model(stack)
            assert np.allclose(result.logits[index], output.logits[0].numpy(), atol=1e-4)
    found = encoder.encode(slices)
    assert not np.array_equal(found[1].logits, found[2].logits)


def test_a_file_gives_what_an_array_gives(encoder: Encoder, tmp_path):
    np.save(tmp_path / "a.npy", volume(20))
    file = ImageFile(tmp_path / "a.npy", "some.py")
    assert same(encoder.encode(volume(20))[1], encoder.encode(file)[1])


def test_the_features_on_disk_are_what_the_encoder_says(tiny: Place, encoder: Encoder):
    from intracranial.sampling.features import load_features

    uid = uid_of(0)
    stored = load_features(tiny.fold().feature(uid))
    found = encoder.encode(np.load(tiny.data.sequence(uid)))
    assert set(stored) == {(1, 0), (2, 0)}
    assert all(same(stored[step, 0], found[step]) for step in (1, 2))


def test_peaks_are_in_pixels_of_the_cache(encoder: Encoder):
    peaks = encoder.encode(volume(20))[1].peaks
    spec, size = encoder.inputs, 64
    low, high = input_to_cache(np.array([-0.5, spec.input_size - 0.5]), size, spec)
    assert low >= 0 and high <= size - 1
    assert (peaks[..., :2] >= low).all() and (peaks[..., :2] <= high).all()
    assert ((peaks[..., 2] >= 0) & (peaks[..., 2] <= 1)).all()


def test_a_heat_map_lies_over_the_cached_slice_with_its_maximum_at_the_peak(
    encoder: Encoder, monkeypatch
):
    monkeypatch.setattr(encoder, "steps", (1,))
    heat = encoder.heat_map(volume(5), 2, 13)
    x, y, probability = encoder.encode(volume(5))[1].peaks[2, 13]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert heat.shape == (64, 64) and heat.dtype == np.float32
    assert np.hypot(column - x, row - y) <= HEATMAP_STRIDE / encoder.inputs.scale(64)
    assert 0.9 * probability < heat.max() <= probability + 1e-6


def test_a_heat_map_is_zero_outside_of_the_crop(encoder: Encoder, monkeypatch):
    monkeypatch.setattr(encoder, "inputs", replace(encoder.inputs, crop=0.5))
    heat = encoder.heat_map(volume(5), 2, 13)
    assert heat[16:48, 16:48].min() > 0
    assert heat.sum() == pytest.approx(heat[16:48, 16:48].sum())


def test_a_peak_at_the_edge_of_the_map_stays_on_it():
    logits = torch.full((1, 2, 6, 6), -5.0)
    logits[0, 0, 0, 0] = 3.0
    logits[0, 1, 5, 5] = 3.0
    peaks = heatmap_peaks(logits)
    assert peaks[0, 0, :2].tolist() == [0.0, 0.0]
    assert peaks[0, 1, :2].tolist() == [5.0, 5.0]
    assert peaks[0, :, 2].tolist() == pytest.approx([0.9526, 0.9526], abs=1e-4)


def test_a_flat_heat_map_has_a_finite_peak():
    assert torch.isfinite(heatmap_peaks(torch.zeros(1, 14, 6, 6))).all()


def test_missing_or_foreign_weights_name_the_script(tiny: Place, tmp_path):
    stage1 = open_stage1(tiny.fold(), {})
    paths = FoldPaths(tmp_path, "run", 0)
    compute = choose_compute("cpu", "fp32")
    with pytest.raises(MissingArtifact, match=r"run train_stage1\.py first"):
        Encoder(paths, stage1, compute)
    save_weights(paths.weights("stage1"), torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"made for another network.*train_stage1\.py"):
        Encoder(paths, stage1, compute)


def test_an_encoder_needs_nothing_but_the_manifest_to_know_its_input(encoder: Encoder):
    assert encoder.inputs == InputSpec(crop=0.9, input_size=48, mean=2.5)
    assert encoder.steps == (1, 2)
    assert logging.getLogger("intracranial").handlers == []
