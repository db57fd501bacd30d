"""Figures of the device: matrix rate, operations of a pass, memory, share of the rate that is used.

The rate is that of a large dense product at the precision in use, measured on the same device.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.side_by_side import NO_CUDA, Measured, print_table, synchronise
from intracranial.compute import Compute

PRODUCT_EDGE = {"cuda": 8192, "cpu": 2048}
"""Edge of the square matrices: large enough to be limited by arithmetic."""

PRODUCTS = 5

LIMIT = "times as fast at the whole rate"
"""How much faster a way would be if the device did nothing but its products, at the full rate."""

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


def with_peaks(
    ways: Mapping[str, Callable[[], Measured]], device: torch.device, peaks: dict[str, float]
) -> dict[str, Callable[[], Measured]]:
    """The ways; each then leaves the peak of device memory in GiB, of all its rounds, in `peaks`.

    Nothing is left on a CPU.
    """
    if device.type != "cuda":
        return dict(ways)

    def watched(name: str, way: Callable[[], Measured]) -> Measured:
        torch.cuda.reset_peak_memory_stats(device)
        found = way()
        peaks[name] = max(peaks.get(name, 0.0), torch.cuda.max_memory_allocated(device) / 2**30)
        return found

    return {name: partial(watched, name, way) for name, way in ways.items()}


def print_utilisation(
    compute: Compute,
    flops: int,
    seconds: Mapping[str, float],
    unit: str,
    peaks: Mapping[str, float],
) -> None:
    """Print which share of the device's matrix rate each way uses, and its memory.

    The rate is of `compute`'s precision for all ways, also for one in float32: it says how far the
    device is from what it could do.

    Args:
        compute: device and precision.
        flops: operations per unit of work.
        seconds: wall time per unit by way.
        unit: its name.
        peaks: GiB of device memory by way, see `with_peaks`.
    """
    rate = matrix_rate(compute)
    precision = str(compute.dtype).removeprefix("torch.")
    title = (
        f"{flops / 1e9:.1f} Gflop a {unit}; measured dense {precision} rate "
        f"{rate / 1e12:.2f} Tflop/s"
    )
    rows = [
        [
            name,
            f"{flops / taken / 1e12:.3f}",
            f"{100 * flops / taken / rate:.1f} %",
            f"{rate * taken / flops:.1f}",
            f"{peaks[name]:.1f}" if name in peaks else f"not run: {NO_CUDA}",
        ]
        for name, taken in seconds.items()
    ]
    head = ["way", "Tflop/s", "share of the rate", LIMIT, "device memory, GiB"]
    print_table(title, head, rows)
