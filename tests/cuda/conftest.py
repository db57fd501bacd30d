"""The device of tests that need CUDA; TEST_ACCELERATOR=cpu tries their code without one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from intracranial.compute import Compute, choose_compute

# torch reads it at the first product of a process, whether or not a test is deterministic
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


DEVICE = os.environ.get("TEST_ACCELERATOR", "cuda")
NO_CUDA = "needs a CUDA device"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the device, all tests of this folder are skipped."""
    if DEVICE == "cpu" or torch.cuda.is_available():
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=NO_CUDA))


@pytest.fixture
def accelerator() -> str:
    """Name of the device, as --device takes it."""
    return DEVICE


@pytest.fixture
def cuda(accelerator: str) -> str:
    """The device of tests whose code means CUDA's own functions: the CPU does not do."""
    if accelerator == "cpu":
        pytest.skip(NO_CUDA)
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
