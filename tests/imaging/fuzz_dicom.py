"""Read thousands of damaged DICOM series and show that none of them breaks the reader.

Each series is one damaged file (see tests/imaging/fuzz_mutations.py), read by `read_series` in a
worker process under a limit of time and memory, with both readers. A series may be read or rejected
with a `SeriesError`; everything else is a failure:

    internal   another exception than SeriesError
    invalid    pixels that are not finite float32, or not as many as slices
    differ     the scan and the pydicom reader do not give the same
    timeout    no answer within the time limit
    died       the worker ended: a crash in native code, or killed for memory
    memory     resident memory grew by more than the limit

Exit code 1 when there were failures, 3 when the time was over before the count, else 0. The seed
and a number name a file: go on where a run ended with `--first N`, look at one file again with
`--first N --count 1`.

    python -m tests.imaging.fuzz_dicom --count 10000 --minutes 10 --keep fuzz
"""

import json
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

import numpy as np

from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import ReadLimits, Series, SeriesError, read_series
from intracranial.runlog import run_tool
from intracranial.surroundings import OwnModules, leave
from tests.imaging.fuzz_mutations import MUTATIONS, mutate
from tests.imaging.fuzz_samples import Sample, make_corpus

READERS: tuple[Literal["scan", "pydicom"], ...] = ("scan", "pydicom")
FAILURES = ("internal", "invalid", "differ", "timeout", "died", "memory")
READ = "read"
GIB = 2**30
MIB = 2**20

ADDRESS_SPACE = 4 * GIB
"""Bytes beyond what a worker has mapped at its start: a runaway allocation raises MemoryError here
before the machine swaps. Twice the limit on resident memory, because reserving costs nothing."""

START_SECONDS = 120.0
"""A new worker imports numpy, pydicom and torch first, and a busy disk takes its time."""

EXIT_FAILURES, EXIT_UNFINISHED = 1, 3


@dataclass(frozen=True)
class Options:
    """How much to read."""

    count: int = 10_000
    """Number of damaged files."""

    minutes: float = 10.0
    """No new file is begun after this time."""

    seed: int = 0
    """Names the sequence of files."""

    first: int = 0
    """Number of the first file."""

    keep: Path | None = None
    """Folder for the files that failed, each with a report."""

    record: Path | None = None
    """JSON file for the figures."""

    seconds: float = 5.0
    """Time limit of one series and one reader."""

    max_gib: float = 0.5
    """Allocation limit that the reader is given, GiB of float32 pixels or of inflated data."""

    rss_gib: float = 1.5
    """Growth of resident memory that counts as a failure, GiB."""

    num_workers: int = 1
    """Worker processes."""

    only: tuple[str, ...] = ()
    """Names of the mutations to use; all when empty."""


@dataclass
class Result:
    """What became of one damaged file."""

    index: int
    mutation: str
    sample: str
    outcome: str
    """READ, the code of a SeriesError, or one of FAILURES."""

    words: str = ""
    seconds: float = 0.0
    """Of the slower reader."""

    rss: int = 0
    """Bytes by which resident memory grew at most."""


@dataclass
class Tally:
    """Figures of one mutation, or of all."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: int = -1
    rss: int = 0

    def add(self, result: Result) -> None:
        """Count one file."""
        self.outcomes[result.outcome] += 1
        self.rss = max(self.rss, result.rss)
        if result.seconds > self.seconds:
            self.seconds, self.slowest = result.seconds, result.index

    @property
    def failed(self) -> int:
        """Number of failures."""
        return sum(self.outcomes[name] for name in FAILURES)


def read_damaged(folder: Path, options: Options, say: Callable[[str], None]) -> Result:
    """Read a folder with both readers; the index and the names of the result are left empty.

    Args:
        folder: the series.
        options: the limits.
        say: is told the name of each reader before it begins.
    """
    found: dict[str, tuple[str, str, Series | None]] = {}
    slowest, before = 0.0, _reset_peak_rss()
    for reader in READERS:
        say(reader)
        start = time.perf_counter()
        found[reader] = _read(folder, ReadLimits(reader=reader, max_gib=options.max_gib))
        slowest = max(slowest, time.perf_counter() - start)
    rss = max(_peak_rss() - before, 0)
    outcome, words = found["scan"][:2]
    failed = [entry for entry in found.values() if entry[0] in FAILURES]
    if failed:
        outcome, words, _ = failed[0]
    elif rss > options.rss_gib * GIB:
        outcome, words = "memory", f"resident memory grew by {rss / GIB:.2f} GiB"
    elif not _same(found["scan"], found["pydicom"]):
        outcome = "differ"
        words = "\n".join(f"{name}: {code} {text}" for name, (code, text, _) in found.items())
    return Result(-1, "", "", outcome, words, slowest, rss)


def _read(folder: Path, limits: ReadLimits) -> tuple[str, str, Series | None]:
    try:
        series = read_series(folder, STANDARD, limits)
    except SeriesError as error:
        return error.code, error.message, None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a panic of a decoder in Rust is no Exception, and a failure too
        return "internal", traceback.format_exc(), None
    pixels = series.pixels
    sound = pixels.dtype == np.float32 and len(pixels) == len(series.sop_uids) > 0
    if not sound or not np.isfinite(pixels).all():
        return "invalid", f"pixels {pixels.dtype} {pixels.shape}", None
    return READ, ", ".join(series.notes), series


def _same(scan: tuple[str, str, Series | None], plain: tuple[str, str, Series | None]) -> bool:
    """Whether both readers gave the same volume and notes, or the same code."""
    if scan[0] != plain[0] or scan[2] is None or plain[2] is None:
        return scan[0] == plain[0]
    same_pixels = scan[2].pixels.tobytes() == plain[2].pixels.tobytes()
    return same_pixels and scan[2].notes == plain[2].notes and scan[2].geometry == plain[2].geometry


def _reset_peak_rss() -> int:
    """Forget the peak of resident memory where Linux lets us; returns the present peak in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass  # then the peak is that since the start, and growth is seen once
    return _peak_rss()


def _peak_rss() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def work(pipe: Connection, options: Options) -> None:
    """A worker: read the numbers that come through the pipe, answer with a `Result` each."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # codecs in C report every damaged stream
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    corpus = make_corpus()
    if sys.platform == "linux":
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESS_SPACE, mapped + ADDRESS_SPACE))
    with tempfile.TemporaryDirectory() as folder:
        damaged = Path(folder) / "damaged.dcm"
        pipe.send(None)
        while (index := pipe.recv()) is not None:
            mutation, sample, data = mutate(corpus, options.seed, index)
            damaged.write_bytes(data)
            names = (mutation, sample)
            result = read_damaged(
                Path(folder), options, lambda reader, names=names: pipe.send((*names, reader))
            )
            result.index, result.mutation, result.sample = index, mutation, sample
            pipe.send(result)


class Worker:
    """One worker process and what it is doing."""

    def __init__(self, options: Options) -> None:
        """Start the process; it is ready when it has answered once."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, options), daemon=True)
        with OwnModules():
            self.process.start()
        theirs.close()
        self.seconds = options.seconds
        self.index: int | None = None
        self.names, self.reader = ("", ""), ""
        self.deadline = time.monotonic() + START_SECONDS

    def give(self, index: int) -> None:
        """Hand over a number."""
        self.index, self.names, self.reader = index, ("", ""), ""
        self.deadline = time.monotonic() + START_SECONDS
        with suppress(BrokenPipeError):  # a dead worker is noticed when it is listened to
            self.pipe.send(index)

    def end(self) -> int | None:
        """Stop the process; its exit code."""
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode

    def listen(self) -> Result | None:
        """Take one message; a result when the series is done or the worker has died."""
        try:
            message = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return self.failed("died", f"the worker ended with code {self.process.exitcode}")
        if isinstance(message, tuple):
            *names, self.reader = message
            self.names = (names[0], names[1])
            self.deadline = time.monotonic() + self.seconds
        return message if isinstance(message, Result) else None

    def failed(self, outcome: str, words: str) -> Result:
        """The result of a series that the worker did not get through.

        Raises:
            RuntimeError: the worker had not begun with any series.
        """
        if self.index is None:
            raise RuntimeError(f"a worker of the fuzzer does not start: {words}")
        mutation, sample = self.names
        mutation = mutation or MUTATIONS[self.index % len(MUTATIONS)].__name__
        return Result(
            self.index, mutation, sample, outcome, f"{self.reader} reader: {words}", self.seconds
        )


def fuzz(options: Options, failed: Callable[[Result], None] = lambda _: None) -> list[Result]:
    """Read the damaged files; results in order of their numbers.

    Args:
        options: how many, and the limits.
        failed: is told every failure at once, so that a run which is stopped keeps what it found.
    """
    chosen = [k for k, one in enumerate(MUTATIONS) if one.__name__ in options.only]
    indices = iter(
        index
        for index in range(options.first, options.first + options.count)
        if not options.only or index % len(MUTATIONS) in chosen
    )
    stop = time.monotonic() + 60 * options.minutes
    results: list[Result] = []
    workers = [Worker(options) for _ in range(options.num_workers)]
    try:
        while workers:
            soonest = min(worker.deadline for worker in workers)
            ready = wait([worker.pipe for worker in workers], max(soonest - time.monotonic(), 0))
            for worker in list(workers):
                if worker.pipe in ready:
                    result = worker.listen()
                elif worker.deadline < time.monotonic():
                    result = worker.failed("timeout", f"no answer in {options.seconds:g} s")
                else:
                    continue
                if result is None and worker.index is not None:
                    continue  # it said what it is about to read
                if result is not None:
                    results.append(result)
                    if result.outcome in FAILURES:
                        failed(result)
                if result is not None and result.outcome in ("timeout", "died"):
                    worker.end()
                    workers[workers.index(worker)] = Worker(options)
                elif time.monotonic() < stop and (index := next(indices, None)) is not None:
                    worker.give(index)
                else:
                    worker.end()
                    workers.remove(worker)
    finally:
        for worker in workers:
            worker.end()
    return sorted(results, key=lambda result: result.index)


def tally(results: list[Result]) -> dict[str, Tally]:
    """Figures by mutation, and of all."""
    found: dict[str, Tally] = defaultdict(Tally)
    for result in results:
        for name in (result.mutation, "all"):
            found[name].add(result)
    return dict(sorted(found.items(), key=lambda entry: (entry[0] == "all", entry[0])))


def table(tallies: dict[str, Tally]) -> str:
    """The figures as text, one line per mutation."""
    lines = [
        f"{'mutation':<20}{'files':>7}{'read':>7}{'failed':>8}{'slowest':>10}{'number':>8}"
        f"{'memory':>9}  rejected by"
    ]
    for name, one in tallies.items():
        codes = ", ".join(
            f"{code} {count}" for code, count in one.outcomes.most_common() if code != READ
        )
        lines.append(
            f"{name:<20}{one.outcomes.total():>7}{one.outcomes[READ]:>7}{one.failed:>8}"
            f"{one.seconds:>8.2f} s{one.slowest:>8}{one.rss / MIB:>5.0f} MiB  {codes}"
        )
    return "\n".join(lines)


def report_failure(result: Result, corpus: list[Sample], options: Options) -> None:
    """Print a failure, and write its file and a report into a folder of its own."""
    last = (result.words.strip().splitlines() or [""])[-1]
    what = f"{result.outcome} {result.index} {result.mutation} {result.sample}"
    print(f"failure: {what}: {last[:150]}", flush=True)
    if options.keep is None:
        return
    folder = options.keep / f"{result.outcome}-{result.index}-{result.mutation}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "damaged.dcm").write_bytes(mutate(corpus, options.seed, result.index)[2])
    numbers = f"--seed {options.seed} --first {result.index} --count 1"
    again = f"python -m tests.imaging.fuzz_dicom {numbers}"
    (folder / "report.txt").write_text(f"{again}\n{what}\n{result.words}\n", encoding="utf-8")


def main(options: Options) -> int:
    """Read, print the record and keep what failed."""
    start = time.monotonic()
    corpus = make_corpus()
    results = fuzz(options, lambda result: report_failure(result, corpus, options))
    tallies = tally(results)
    print(table(tallies))
    seconds, last = time.monotonic() - start, options.first + options.count - 1
    print(
        f"{len(results)} files in {seconds:.0f} s, seed {options.seed}, of numbers "
        f"{options.first} to {last}; {tallies['all'].failed if results else 0} failures"
    )
    if options.record:
        figures = {
            name: {"outcomes": one.outcomes, "seconds": one.seconds, "rss": one.rss}
            for name, one in tallies.items()
        }
        options.record.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if any(result.outcome in FAILURES for result in results):
        return EXIT_FAILURES
    return 0 if options.only or len(results) == options.count else EXIT_UNFINISHED


if __name__ == "__main__":
    leave(run_tool("fuzz_dicom", Options, main, __doc__))
