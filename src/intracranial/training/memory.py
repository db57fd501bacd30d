"""What to do when a batch does not fit into memory: measured, said, and never done silently."""

from collections.abc import Callable

import torch

PLAIN_ERRORS = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Words of a plain RuntimeError of the CPU's allocator, of the CUDA driver, and of CUDA libraries
that found no room for their workspace or, not initialized, for their handle."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation has failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in PLAIN_ERRORS)
    )


def largest_fitting(attempt: Callable[[int], None], size: int) -> int:
    """Half of `size`, a quarter and so on, until an attempt fits; 0 when a single member does not.

    Args:
        attempt: computes a piece of the given size, and may run out of memory.
        size: members of the piece that did not fit.
    """
    while size > 1:
        size = (size + 1) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            attempt(size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        else:
            return size
    return 0


def advice(piece: int, fitting: int, batch: int, accumulate: int, processes: int) -> str:
    """Words for the user.

    Args:
        piece: members of the piece that did not fit.
        fitting: members of the largest piece that did, 0 for none.
        batch: members of the batch, over all processes.
        accumulate: pieces per batch and process of this run.
        processes: that train together.
    """
    said = f"out of memory: a piece of {piece} does not fit"
    if not fitting:
        return f"{said}, nor does a single one: choose a smaller network or input"
    pieces = min(accumulate * -(-piece // fitting), batch)
    return (
        f"{said}, {fitting} went through forward, backward and update. Give --accumulate "
        f"{pieces}: the same batch and gradient in smaller pieces; or "
        f"--batch_size {fitting * accumulate * processes}, which is another training. Nothing was "
        "changed by itself"
    )
