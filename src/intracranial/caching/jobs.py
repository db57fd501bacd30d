"""One call per series in worker processes: results as they come, whatever becomes of a process."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice
from typing import TypeVar

from intracranial.caching.job import Job, Outcome, cache_series
from intracranial.processes.pool import WorkerDied, WorkerPool

AHEAD = 2
"""Calls begun before their results are needed, per process: bounds memory."""

DIED = (
    "the process that read this series died twice (killed for memory, stopped, or a crash in a "
    "decoder); try it again, with fewer --num_workers if memory is short"
)
TIMED_OUT = (
    "reading took more than {seconds:g} s and was ended; try it again, with a larger "
    "--max_series_seconds if the series is sound"
)

SeriesT = TypeVar("SeriesT")
ResultT = TypeVar("ResultT")


def in_workers(
    call: Callable[..., ResultT],
    series: Iterable[SeriesT],
    shared: tuple[object, ...],
    workers: int,
    seconds: float,
    lost: Callable[[SeriesT, str, str], ResultT],
    in_order: bool,
) -> Generator[ResultT, None, None]:
    """Result of `call(one, *shared)` for every one of the series.

    A call that is ended by the time limit is lost as `timed_out`. A call whose process dies
    otherwise may be the victim of another one's need of memory: it runs once more, alone, and is
    lost as `worker_died` if that process dies too.

    Args:
        call: what a process runs; it and its arguments must be picklable.
        series: the calls start in this order, a few ahead of the results.
        shared: further arguments, the same for all.
        workers: processes; 0 calls in this process, where no time limit holds.
        seconds: wall-clock limit of one call.
        lost: makes the result of a lost one from it, the reason's code and its words.
        in_order: results come in the order of the series, and a second try waits for the calls
            that have begun; else they come in order of completion, second tries last.

    Raises:
        InputError: a process could not be started.
        Exception: whatever a call raises; calls that are not done are dropped.
    """
    if workers == 0:
        yield from (call(one, *shared) for one in series)
        return

    def result(future: Future[ResultT], one: SeriesT) -> ResultT:
        try:
            return future.result()
        except WorkerDied as death:
            if not death.timed_out:
                raise
            return lost(one, "timed_out", TIMED_OUT.format(seconds=seconds))

    def alone(one: SeriesT) -> ResultT:
        with WorkerPool(1, seconds) as pool:
            try:
                return result(pool.submit(call, one, *shared), one)
            except WorkerDied:
                return lost(one, "worker_died", DIED)

    remaining = iter(series)
    begun: dict[Future[ResultT], SeriesT] = {}
    again: list[SeriesT] = []
    with WorkerPool(workers, seconds) as pool:

        def begin() -> None:
            for one in islice(remaining, AHEAD * workers - len(begun)):
                begun[pool.submit(call, one, *shared)] = one

        begin()
        while begun:
            if not in_order:
                wait(begun, return_when=FIRST_COMPLETED)
            future = next(found for found in begun if in_order or found.done())
            one = begun.pop(future)
            begin()
            try:
                found = result(future, one)
            except WorkerDied:
                if not in_order:
                    again.append(one)
                    continue
                wait(begun)
                found = alone(one)
            yield found
    yield from map(alone, again)


def run_jobs(jobs: Sequence[Job], workers: int, seconds: float) -> Iterator[Outcome]:
    """Outcome of every job, in order of completion; `in_workers` tells the arguments.

    Raises:
        OSError: a file could not be written; jobs that are not done are dropped.
        InputError: a process could not be started.
    """
    return in_workers(cache_series, jobs, (), workers, seconds, _lost, in_order=False)


def _lost(job: Job, code: str, words: str) -> Outcome:
    return Outcome(job.uid, code=code, message=words)
