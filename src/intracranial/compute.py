"""Device, precision and memory format, chosen in one place with a reason that is printed once."""

import os
import re
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from urllib.parse import urlparse

import torch

from intracranial.errors import UsageError

PRECISIONS = ("auto", "bf16", "fp16", "fp32")

NO_DETERMINISTIC_KERNEL = " does not have a deterministic implementation"
"""What torch says about an operator after its name."""

MOST_LOADING = 8
"""Processes that load data for one GPU, where there are cores for them."""


@dataclass(frozen=True)
class Compute:
    """Where and how networks run.

    `dtype` is the autocast dtype, float32 for none; `scaled` says that gradients need a scaler;
    `reason` is one line for the log.
    """

    device: torch.device
    dtype: torch.dtype
    scaled: bool
    reason: str

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which a forward pass runs."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        """Move a tensor to the device; image batches (B, C, H, W) become channels_last."""
        moved = tensor.to(self.device, non_blocking=True)
        if moved.ndim == 4:
            moved = moved.contiguous(memory_format=torch.channels_last)
        return moved


def _cpu_has_fast_bf16() -> bool:
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def choose_compute(device: str = "auto", precision: str = "auto") -> Compute:
    """Choose device and precision.

    `auto` precision is bf16 where the device has instructions for it (GPUs from Ampere on, CPUs
    with AVX512-BF16 or AMX), else fp16 with gradient scaling on CUDA, else fp32. That is IEEE
    float32 everywhere: from here on CUDA takes no TF32 in this process, neither for convolutions,
    torch's default, nor for products of matrices. bf16 gives that speed on the same GPUs.

    Raises:
        UsageError: unknown names, no such CUDA device, fewer of them than processes on this
            machine, or fp16 on a CPU.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: choose from {', '.join(PRECISIONS)}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return _cpu_compute(precision)
    chosen = _cuda_device(device)
    name = torch.cuda.get_device_name(chosen)
    ampere = torch.cuda.get_device_capability(chosen) >= (8, 0)
    if precision == "auto":
        precision = "bf16" if ampere else "fp16"
        why = "it has bf16 units" if ampere else "it has no bf16 units, so fp16 with scaling"
    else:
        why = "as asked"
    if precision == "fp32":
        why += ", no TF32"
    _leave_tf32_out()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    return Compute(chosen, dtype, precision == "fp16", f"{name}, {precision}: {why}")


def _cuda_device(device: str) -> torch.device:
    """The device of this process, from here on torch's current one: streams and events are its."""
    if device != "cuda" and not device.removeprefix("cuda:").isdigit():
        raise UsageError(f"--device {device}: give auto, cpu, cuda or cuda:INDEX")
    if not torch.cuda.is_available():
        raise UsageError(f"--device {device}: torch sees no CUDA device; use --device cpu")
    visible, processes = torch.cuda.device_count(), _local_count()
    # a launcher that binds shows each process a device of its own, as number 0
    bound = visible == 1 and "CUDA_VISIBLE_DEVICES" in os.environ
    if processes > 1 and not bound:
        if device != "cuda":
            raise UsageError(
                f"--device {device}: {processes} processes of this machine would share it; give "
                "--device cuda, which takes one for each, or start one process"
            )
        if processes > visible:
            raise UsageError(
                f"--device {device}: {processes} processes on this machine, and {visible} CUDA "
                "devices that each of them sees: start as many processes as devices (torchrun "
                "--nproc_per_node, srun --ntasks-per-node), or ask for more (srun "
                "--gpus-per-task 1)"
            )
    index = int(device.removeprefix("cuda:")) if device != "cuda" else _local_index() % visible
    if index >= visible:
        raise UsageError(f"--device {device}: there are {visible} CUDA devices")
    chosen = torch.device("cuda", index)
    torch.cuda.set_device(chosen)
    return chosen


def _leave_tf32_out() -> None:
    # the spelling that every torch from 2.6 on knows
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def is_cuda(device: str) -> bool:
    """Whether the device that `choose_compute` chooses for this name is a CUDA device."""
    return device != "cpu" and torch.cuda.is_available()


def loading_processes(wanted: int | None, device: str) -> int:
    """How many processes load training data: as wanted, or what suits the device of this name.

    On a CPU they take the cores from the training, see benchmarks/training.py.
    """
    if wanted is not None:
        return wanted
    if not is_cuda(device):
        return 0
    return max(1, min(MOST_LOADING, len(os.sched_getaffinity(0)) // _local_count()))


def _local_index() -> int:
    """Number of this process among those of its machine, as torchrun or srun says; else 0."""
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))


def _local_count() -> int:
    """Number of processes on this machine, as torchrun or srun says; else 1.

    srun's SLURM_STEP_TASKS_PER_NODE lists machines, such as `4(x2),3`. They are taken to be equal.
    """
    said = os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1"))
    return int(re.split(r"\D", said)[0] or 1)


def _cpu_compute(precision: str) -> Compute:
    if precision == "fp16":
        raise UsageError("--precision fp16 needs a CUDA device; use bf16 or fp32 on a CPU")
    why = "as asked"
    if precision == "auto":
        fast = _cpu_has_fast_bf16()
        precision = "bf16" if fast else "fp32"
        why = "the processor has bf16 instructions" if fast else "no bf16 instructions"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    threads = torch.get_num_threads()
    return Compute(
        torch.device("cpu"), dtype, False, f"CPU with {threads} threads, {precision}: {why}"
    )


def make_deterministic() -> None:
    """Use only kernels of torch that give the same bits every time; on a CPU nothing changes.

    An operation without such a kernel on CUDA raises: see `determinism_explained`. Other chips,
    other versions of torch, CUDA or cuDNN, and another number of processes still give other bits.
    """
    # cuBLAS reads it when its first handle is made (CUDA documentation, cublasApi_reproducibility)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # filling only finds bugs, and takes time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)


@contextmanager
def determinism_explained() -> Iterator[None]:
    """Context of what networks compute after `make_deterministic`.

    Raises:
        UsageError: an operation has no kernel that gives the same bits every time.
    """
    try:
        yield
    except RuntimeError as error:
        name, found, _ = str(error).partition(NO_DETERMINISTIC_KERNEL)
        if not found:
            raise
        raise UsageError(
            f"--deterministic: torch's {name.split()[-1]} has no deterministic kernel on this "
            "device; leave the flag out, choose another network, or --device cpu"
        ) from None


def compile_network(model: torch.nn.Module) -> None:
    """Compile a network's passes in place with torch.compile; weights and their names stay.

    What cannot be compiled runs as it is, and torch warns.
    """
    import torch._dynamo  # seconds, so only here

    torch._dynamo.config.suppress_errors = True
    model.compile()


def spare_hub_retries() -> None:
    """Tell huggingface_hub to use its cache only when its host cannot be reached.

    Without this, a machine without a network waits through minutes of retries. A proxy may
    resolve names for us, so then nothing is assumed.
    """
    from huggingface_hub import constants

    if urllib.request.getproxies():
        return
    try:
        socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
