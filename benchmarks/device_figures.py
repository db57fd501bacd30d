"""Figures of the device: matrix rate, operations of a pass, memory, share of the rate that is used.

The rate is that of a large dense product at the precision in use, measured on the same device.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.side_by_side import NO_CUDA, print_table, synchronise
from src.compute import Compute

PRODUCT_EDGE = {"cuda": 8192, "cpu": 2048}
"""Edge of the square matrices: large enough to be limited by arithmetic."""

PRODUCTS = 5

TRAINING_PASSES = 3
"""A step costs three forward passes: the gradients of inputs and of weights cost one each. They are
not counted, as torch's counter takes those of a grouped convolution for those of a dense one."""


def matrix_rate(compute: Compute) -> float:
    """Operations per second of a dense product, a multiplication and an addition being two."""
    edge = PRODUCT_EDGE[compute.device.type]
    left, right = (
        torch.randn(edge, edge, device=compute.device, dtype=compute.dtype) for _ in range(2)
    )
    seconds = []
    for _ in range(PRODUCTS + 1):
        synchronise(compute.device)
        start = time.perf_counter()
        left @ right
        synchronise(compute.device)
        seconds.append(time.perf_counter() - start)
    return 2 * edge**3 / median(seconds[1:])


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of convolutions, products and attention in one run."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def forget_peak(compute: Compute) -> None:
    """Let the peak of device memory begin anew."""
    if compute.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(compute.device)


def peak_gib(compute: Compute) -> str:
    """Peak of device memory since `forget_peak`, in words."""
    if compute.device.type != "cuda":
        return f"not run: {NO_CUDA}"
    return f"{torch.cuda.max_memory_allocated(compute.device) / 2**30:.1f}"


def print_utilisation(compute: Compute, flops: int, seconds: dict[str, float], unit: str) -> None:
    """Print which share of the device's matrix rate each way uses.

    Args:
        compute: device and precision.
        flops: operations per unit of work.
        seconds: wall time per unit by way.
        unit: its name.
    """
    rate = matrix_rate(compute)
    precision = str(compute.dtype).removeprefix("torch.")
    title = (
        f"{flops / 1e9:.1f} Gflop a {unit}; measured dense {precision} rate "
        f"{rate / 1e12:.2f} Tflop/s; peak device memory, GiB: {peak_gib(compute)}"
    )
    rows = [
        [name, f"{flops / taken / 1e12:.3f}", f"{100 * flops / taken / rate:.1f} %"]
        for name, taken in seconds.items()
    ]
    print_table(title, ["way", "Tflop/s", "share of the rate"], rows)
