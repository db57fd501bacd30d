"""Device and precision, chosen in one place with a reason."""

import socket

import pytest
import torch
from huggingface_hub import constants

from intracranial import compute
from intracranial.compute import choose_compute, spare_hub_retries
from intracranial.errors import UsageError

LAUNCHERS = (
    "CUDA_VISIBLE_DEVICES",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "SLURM_LOCALID",
    "SLURM_STEP_TASKS_PER_NODE",
)

no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


@pytest.mark.parametrize(("fast", "name"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_gets_bf16_only_where_it_has_instructions_for_it(monkeypatch, fast: bool, name: str):
    monkeypatch.setattr(compute, "_cpu_has_fast_bf16", lambda: fast)
    chosen = choose_compute("cpu", "auto")
    assert chosen.dtype == {"bf16": torch.bfloat16, "fp32": torch.float32}[name]
    assert name in chosen.reason and "bf16 instructions" in chosen.reason
    assert not chosen.scaled


def test_bf16_is_in_force_inside_autocast_and_fp32_is_not_touched():
    layer, batch = torch.nn.Linear(4, 4), torch.ones(2, 4)
    with choose_compute("cpu", "bf16").autocast():
        assert layer(batch).dtype == torch.bfloat16
    with choose_compute("cpu", "fp32").autocast():
        assert layer(batch).dtype == torch.float32
    assert layer(batch).dtype == torch.float32


def test_images_are_placed_channels_last_and_values_do_not_change():
    chosen = choose_compute("cpu", "fp32")
    images = torch.randn(2, 3, 8, 8)
    placed = chosen.place(images)
    assert placed.is_contiguous(memory_format=torch.channels_last) and torch.equal(placed, images)
    assert chosen.place(torch.ones(2, 3)).shape == (2, 3)


@pytest.mark.parametrize(
    ("device", "precision", "words"),
    [
        ("cpu", "half", "--precision half: choose from auto, bf16"),
        ("cpu", "fp16", "--precision fp16 needs a CUDA device"),
        ("gpu", "auto", "--device gpu: give auto, cpu"),
        ("cuda:x", "auto", "--device cuda:x: give auto, cpu"),
    ],
)
def test_what_does_not_exist_is_a_usage_error_that_quotes_the_flag(device, precision, words):
    with pytest.raises(UsageError, match=words):
        choose_compute(device, precision)


@no_cuda
def test_without_cuda_auto_is_the_cpu_and_cuda_is_refused():
    assert choose_compute("auto", "fp32").device.type == "cpu"
    with pytest.raises(UsageError, match="sees no CUDA device; use --device cpu"):
        choose_compute("cuda", "auto")


def gpus(monkeypatch, count: int) -> list[torch.device]:
    """Pretend that there are some; returns a list of those that become the current one."""
    current: list[torch.device] = []
    for name, value in (
        ("is_available", True),
        ("device_count", count),
        ("get_device_name", "a GPU"),
        ("get_device_capability", (9, 0)),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    return current


@pytest.mark.parametrize(
    ("launch", "device", "visible", "index"),
    [
        ({}, "auto", 2, 0),
        ({}, "cuda:1", 2, 1),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, "cuda", 2, 1),
        ({"SLURM_LOCALID": "3", "SLURM_STEP_TASKS_PER_NODE": "4(x2),3"}, "auto", 4, 3),
        # srun --gpus-per-task 1
        (
            {"SLURM_LOCALID": "3", "SLURM_STEP_TASKS_PER_NODE": "4", "CUDA_VISIBLE_DEVICES": "0"},
            "cuda:0",
            1,
            0,
        ),
    ],
)
def test_each_process_of_a_machine_takes_its_gpu_and_makes_it_the_current_one(
    monkeypatch, launch: dict[str, str], device: str, visible: int, index: int
):
    current = gpus(monkeypatch, visible)
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    assert choose_compute(device).device == torch.device("cuda", index)
    assert current == [torch.device("cuda", index)]


@pytest.mark.parametrize(
    ("launch", "device", "visible", "words"),
    [
        ({"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}, "cuda", 1, "2 processes on this machine"),
        (
            {"SLURM_LOCALID": "0", "SLURM_STEP_TASKS_PER_NODE": "4(x2),3"},
            "auto",
            3,
            "4 processes on this machine, and 3 CUDA devices",
        ),
        (
            {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
            "cuda:0",
            2,
            "would share it; give",
        ),
    ],
)
def test_processes_that_would_share_a_gpu_are_refused(
    monkeypatch, launch: dict[str, str], device: str, visible: int, words: str
):
    gpus(monkeypatch, visible)
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=words):
        choose_compute(device)


@pytest.mark.parametrize(
    ("precision", "said"),
    [("fp32", "fp32: as asked, no TF32"), ("auto", "bf16: it has bf16 units"), ("fp16", "fp16: ")],
)
def test_float32_on_cuda_is_never_tf32_and_the_reason_says_so(monkeypatch, precision, said):
    gpus(monkeypatch, 1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    chosen = choose_compute("cuda", precision)
    assert said in chosen.reason and ("TF32" in chosen.reason) == (precision == "fp32")
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("reachable", [True, False])
def test_the_hub_is_not_waited_for_when_its_host_has_no_address(monkeypatch, reachable: bool):
    def look_up(*_: object) -> list[object]:
        if not reachable:
            raise socket.gaierror("no such host")
        return []

    monkeypatch.setattr(compute.socket, "getaddrinfo", look_up)
    monkeypatch.setattr(compute.urllib.request, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    spare_hub_retries()
    assert constants.HF_HUB_OFFLINE is not reachable


def test_behind_a_proxy_nothing_is_assumed_of_the_hub(monkeypatch):
    monkeypatch.setattr(compute.urllib.request, "getproxies", lambda: {"https": "proxy"})
    monkeypatch.setattr(compute.socket, "getaddrinfo", lambda *_: pytest.fail("was looked up"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    spare_hub_retries()
    assert constants.HF_HUB_OFFLINE is False


def test_an_operation_without_a_deterministic_kernel_is_a_usage_error_that_names_it():
    torch.use_deterministic_algorithms(True)
    try:
        with (
            pytest.raises(UsageError, match=r"--deterministic: torch's put_ has no"),
            compute.determinism_explained(),
        ):
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
    finally:
        torch.use_deterministic_algorithms(False)
    with pytest.raises(RuntimeError, match="something else"), compute.determinism_explained():
        raise RuntimeError("something else")
