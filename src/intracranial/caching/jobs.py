"""One job per series in worker processes: outcomes as they come, whatever becomes of a process."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed

from intracranial.caching.job import Job, Outcome, cache_series
from intracranial.processes.pool import WorkerDied, WorkerPool

DIED = (
    "the process that read this series died (killed for memory, stopped, or a crash in a decoder); "
    "rerun the same command to try it again, with fewer --num_workers if memory is short"
)
TIMED_OUT = (
    "reading took more than {seconds:g} s and was ended; rerun the same command to try it again, "
    "with a larger --max_series_seconds if the series is sound"
)


def run_jobs(jobs: Sequence[Job], workers: int, seconds: float) -> Iterator[Outcome]:
    """Outcome of every job, in order of completion.

    A job that is ended by the time limit is rejected as `timed_out`. A job whose process dies
    otherwise may be the victim of another one's need of memory: it runs once more when all others
    are done, with nothing beside it, and is rejected as `worker_died` if that process dies too.

    Args:
        jobs: started in this order.
        workers: processes; 0 runs the jobs in this process, where no time limit holds.
        seconds: wall-clock limit of one job.

    Raises:
        OSError: a file could not be written; jobs that are not done are dropped.
        InputError: a process could not be started.
    """
    if workers == 0:
        yield from map(cache_series, jobs)
        return
    again: list[Job] = []
    with WorkerPool(workers, seconds) as pool:
        futures = {pool.submit(cache_series, job): job for job in jobs}
        for future in as_completed(futures):
            outcome = _outcome(future, futures[future], seconds)
            if outcome.code == "worker_died":
                again.append(futures[future])
            else:
                yield outcome
    with WorkerPool(1, seconds) as pool:
        for job in again:
            yield _outcome(pool.submit(cache_series, job), job, seconds)


def _outcome(future: Future[Outcome], job: Job, seconds: float) -> Outcome:
    try:
        return future.result()
    except WorkerDied as death:
        if death.timed_out:
            return Outcome(job.uid, code="timed_out", message=TIMED_OUT.format(seconds=seconds))
        return Outcome(job.uid, code="worker_died", message=DIED)
