"""What the benchmarks share: clocks, alternating rounds, ratios, tables and verdicts.

Ways of doing the same work are measured in alternation within one process, so that what disturbs
the machine disturbs them alike; ratios are taken round by round before their median. CPU time is
user and system of a process and all its children. Runs on Linux only (/proc).
"""

import os
import platform
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

    from intracranial.compute import Compute

SETTLE = 0.05  # seconds until a process that has just ended is counted with its parent

NO_CUDA = "no CUDA device"
"""Why a figure of a GPU is missing."""


class Measured(NamedTuple):
    """CPU and wall time of some work in seconds, or a ratio of both."""

    cpu: float
    wall: float

    def per(self, units: float) -> "Measured":
        """Divided by the number of units that the work had."""
        return Measured(self.cpu / units, self.wall / units)


Rounds = dict[str, list[Measured]]
"""By the name of a way: one entry per round."""


def cpu_seconds() -> float:
    """User and system time so far of this process, its children and theirs."""
    ticks, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it has ended
            parents[int(entry.name)] = int(fields[1])
            ticks[int(entry.name)] = sum(int(field) for field in fields[11:15])
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    alive = sum(ticks[pid] for pid in family - {os.getpid()}) / os.sysconf("SC_CLK_TCK")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return alive + ended.ru_utime + ended.ru_stime + time.process_time()


def synchronise(device: "torch.device | None") -> None:
    """Wait until a CUDA device has done all that it was given."""
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def now(device: "torch.device | None" = None) -> Measured:
    """Both clocks, read when the device is idle."""
    synchronise(device)
    return Measured(cpu_seconds(), time.perf_counter())


def between(start: Measured, end: Measured) -> Measured:
    """Time from one reading of the clocks to another."""
    return Measured(end.cpu - start.cpu, end.wall - start.wall)


def measure(run: Callable[[], object], device: "torch.device | None" = None) -> Measured:
    """Time one run."""
    start = now(device)
    run()
    synchronise(device)
    wall = time.perf_counter()
    time.sleep(SETTLE)
    return between(start, Measured(cpu_seconds(), wall))


def alternate(ways: Mapping[str, Callable[[], Measured]], rounds: int) -> Rounds:
    """Measure all ways in each round; who begins turns from round to round."""
    names = list(ways)
    found: Rounds = {name: [] for name in names}
    for turn in range(rounds):
        for position in range(len(names)):
            name = names[(position + turn) % len(names)]
            found[name].append(ways[name]())
    return found


def middle(values: Iterable[Measured]) -> Measured:
    """Median of CPU and of wall time."""
    return Measured(*(median(column) for column in zip(*values, strict=True)))


def ratio(found: Rounds, way: str, base: str) -> Measured:
    """How many times the base's time a way takes: median of the rounds' ratios."""
    pairs = zip(found[way], found[base], strict=True)
    return middle(Measured(a.cpu / b.cpu, a.wall / b.wall) for a, b in pairs)


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print Markdown."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n| --- |{' --: |' * (len(head) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def print_comparison(title: str, found: Rounds, unit: str, bases: Sequence[str]) -> None:
    """Print the time of every way per unit, and as a multiple of that of the bases."""
    head = ["way", f"{unit}/s", f"CPU ms a {unit}", f"wall ms a {unit}"]
    rows = []
    for name, values in found.items():
        cpu, wall = middle(values)
        multiples = [ratio(found, name, base) for base in bases]
        cells = [f"{times.cpu:.2f} ({times.wall:.2f})" for times in multiples]
        rows.append([name, f"{1 / wall:.1f}", f"{1000 * cpu:.1f}", f"{1000 * wall:.1f}", *cells])
    print_table(title, [*head, *(f"CPU (wall) / {base}" for base in bases)], rows)


@dataclass(frozen=True)
class Target:
    """A figure to reach.

    `value` is None where it was not measured, and `why` says the reason.
    """

    what: str
    limit: float
    at_most: bool
    value: float | None
    why: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def __str__(self) -> str:
        """One line for the record."""
        wanted = f"{self.what}, {'at most' if self.at_most else 'at least'} {self.limit:g}"
        if self.value is None:
            return f"{wanted}: not run: {self.why}"
        return f"{wanted}: {self.value:.3g}, {'reached' if self.reached else 'MISSED'}"


def print_targets(targets: Iterable[Target]) -> None:
    """Print a list of what was to be reached."""
    print("\nTargets\n")
    for target in targets:
        print(f"- {target}")


def targets_by_device(compute: "Compute", on_cpu: list[Target], on_gpu: list[Target]) -> None:
    """Print the targets of both kinds of device, those of the other kind as not run."""
    gpu = compute.device.type == "cuda"
    other, why = (on_cpu, "the device is not a CPU") if gpu else (on_gpu, NO_CUDA)
    skipped = [Target(one.what, one.limit, one.at_most, None, why) for one in other]
    print_targets([*(on_gpu if gpu else on_cpu), *skipped])


def machine(compute: "Compute | None" = None) -> str:
    """What the figures were measured on, in one line."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    what = f"{os.cpu_count()} cores, {names[0] if names else platform.machine()}, "
    what += f"Python {platform.python_version()}"
    if compute is None:
        return what
    import torch

    return f"{what}, torch {torch.__version__}; {compute.reason}"


def status_kib(name: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
