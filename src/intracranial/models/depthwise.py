"""Depthwise convolutions that train fast on a CPU.

torch (oneDNN) has no depthwise kernel for the weight gradient of kernels wider than 3 x 3: it takes
the one for dense groups, which costs ten times the forward pass and most of what bf16 saves in
ConvNeXt and EfficientNet. Here the forward kernel computes it. The gradient of a depthwise
convolution correlates each channel's input x with its output gradient g, which is again a depthwise
convolution, of x with g for a kernel. A map is cut into tiles, as kernels of whole maps are slow;
each tile of each image is a channel of its own, and their results are added up.

Measured: LOG.md and benchmarks/training.py.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

SMALLEST_KERNEL = 5
"""Edge of the smallest kernel; oneDNN has a fast gradient for 3 x 3."""

TILE = 28
"""Largest edge of a tile in pixels: of 7, 14 and 28 the best for maps of 56 and 112."""

TILES_AT_ONCE = 2048
"""Channels times tiles of one call, so that its input stays in the cache; one image at least."""


@torch.library.custom_op("intracranial::depthwise_weight_gradient", mutates_args=())
def depthwise_weight_gradient(
    gradient: torch.Tensor, inputs: torch.Tensor, edge: int
) -> torch.Tensor:
    """Weight gradient of a depthwise convolution of stride 1 that keeps the map's size.

    An operation of its own, so that torch.compile calls it as it is.

    Args:
        gradient: of the output, (B, C, H, W), float32 or bfloat16.
        inputs: the convolution's input, (B, C, H, W), of the same dtype.
        edge: of the kernel, odd; the convolution pads edge // 2.

    Returns:
        (C, 1, edge, edge) float32. A tile's sums have the precision of the dtype.
    """
    _, channels, height, width = inputs.shape
    tiles = -(-height // TILE), -(-width // TILE)
    tile = -(-height // tiles[0]), -(-width // tiles[1])
    below, right = tiles[0] * tile[0] - height, tiles[1] * tile[1] - width
    border = edge // 2
    images = max(1, TILES_AT_ONCE // (tiles[0] * tiles[1] * channels))
    total = inputs.new_zeros(edge, edge, channels, dtype=torch.float32)
    for x, g in zip(inputs.split(images), gradient.split(images), strict=True):
        x = functional.pad(x, (border, border + right, border, border + below))
        if below or right:
            g = functional.pad(g, (0, right, 0, below))
        windows = _tiles(x, tile, tiles, edge - 1)
        kernels = _tiles(g, tile, tiles, 0)
        grouped = windows.flatten(2)[None].permute(0, 3, 1, 2)  # channels last
        kernels = kernels.flatten(2).permute(2, 0, 1)[:, None].contiguous()
        sums = functional.conv2d(grouped, kernels, groups=len(kernels))
        by_tile = sums.permute(0, 2, 3, 1).reshape(edge, edge, -1, channels)
        total += by_tile.sum(dim=2, dtype=torch.float32)
    return total.permute(2, 0, 1)[:, None].contiguous()


@depthwise_weight_gradient.register_fake
def _(gradient: torch.Tensor, inputs: torch.Tensor, edge: int) -> torch.Tensor:
    return inputs.new_empty(inputs.shape[1], 1, edge, edge, dtype=torch.float32)


def _tiles(
    maps: torch.Tensor, tile: tuple[int, int], tiles: tuple[int, int], overlap: int
) -> torch.Tensor:
    """Cut (B, C, H, W) into (tile[0] + overlap, tile[1] + overlap, B, *tiles, C)."""
    image, channel, row, column = maps.stride()
    shape = (tile[0] + overlap, tile[1] + overlap, len(maps), *tiles, maps.shape[1])
    strides = (row, column, image, tile[0] * row, tile[1] * column, channel)
    return maps.as_strided(shape, strides, maps.storage_offset()).contiguous()


class _Convolution(torch.autograd.Function):
    """A depthwise convolution of stride 1 that keeps the map's size."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(inputs, weight)
        return functional.conv2d(
            inputs, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight)
        )

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,  # noqa: ANN401
        gradient: torch.Tensor,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        inputs, weight = ctx.saved_tensors
        of_input, of_weight, of_bias = ctx.needs_input_grad
        edge, channels = weight.shape[-1], len(weight)
        found, _, _ = torch.ops.aten.convolution_backward(
            gradient,
            inputs,
            weight,
            None,
            [1, 1],
            [edge // 2] * 2,
            [1, 1],
            False,
            [0, 0],
            channels,
            [of_input, False, False],
        )
        kernels = torch.empty_like(weight) if of_weight else None  # with the strides of the weight
        if kernels is not None:
            kernels.copy_(depthwise_weight_gradient(gradient, inputs, edge))
        return found, kernels, gradient.sum((0, 2, 3)) if of_bias else None


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` of stride 1 with a weight gradient of its own."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve (B, C, H, W); as torch does where no gradient is wanted."""
        if not torch.is_grad_enabled() or input.device.type != "cpu":
            return super().forward(input)
        dtype = input.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        bias = None if self.bias is None else self.bias.to(dtype)
        found: torch.Tensor = _Convolution.apply(input.to(dtype), self.weight.to(dtype), bias)
        return found


def speed_up_depthwise(model: nn.Module) -> None:
    """Let a network's depthwise convolutions train fast on this processor, if they can.

    Parameters, their names and the forward pass stay as they are. Nothing changes on processors
    without AVX512, for which oneDNN has other kernels.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.enabled:
        return
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_fit(module):
            module.__class__ = DepthwiseConv2d


def _is_fit(convolution: nn.Conv2d) -> bool:
    edge = convolution.kernel_size[0]
    return (
        convolution.groups == convolution.in_channels == convolution.out_channels
        and convolution.kernel_size == (edge, edge)
        and edge >= SMALLEST_KERNEL
        and edge % 2 == 1
        and convolution.stride == (1, 1)
        and convolution.dilation == (1, 1)
        and convolution.padding == (edge // 2, edge // 2)
        and convolution.padding_mode == "zeros"
    )
