"""Run one job per series in worker processes that may die without taking the run along."""

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from src.imaging.worker import Job, Outcome, cache_series, prepare_worker

DIED = (
    "the process that read this series died (killed for memory, or a crash in a decoder); rerun "
    "the same command to try it again, with fewer --num_workers if memory is short"
)


def run_jobs(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Outcome of every job, in order of completion.

    When a worker dies the pool breaks with all that is in flight. Those few series are then run
    one at a time: the one that kills its process again is rejected, the others are done.

    Raises:
        OSError: a file could not be written; jobs that have not started are dropped.
    """
    if workers == 0:
        yield from map(cache_series, jobs)
        return
    pending = deque(jobs)
    while pending:
        suspects: list[Job] = []
        yield from _until_break(pending, workers, suspects)
        for job in suspects:
            alone, killers = deque([job]), list[Job]()
            yield from _until_break(alone, 1, killers)
            if alone or killers:
                yield Outcome(job.uid, code="worker_died", message=DIED)


def _until_break(pending: deque[Job], workers: int, suspects: list[Job]) -> Iterator[Outcome]:
    """Run jobs off `pending`; if the pool breaks, what was in flight goes to `suspects`."""
    flying: dict[Future[Outcome], Job] = {}
    pool = worker_pool(workers)
    try:
        while pending or flying:
            while pending and len(flying) <= workers:  # one waits, so that no worker does
                flying[pool.submit(cache_series, pending[0])] = pending[0]
                pending.popleft()
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                del flying[future]
                yield outcome
    except BrokenProcessPool:
        suspects += flying.values()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Processes that read series; they leave when this process is killed."""
    # Never fork: OpenCV and the decoders may hold locks.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["src.imaging.worker"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker)
