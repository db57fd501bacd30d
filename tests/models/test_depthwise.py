"""Depthwise convolutions that train fast on a CPU give torch's results."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from intracranial.artifacts import FoldPaths
from intracranial.compute import choose_compute
from intracranial.models import depthwise
from intracranial.models.depthwise import (
    DepthwiseConv2d,
    depthwise_weight_gradient,
    speed_up_depthwise,
)
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from intracranial.training.loop import Fit
from tests.training.test_loop import SPEC, SquaredError

CHANNELS = 6


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The results are the same on every processor; only the speed is not."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")


def pair(edge: int, bias: bool = True) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A convolution as torch computes it, and the fast one with the same weights."""
    torch.manual_seed(edge)
    plain = nn.Conv2d(CHANNELS, CHANNELS, edge, padding=edge // 2, groups=CHANNELS, bias=bias)
    fast = copy.deepcopy(plain)
    speed_up_depthwise(fast)
    assert type(fast) is DepthwiseConv2d
    return plain, fast


def passes(
    convolution: nn.Module, inputs: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Output, and gradients of the input and of all parameters."""
    given = inputs.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        output = convolution(given)
    torch.manual_seed(0)
    gradient = torch.randn(output.shape, dtype=torch.float64).to(output.dtype)
    return output, list(torch.autograd.grad(output, [given, *convolution.parameters()], gradient))


@pytest.mark.parametrize("size", [(4, 9), (28, 28), (29, 61), (1, 1)])
@pytest.mark.parametrize("edge", [5, 7])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_gradients_are_those_of_torch(
    size: tuple[int, int], edge: int, dtype: torch.dtype, most: float
) -> None:
    inputs = torch.randn(3, CHANNELS, *size)
    exact, wanted = passes(pair(edge)[0].double(), inputs.double(), torch.float64)
    output, found = passes(pair(edge)[1], inputs, dtype)
    assert output.dtype == dtype and found[1].dtype == torch.float32
    for one, other in zip([output, *found], [exact, *wanted], strict=True):
        assert (one.double() - other).norm() <= most * other.norm() + most


@pytest.mark.parametrize("last", [True, False])
def test_images_are_taken_in_turns_when_there_are_many(
    last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = torch.channels_last if last else torch.contiguous_format
    inputs = torch.randn(5, CHANNELS, 33, 20).contiguous(memory_format=layout)
    plain, fast = pair(7, bias=False)
    wanted = passes(plain, inputs, torch.float32)[1]
    monkeypatch.setattr(depthwise, "TILES_AT_ONCE", 2 * 2 * CHANNELS)
    for one, other in zip(passes(fast, inputs, torch.float32)[1], wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_forward_pass_is_torch_s() -> None:
    plain, fast = pair(7)
    inputs = torch.randn(2, CHANNELS, 16, 16)
    assert torch.equal(plain(inputs), fast(inputs))
    with torch.inference_mode():
        assert torch.equal(plain(inputs), fast(inputs))


def test_frozen_weights_get_no_gradient() -> None:
    _, fast = pair(7)
    fast.requires_grad_(False)
    inputs = torch.randn(2, CHANNELS, 16, 16, requires_grad=True)
    fast(inputs).sum().backward()
    assert fast.weight.grad is None and inputs.grad is not None


def test_the_operation_is_fit_for_torch_compile() -> None:
    maps = torch.randn(2, CHANNELS, 9, 9), torch.randn(2, CHANNELS, 9, 9)
    torch.library.opcheck(depthwise_weight_gradient, (*maps, 5))


def test_the_module_is_compiled_as_one_graph() -> None:
    _, fast = pair(5)
    inputs = torch.randn(2, CHANNELS, 12, 12)
    wanted = passes(fast, inputs, torch.bfloat16)[1]
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    for one, other in zip(passes(compiled, inputs, torch.bfloat16)[1], wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-2)


def test_the_training_loop_speeds_up_its_network_on_a_cpu(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(6, 6, 5, padding=2, groups=6))
    Fit(model, SquaredError(), SPEC, choose_compute("cpu"), FoldPaths(tmp_path, "r", 0), "s", "i")
    assert type(model[0]) is DepthwiseConv2d


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 6, 7, padding=3, groups=3),
        nn.Conv2d(6, 12, 7, padding=3, groups=6),
        nn.Conv2d(6, 6, 7, padding=3, groups=6, stride=2),
        nn.Conv2d(6, 6, 7, groups=6),
        nn.Conv2d(6, 6, 7, padding=6, dilation=2, groups=6),
        nn.Conv2d(6, 6, (5, 7), padding=(2, 3), groups=6),
        nn.Conv2d(6, 6, 7, padding=3, groups=6, padding_mode="reflect"),
    ],
)
def test_other_convolutions_stay(other: nn.Conv2d) -> None:
    speed_up_depthwise(other)
    assert type(other) is nn.Conv2d


def test_a_processor_without_the_kernels_keeps_torch_s_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    model = nn.Conv2d(6, 6, 7, padding=3, groups=6)
    speed_up_depthwise(model)
    assert type(model) is nn.Conv2d


def test_the_names_of_a_network_s_weights_stay() -> None:
    model = SliceClassifier(SliceClassifierConfig("test_convnext", 14, 64))
    names = list(model.state_dict())
    speed_up_depthwise(model)
    assert list(model.state_dict()) == names
    assert sum(isinstance(module, DepthwiseConv2d) for module in model.modules()) >= 4
