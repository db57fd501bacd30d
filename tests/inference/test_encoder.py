"""Features of a series are the same numbers however the series comes."""

import logging
from pathlib import Path

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
from intracranial.inference.views import View
from intracranial.lineage import open_stage1
from intracranial.models.slice_classifier import HEATMAP_STRIDE
from intracranial.sampling.regions import Region, centred, input_to_cache
from intracranial.sampling.stacks import (
    StackSpec,
    Window,
    as_channels,
    neighbours,
    prepare_slices,
)
from intracranial.tasks import RSNA_2025
from intracranial.training.checkpoint import save_weights
from tests.tiny_data import uid_of
from tests.tiny_runs import Place, edit, read
from tests.untrained_runs import write_untrained_run

REGION = centred(64, 0.9)
"""What the tiny recipe sees of the tiny caches."""

OFF_CENTRE = Region(20, 5, 60, 31)


@pytest.fixture(scope="module")
def encoder(tiny: Place) -> Encoder:
    return Encoder(tiny.fold(), open_stage1(tiny.fold(), {}), choose_compute("cpu", "fp32"))


def volume(n: int, seed: int = 0, size: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 5, (n, size, size)).astype(np.float16)


def same(one, two) -> bool:
    names = ("features", "logits", "peaks")
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in names)


def test_every_slice_has_features_logits_and_peaks_at_every_step(encoder: Encoder):
    found = encoder.encode(volume(20), REGION)
    assert set(found) == {1, 2}
    for result in found.values():
        assert result.features.shape == (20, encoder.width)
        assert result.features.dtype == np.float16
        assert result.logits.shape == (20, 14) and result.logits.dtype == np.float32
        assert result.peaks.shape == (20, 14, 3) and result.peaks.dtype == np.float32
        assert np.isfinite(result.features).all()


@pytest.mark.parametrize("n", [1, 2, ENCODE_BATCH, ENCODE_BATCH + 1, 2 * ENCODE_BATCH - 1])
def test_series_of_any_length_have_a_row_per_slice(encoder: Encoder, n: int):
    assert all(len(result.features) == n for result in encoder.encode(volume(n), REGION).values())


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
    long = encoder.encode(volume(21), REGION)[1]
    for n in (1, 2, 3, 6, 13):
        short = encoder.encode(volume(21)[:n], REGION)[1]
        assert len(short.features) == n
        assert np.array_equal(short.logits[: n - 1], long.logits[: n - 1])


def test_a_series_gives_the_same_numbers_alone_and_after_others(encoder: Encoder):
    alone = encoder.encode(volume(20), REGION)
    encoder.encode(volume(33, seed=1), REGION)
    again = encoder.encode(volume(20), REGION)
    assert all(same(alone[step], again[step]) for step in alone)


def test_what_follows_in_a_batch_changes_no_slice_before_it(encoder: Encoder):
    long = volume(40)
    short = long[:21]  # its tail is padded where the long one goes on
    for step, result in encoder.encode(long, REGION).items():
        other = encoder.encode(short, REGION)[step]
        kept = 21 - step  # the last slices have other neighbours
        assert np.array_equal(result.features[:kept], other.features[:kept])
        assert np.array_equal(result.logits[:kept], other.logits[:kept])


def test_a_stack_is_a_slice_and_its_neighbours_at_the_step(encoder: Encoder):
    slices = volume(20)
    prepared = torch.from_numpy(as_channels(prepare_slices(slices, encoder.inputs, REGION)))
    for step, result in encoder.encode(slices, REGION).items():
        for index in (0, 7, 19):
            stack = prepared[neighbours(index, step, 20, 3)][None]
            with torch.inference_mode():
                output = encoder.model(stack)
            assert np.allclose(result.logits[index], output.logits[0].numpy(), atol=1e-4)
    found = encoder.encode(slices, REGION)
    assert not np.array_equal(found[1].logits, found[2].logits)


WINDOWS = (Window(40, 80), Window(80, 200), Window(600, 2800))


@pytest.mark.parametrize(
    "inputs",
    [
        StackSpec(0.9, 48, 2.5, slices=1),
        StackSpec(0.9, 48, 2.5, slices=5),
        StackSpec(0.9, 48, 2.5, windows=WINDOWS),
        StackSpec(0.75, 48, 2.5, windows=WINDOWS),  # nothing is resampled
    ],
)
@pytest.mark.parametrize("view", [None, View(slices=True), View(columns=True, crop=0.75)])
def test_stacks_of_any_kind_are_what_the_data_set_shows(
    tmp_path: Path, inputs: StackSpec, view: View | None
):
    paths = write_untrained_run(tmp_path / "model" / "run", RSNA_2025, inputs=inputs)
    edit(paths.manifest("stage1"), steps=[1, 2])
    encoder = Encoder(paths, open_stage1(paths, {}), choose_compute("cpu", "fp32"))
    assert encoder.inputs == inputs
    slices, region = volume(11), inputs.region(64)
    if inputs.windows:
        slices *= 40  # HU
    prepared = prepare_slices(slices, inputs, region)
    if view is not None:
        prepared = view.transform(prepared)
    found = encoder.encode(slices, region, view and view.transform)
    for step, result in found.items():
        for index in (0, 5, 10):
            stack = as_channels(prepared[neighbours(index, step, 11, inputs.slices)])
            assert len(stack) == inputs.channels
            with torch.inference_mode():
                output = encoder.model(torch.from_numpy(stack)[None])
            assert np.allclose(result.logits[index], output.logits[0].numpy(), atol=1e-4)
    heat = encoder.heat_map(slices, region, 5, 13)
    assert region.of(heat).min() > 0 and heat.shape == (64, 64)
    if inputs.slices > 1:
        assert not np.array_equal(found[1].logits, found[2].logits)
    else:
        assert np.array_equal(found[1].logits, found[2].logits)


def test_a_network_for_other_stacks_is_refused(tmp_path: Path):
    paths = write_untrained_run(tmp_path / "model" / "run", RSNA_2025)
    edit(paths.manifest("stage1"), input={**read(paths.manifest("stage1"))["input"], "slices": 5})
    with pytest.raises(InputError, match=r"`input` describes stacks of 5 channels and .* is 3"):
        open_stage1(paths, {})


def test_a_file_gives_what_an_array_gives(encoder: Encoder, tmp_path):
    np.save(tmp_path / "a.npy", volume(20))
    file = ImageFile(tmp_path / "a.npy", "some.py")
    assert same(encoder.encode(volume(20), REGION)[1], encoder.encode(file, REGION)[1])


def test_the_features_on_disk_are_what_the_encoder_says(tiny: Place, encoder: Encoder):
    from intracranial.sampling.features import load_features

    uid = uid_of(0)
    stored = load_features(tiny.fold().feature(uid))
    found = encoder.encode(np.load(tiny.data.sequence(uid)), REGION)
    assert set(stored) == {(1, 0), (2, 0)}
    assert all(same(stored[step, 0], found[step]) for step in (1, 2))


@pytest.mark.parametrize("region", [REGION, OFF_CENTRE])
def test_peaks_are_in_pixels_of_the_cache(encoder: Encoder, region: Region):
    peaks = encoder.encode(volume(20), region)[1].peaks
    corners = np.array([[-0.5, -0.5], [47.5, 47.5]])
    low, high = input_to_cache(corners, region, 48)
    assert (low >= 0).all() and (high <= 63).all()
    assert (peaks[..., :2] >= low).all() and (peaks[..., :2] <= high).all()
    assert ((peaks[..., 2] >= 0) & (peaks[..., 2] <= 1)).all()


@pytest.mark.parametrize("region", [REGION, OFF_CENTRE])
def test_a_heat_map_lies_over_the_cached_slice_with_its_maximum_at_the_peak(
    encoder: Encoder, monkeypatch, region: Region
):
    monkeypatch.setattr(encoder, "steps", (1,))
    heat = encoder.heat_map(volume(5), region, 2, 13)
    x, y, probability = encoder.encode(volume(5), region)[1].peaks[2, 13]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert heat.shape == (64, 64) and heat.dtype == np.float32
    cell = HEATMAP_STRIDE / region.scale(48)
    assert np.hypot(*((column - x, row - y) / cell)) <= 1
    assert 0.9 * probability < heat.max() <= probability + 1e-6


@pytest.mark.parametrize("region", [centred(64, 0.5), OFF_CENTRE])
def test_a_heat_map_is_zero_outside_of_the_region(encoder: Encoder, region: Region):
    heat = encoder.heat_map(volume(5), region, 2, 13)
    assert region.of(heat).min() > 0
    assert heat.sum() == pytest.approx(region.of(heat).sum())


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
    assert encoder.inputs == StackSpec(crop=0.9, input_size=48, mean=2.5)
    assert encoder.steps == (1, 2)
    assert logging.getLogger("intracranial").handlers == []
