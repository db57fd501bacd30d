"""Training as several processes on one or many machines (torch.distributed).

torchrun starts the processes. Without it nothing here is initialised: there is one process, it is
the first, and sums over processes are the values themselves. Only the first process writes files.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from intracranial.compute import choose_compute
from intracranial.errors import InputError, PipelineError, Preempted, UsageError
from intracranial.processes.team import Rank, find_rank
from intracranial.runlog import log
from intracranial.training.stop_notice import StopNotice

PATIENCE = timedelta(hours=1)
"""How long processes wait for each other: for the slowest one to read, to compile, or to save. If
no launcher ends the others, a process that dies silently costs at most this long."""

JOINING = timedelta(minutes=10)
"""How long processes wait until all are there: a cluster starts them within minutes."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class OtherStopped(PipelineError):
    """Another process has stopped, and has said why; the exit code is its."""


def process_count() -> int:
    """Number of processes that train together; 1 without torchrun."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def process_index() -> int:
    """Number of this process, 0 without torchrun."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes files."""
    return process_index() == 0


@contextmanager
def processes(device: str) -> Iterator[None]:
    """Join the processes that torchrun has started, for the length of the block.

    Args:
        device: the option; CUDA devices speak through NCCL, CPUs through gloo.

    Raises:
        UsageError: there are several processes, and nothing says how they reach each other, or
            they would share a GPU.
        InputError: they do not reach each other.
        OtherStopped: another process has stopped, with its exit code and reason.
        Preempted: another process was lost without a word.
    """
    rank = find_rank()
    if rank is None:
        yield
        return
    if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
        raise UsageError(
            f"{rank.count} processes were started without MASTER_ADDR and MASTER_PORT: start the "
            "training with torchrun, or one process with python"
        )
    place = choose_compute(device).device
    with StopNotice(rank) as notice:
        with _meeting(rank):
            store, _, _ = next(
                distributed.rendezvous("env://", rank.index, rank.count, timeout=JOINING)
            )
            store.set(f"here {rank.index}", "")
            # one that is lost from here on is waited for in a collective, for longer
            store.wait([f"here {index}" for index in range(rank.count)], JOINING)
        notice.speak_through(store)
        try:
            with _meeting(rank):
                _join(rank, store, place)
            if rank.index:
                _speak_of_problems_only()
            yield
            distributed.barrier()
        except Exception as error:
            raise _explained(error, rank, notice) from error
        distributed.destroy_process_group()


def _join(rank: Rank, store: distributed.Store, place: torch.device) -> None:
    on_cuda = place.type == "cuda"
    distributed.init_process_group(
        "nccl" if on_cuda else "gloo",
        store=store,
        rank=rank.index,
        world_size=rank.count,
        timeout=PATIENCE,
        device_id=place if on_cuda else None,
    )
    # what is set up wrongly shows here, before an error means that a process was lost
    present = torch.ones(1, device=place)
    distributed.all_reduce(present)
    present.item()  # NCCL tells of its errors when its work is waited for


@contextmanager
def _meeting(rank: Rank) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            f"process {rank.index} of {rank.count} cannot work together with the others: "
            f"{_gist(error)}. Can all machines reach MASTER_ADDR, has each process a GPU of its "
            "own, and is there room in /dev/shm? NCCL_DEBUG=INFO in the environment says more"
        ) from error


def _gist(error: Exception) -> str:
    """An error's first line, and the last error of NCCL where it is quoted behind it."""
    text = str(error).strip()
    _, quoted, last = text.partition("Last error:")
    lines = [text.partition("\n")[0], *([last.strip().partition("\n")[0]] if quoted else [])]
    return "; ".join(line.rstrip(". ") for line in lines if line)


def _speak_of_problems_only() -> None:
    for handler in log.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.WARNING)


def _explained(error: Exception, rank: Rank, notice: StopNotice) -> Exception:
    """The error itself if it began here, else what the process said in which it began."""
    if isinstance(error, OtherStopped):
        return error
    if not _is_lost_contact(error):
        notice.say(error)
        return error
    said = notice.wait()
    if said is not None:
        return _other_stopped(*said)
    return Preempted(
        f"process {rank.index} of {rank.count} has lost another one, which left no message "
        "(killed, or out of memory?); the same command, without --overwrite, resumes from the "
        f"last checkpoint ({_gist(error)})"
    )


def _is_lost_contact(error: Exception) -> bool:
    # gloo raises a plain RuntimeError that names its own source file
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error).lower()
    )


def _other_stopped(code: int, words: str) -> OtherStopped:
    stopped = OtherStopped(f"stopped because of {words}")
    stopped.exit_code = code
    return stopped


def on_first(function: Callable[[], ResultT]) -> ResultT:
    """Call a function in the first process only; its result is known to all, and so is its error.

    Raises:
        OtherStopped: in the other processes, when it raised a `PipelineError` in the first one.
    """
    if process_count() == 1:
        return function()
    told: list[Any] = [None, None]
    failure: PipelineError | None = None
    if is_first():
        try:
            told = [function(), None]
        except PipelineError as error:
            failure = error
            told = [None, (error.exit_code, f"process 0 of {process_count()}: {error}")]
    distributed.broadcast_object_list(told, src=0)
    if failure is not None:
        raise failure
    if told[1] is not None:
        raise _other_stopped(*told[1])
    result: ResultT = told[0]
    return result


def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes; the tensor itself when there is one."""
    if process_count() > 1:
        distributed.all_reduce(tensor)
    return tensor


def share_work(
    items: Sequence[ItemT], work: Callable[[Sequence[ItemT]], Sequence[ResultT]]
) -> list[ResultT]:
    """Let every process work on its share of the items, and give all of them all results.

    An error in one process ends the others through `StopNotice`, as at any other place.

    Args:
        items: the same in every process.
        work: makes as many results as its share has items, which may be none.

    Returns:
        The results in the items' order.
    """
    count = process_count()
    own = list(work(items[process_index() :: count]))
    if count == 1:
        return own
    shares: list[Any] = [None] * count
    distributed.all_gather_object(shares, own)
    return [shares[number % count][number // count] for number in range(len(items))]


def take_buffers_of_first(model: nn.Module) -> None:
    """Give a network the buffers that it has in the first process.

    Statistics of a batch normalisation are of the pieces that a process has seen; weights are the
    same everywhere.
    """
    if process_count() > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)


def wait_for_all() -> None:
    """Return when every process has called this."""
    if process_count() > 1:
        distributed.barrier()


def shared(
    model: nn.Module, device: torch.device, loss: Callable[[nn.Module], torch.Tensor]
) -> nn.Module:
    """The network as all processes train it together; the network itself when there is one.

    The wrapper averages gradients over processes: multiply a loss that is already normalised over
    all of them by `process_count`.

    Args:
        model: placed network.
        device: where it is.
        loss: computes a loss with the network; parameters without a part in it are frozen, since
            the wrapper would wait for their gradients, or search for them at every step.
    """
    if process_count() == 1:
        return model
    freeze_unused(model, lambda: loss(model))
    network = DistributedDataParallel(
        model, device_ids=[device.index] if device.type == "cuda" else None
    )
    _settle(network, loss)
    return network


def _settle(network: nn.Module, loss: Callable[[nn.Module], torch.Tensor]) -> None:
    """Make a backward pass, after which the wrapper divides the gradients for good.

    It orders them anew by when they come in its first one. Three and more processes add them up in
    an order that depends on their places: a resumed training would differ from an undisturbed one
    in its first step.
    """
    network.eval()  # a training pass would change the statistics of a batch normalisation
    with torch.compiler.set_stance("force_eager"):
        loss(network).backward()
    network.zero_grad(set_to_none=True)
    network.train()


def freeze_unused(model: nn.Module, loss: Callable[[], torch.Tensor]) -> None:
    """Freeze parameters that take no part in a loss, as some of stage 2 without logits.

    An optimizer passes over them either way, so that one process trains the same weights.

    Args:
        model: whose buffers and gradients do not change.
        loss: computes it with `model`.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = model.training
    model.eval()  # a training pass would change the statistics of a batch normalisation
    with torch.compiler.set_stance("force_eager"):
        gradients = torch.autograd.grad(loss(), trained, allow_unused=True)
    model.train(training)
    for parameter, gradient in zip(trained, gradients, strict=True):
        if gradient is None:
            parameter.requires_grad_(False)


def without_sync(model: nn.Module) -> AbstractContextManager[None]:
    """Context of every piece of a batch but the last: gradients stay in their process."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()
