"""The device of tests that need CUDA; TEST_ACCELERATOR=cpu tries their code without one."""

import os
from collections.abc import Iterator

import pytest
import torch

from src.compute import Compute, choose_compute

# torch reads it at the first product of a process, whether or not a test is deterministic
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture
def accelerator() -> str:
    """Name of the device, as --device takes it; without CUDA the test is skipped."""
    device = os.environ.get("TEST_ACCELERATOR", "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return device


@pytest.fixture
def cuda(accelerator: str) -> str:
    """The device of tests whose code means CUDA's own functions: the CPU does not do."""
    if accelerator == "cpu":
        pytest.skip("needs a CUDA device")
    return accelerator


@pytest.fixture(params=["bf16", "fp16"])
def half(request: pytest.FixtureRequest, accelerator: str) -> Compute:
    """The device at each precision of 16 bits."""
    if accelerator == "cpu" and request.param == "fp16":
        pytest.skip("a CPU has no fp16")
    return choose_compute(accelerator, request.param)


@pytest.fixture
def full(accelerator: str) -> Compute:
    """The device at float32."""
    return choose_compute(accelerator, "fp32")


@pytest.fixture(autouse=True)
def _switches() -> Iterator[None]:
    """What a test switches for the whole process is as it was after it."""
    were = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = were
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
