"""Both stages applied on a CUDA device, and what is refused there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from intracranial.artifacts import FoldPaths
from intracranial.compute import choose_compute
from intracranial.errors import EXIT_USAGE, UsageError
from intracranial.inference.encoder import ENCODE_BATCH, Encoder, batch_size, heatmap_peaks
from intracranial.inference.run import Predictor
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from intracranial.sampling.regions import centred
from intracranial.sampling.stacks import StackSpec
from intracranial.tasks import RSNA_2025 as TASK
from intracranial.training.checkpoint import load_weights, save_weights
from tests.cuda.small import classifier, sequences, transformer
from tests.inference.test_other_tasks import THREE
from tests.tiny_data import make_tiny_data
from tests.tiny_runs import ROOT
from tests.untrained_runs import stage1_of, write_untrained_run

EDGE, SLICES = 64, 21
REGION = centred(EDGE, 0.875)


def make_encoder(folder: Path, device: str, precision: str, compiled: bool = False) -> Encoder:
    """An encoder with the same random weights every time."""
    config = SliceClassifierConfig("test_convnext", 3, 48)
    paths = FoldPaths(folder, "run", 0)
    torch.manual_seed(0)
    save_weights(paths.weights("stage1"), SliceClassifier(config))
    inputs = StackSpec(0.875, 48, 2.5)
    stage1 = stage1_of(paths, THREE, config, inputs, (1, 2))
    return Encoder(paths, stage1, choose_compute(device, precision), compiled)


def volume() -> np.ndarray:
    """A cached series."""
    values = np.random.default_rng(0).uniform(0, 5, (SLICES, EDGE, EDGE))
    return values.astype(np.float16)


def test_float32_features_of_the_device_are_those_of_a_cpu(accelerator: str, tmp_path: Path):
    there = make_encoder(tmp_path, accelerator, "fp32").encode(volume(), REGION)
    here = make_encoder(tmp_path, "cpu", "fp32").encode(volume(), REGION)
    for step in (1, 2):
        assert there[step].features.shape == (SLICES, here[step].features.shape[1])
        assert np.allclose(there[step].logits, here[step].logits, atol=1e-4)
        assert np.allclose(there[step].features, here[step].features, atol=5e-3, rtol=5e-3)
        assert np.allclose(there[step].peaks[..., 2], here[step].peaks[..., 2], atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_features_of_16_bits_are_near_those_of_float32(
    accelerator: str, precision: str, tmp_path: Path
):
    if accelerator == "cpu" and precision == "fp16":
        pytest.skip("a CPU has no fp16")
    found = make_encoder(tmp_path, accelerator, precision).encode(volume(), REGION)
    exact = make_encoder(tmp_path, accelerator, "fp32").encode(volume(), REGION)
    for step in (1, 2):
        spread = exact[step].logits.std()
        assert np.abs(found[step].logits - exact[step].logits).max() < 0.2 * spread + 0.02


def test_a_series_encoded_twice_gives_the_same_bits(accelerator: str, tmp_path: Path):
    encoder = make_encoder(tmp_path, accelerator, "auto")
    one, other = encoder.encode(volume(), REGION), encoder.encode(volume(), REGION)
    for step in (1, 2):
        assert np.array_equal(one[step].logits, other[step].logits)
        assert np.array_equal(one[step].peaks, other[step].peaks)


def test_slices_are_prepared_in_pinned_memory_and_batches_are_whole(cuda: str, tmp_path: Path):
    encoder = make_encoder(tmp_path, cuda, "auto")
    assert encoder.prepare(volume(), REGION).values.is_pinned()
    assert encoder.batch == batch_size(encoder.compute.device, 48) == ENCODE_BATCH
    weights = [p for p in encoder.model.parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_compiled_features_are_near_the_plain_ones(cuda: str, tmp_path: Path):
    pytest.importorskip("triton")
    plain = make_encoder(tmp_path, cuda, "fp32").encode(volume(), REGION)
    found = make_encoder(tmp_path, cuda, "fp32", compiled=True).encode(volume(), REGION)
    for step in (1, 2):
        assert np.allclose(found[step].logits, plain[step].logits, atol=1e-3)


def test_peaks_of_heat_maps_are_those_of_a_cpu(accelerator: str):
    torch.manual_seed(0)
    maps = torch.randn(5, 3, 9, 9)
    assert torch.allclose(heatmap_peaks(maps.to(accelerator)).cpu(), heatmap_peaks(maps), atol=1e-4)


def test_stage_2_on_the_device_gives_the_logits_of_a_cpu_whatever_the_padding(accelerator: str):
    choose_compute(accelerator, "fp32")  # no TF32
    batch, model = sequences(0), transformer().eval()
    names = ("tokens", "position", "mask", "known")
    with torch.inference_mode():
        here = model(*(batch[name] for name in names))
        model = model.to(accelerator)
        there = model(*(batch[name].to(accelerator) for name in names))
        short = {name: batch[name][3:, :9] for name in names[:3]} | {"known": batch["known"][3:]}
        alone = model(*(short[name].to(accelerator) for name in names))
    assert torch.allclose(there.logits.cpu(), here.logits, atol=1e-4)
    kept = batch["mask"]
    assert torch.allclose(there.slice_logits.cpu()[kept], here.slice_logits[kept], atol=1e-4)
    assert torch.allclose(alone.logits.cpu(), here.logits[3:], atol=1e-4)


def test_weights_of_the_device_load_on_a_cpu_and_back(accelerator: str, tmp_path: Path):
    model = classifier().to(accelerator)
    save_weights(tmp_path / "weights.safetensors", model)
    other = classifier("test_convnext")
    load_weights(tmp_path / "weights.safetensors", other, "train_stage1.py")
    third = classifier("test_convnext").to(accelerator)
    load_weights(tmp_path / "weights.safetensors", third, "train_stage1.py")
    for key, value in model.state_dict().items():
        assert torch.equal(value.cpu(), other.state_dict()[key])
        assert third.state_dict()[key].device.type == torch.device(accelerator).type


def test_a_detector_predicts_on_the_device_as_on_a_cpu(accelerator: str, tmp_path: Path):
    run = tmp_path / "model" / "run"
    write_untrained_run(run, TASK)
    (tmp_path / "data").mkdir()
    (series,) = make_tiny_data(tmp_path / "data", count=1)
    folder = tmp_path / "data" / "series" / series.uid
    found = [
        Predictor(run, device=device, precision="fp32").predict(folder)
        for device in (accelerator, "cpu")
    ]
    assert np.allclose(found[0].probabilities, found[1].probabilities, atol=1e-4)
    assert np.allclose(found[0].slice_probabilities, found[1].slice_probabilities, atol=1e-4)


def test_auto_is_this_device_in_bf16_and_float32_is_no_tf32(cuda: str):
    chosen = choose_compute()
    assert chosen.device == torch.device("cuda", 0) and not chosen.scaled
    if torch.cuda.get_device_capability() >= (8, 0):
        assert chosen.dtype == torch.bfloat16 and "it has bf16 units" in chosen.reason
    a, b = torch.randn(2, 512, 512, device="cuda", dtype=torch.float64)
    error = ((a.float() @ b.float()).double() - a @ b).abs().max()
    assert error < 1e-3  # TF32 is off by 0.05


def test_a_device_that_is_not_there_is_refused_with_their_number(cuda: str):
    count = torch.cuda.device_count()
    with pytest.raises(UsageError, match=f"--device cuda:77: there are {count} CUDA devices"):
        choose_compute("cuda:77")


def test_a_script_ends_with_a_usage_error_on_a_device_that_is_not_there(cuda: str, tmp_path: Path):
    run = tmp_path / "model" / "run"
    write_untrained_run(run, TASK)
    (tmp_path / "series").mkdir()
    make_tiny_data(tmp_path / "series", count=1)
    line = [sys.executable, str(ROOT / "tools" / "predict.py"), "--model", str(run)]
    line += ["--series_dir", str(tmp_path / "series" / "series"), "--device", "cuda:77"]
    line += ["--out_dir", str(tmp_path / "out")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == EXIT_USAGE, done.stdout + done.stderr
    assert "--device cuda:77: there are" in done.stdout + done.stderr


def test_more_processes_than_devices_are_refused(cuda: str, monkeypatch: pytest.MonkeyPatch):
    count = torch.cuda.device_count()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count + 1))
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(
        UsageError, match=f"{count + 1} processes on this machine, and {count} CUDA"
    ):
        choose_compute("cuda")


def test_a_process_that_has_its_group_speaks_through_nccl(cuda: str):
    """With one device there is one process; the group is made as for several."""
    words = (
        "import torch\n"
        "from intracranial.processes.team import Rank\n"
        "from intracranial.training.distributed import _join, process_count, sum_over_processes\n"
        "place = torch.device('cuda', 0)\n"
        "_join(Rank(0, 1, ''), torch.distributed.HashStore(), place)\n"
        "total = sum_over_processes(torch.ones(2, device=place))\n"
        "assert torch.distributed.get_backend() == 'nccl' and total.tolist() == [1, 1]\n"
        "print('said', process_count())\n"
        "torch.distributed.destroy_process_group()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0 and "said 1" in done.stdout, done.stdout + done.stderr
