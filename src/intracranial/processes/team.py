"""Processes on one or many machines that share the series of one run over a common file system.

torchrun or srun starts them; rank 0 decides what is to be read and gives every rank its share, the
others read, and rank 0 joins the tables. They speak through small files in one folder:

`rank-<rank>-<name>.json`  a process is there; its modification time changes while it lives
`plan.json`                rank 0: the share of every process, or why there is none
`done-<name>.json`         how the share of a process ended

A process draws its name at random, and the plan says for which names it is made: files that an
earlier run left behind are never taken for those of this one. Clocks are not compared: a process
lives while another one sees its modification time change.
"""

import contextlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intracranial.artifacts import write_json
from intracranial.errors import (
    EXIT_DONE,
    InputError,
    PipelineError,
    Preempted,
    UsageError,
    exit_code_of,
)
from intracranial.processes.children import (
    STOPPED_SECONDS,
    all_processes,
    command_of,
    environment_of,
    guard,
    is_alive,
    is_stopped,
    parent_of,
)
from intracranial.runlog import log

BEAT_SECONDS = 5.0
"""How often a process shows that it lives; NFS clients may see it up to a minute later."""

POLL_SECONDS = 0.2
"""How often a process looks for what another one has written."""

NAMED = 3
"""Series that a message names."""


@dataclass(frozen=True)
class Rank:
    """One process of several that a launcher has started."""

    index: int
    count: int
    launch: str
    """What the launcher says about this start, equal in all of its processes."""


def find_rank(environment: Mapping[str, str] = os.environ) -> Rank | None:
    """Which process of several this is; None when it is the only one.

    torchrun sets RANK and WORLD_SIZE. srun sets SLURM_PROCID and SLURM_STEP_NUM_TASKS, the tasks
    of its step. SLURM_NTASKS does not count: it tells what was asked for, also in an sbatch script
    or an salloc shell, where a plain `python` runs once with SLURM_PROCID=0.

    Raises:
        UsageError: the variables contradict each other.
    """
    for index, count, about in (
        ("RANK", "WORLD_SIZE", ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", ("SLURM_JOB_ID", "SLURM_STEP_ID")),
    ):
        if index in environment and count in environment:
            return _checked(environment, index, count, about)
    return None


def _checked(
    environment: Mapping[str, str], index: str, count: str, about: Sequence[str]
) -> Rank | None:
    numbers = environment[index], environment[count]
    if not all(n.isdigit() for n in numbers) or int(numbers[0]) >= int(numbers[1]):
        raise UsageError(
            f"{index}={numbers[0]} and {count}={numbers[1]} name no process of a run; unset them, "
            "or start the script with torchrun or srun"
        )
    launch = " ".join(environment.get(name, "") for name in about)
    return Rank(int(numbers[0]), int(numbers[1]), launch) if int(numbers[1]) > 1 else None


LOOKS = 3
"""How often it is looked what a process is: for a moment it is what its parent was started as."""


GATHERING_SECONDS = 10.0
"""Within how long the processes of a launch on one machine are started."""


class Neighbours:
    """The other processes of a launch on this machine; a context manager that ends stopped ones."""

    def __init__(self, rank: Rank) -> None:
        """Prepare to look for them; `rank` is this process."""
        self._rank = rank
        self._since = time.monotonic()
        self._lock = threading.Lock()
        self._looks: dict[int, int] = {}
        """Any process -> how often it was looked what it is."""
        self._ranks: dict[int, int] = {}
        """Process -> which one of the launch it is."""

    def __enter__(self) -> "Neighbours":
        """Look from now on."""
        self._find()
        guard.follow(self._find)
        return self

    def __exit__(self, *error: object) -> None:
        """Look no more."""
        guard.follow_no_more(self._find)

    def lost(self, gathering: bool = False) -> set[int]:
        """Ranks that were there and have gone.

        Args:
            gathering: as long as not all have met, also those that have never been seen although
                all processes of the launch must be on this machine, and were to be there by now.
        """
        found = {pid: self._ranks[pid] for pid in self._find()}
        lost = {index for pid, index in found.items() if not is_alive(pid)}
        late = time.monotonic() - self._since > GATHERING_SECONDS
        if gathering and late and self._can_be_seen() and _all_are_here():
            lost |= set(range(self._rank.count)) - {self._rank.index, *found.values()}
        return lost

    def see_off(self) -> None:
        """Stay as long as another process may be stopped whom nobody else would end.

        What is stopped alone stays for ever, and with it the launcher that waits for it. So the
        processes end in the order of their ranks, as far as they are on one machine, and none ends
        while another one is stopped. Only those count that run the same command: a shell that runs
        one command after the other as a rank may wait for this process in its next one.
        """
        own, begun = command_of(os.getpid()), time.monotonic()
        while any(self._is_left(pid, own, begun) for pid in self._find()):
            time.sleep(POLL_SECONDS)

    def _is_left(self, pid: int, command: bytes, since: float) -> bool:
        if is_stopped(pid):  # the guard ends it soon, if it can
            return time.monotonic() - since < 3 * STOPPED_SECONDS
        earlier = self._ranks[pid] < self._rank.index
        return earlier and is_alive(pid) and command_of(pid) == command

    def _can_be_seen(self) -> bool:
        """Whether this process shows which rank it is, so that the others do."""
        try:
            own = find_rank(environment_of(os.getpid()))
        except UsageError:
            return False
        return own is not None and own.launch == self._rank.launch

    def _find(self) -> list[int]:
        with self._lock:
            there = all_processes()
            self._looks = {pid: self._looks.get(pid, 0) + 1 for pid in there}
            for pid, looks in self._looks.items():
                if looks <= LOOKS and pid not in self._ranks:
                    index = self._index(pid)
                    # what a rank has started is like it
                    if index is not None and index != self._index(parent_of(pid)):
                        self._ranks[pid] = index
            return list(self._ranks)

    def _index(self, pid: int) -> int | None:
        """Which other rank of the launch a process is."""
        try:
            other = find_rank(environment_of(pid))
        except UsageError:
            return None
        if other is None or other.index == self._rank.index:
            return None
        own = self._rank.count, self._rank.launch
        return other.index if (other.count, other.launch) == own else None


def _all_are_here(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether all processes of a launch are on this machine, as the launcher says."""
    everyone = environment.get("WORLD_SIZE"), environment.get("SLURM_STEP_NUM_TASKS")
    return (
        environment.get("MASTER_ADDR") in ("localhost", "127.0.0.1", "::1")
        or (environment.get("LOCAL_WORLD_SIZE") == everyone[0] is not None)
        or (everyone[1] is not None and environment.get("SLURM_STEP_NUM_NODES") == "1")
    )


def share_out(sizes: Mapping[str, int], ranks: Sequence[int]) -> dict[int, list[str]]:
    """Series of each rank: the largest first, each to the rank that has least to do so far.

    Args:
        sizes: work that each series is, such as its bytes or slices, by its name.
        ranks: who takes part.
    """
    shares: dict[int, list[str]] = {rank: [] for rank in ranks}
    load = dict.fromkeys(ranks, 0)
    for uid in sorted(sizes, key=lambda uid: (-sizes[uid], uid)):
        least = min(ranks, key=lambda rank: (load[rank], rank))
        shares[least].append(uid)
        load[least] += sizes[uid]
    return shares


class Team:
    """This process among the others of its run; a context manager."""

    def __init__(self, rank: Rank, folder: Path, patience: float) -> None:
        """Prepare; the other processes are told of this one when the block begins.

        Args:
            rank: which process this is.
            folder: common to all processes; rank 0 empties it first and removes it at the end.
            patience: seconds without a sign of life after which a process counts as lost.
        """
        self.rank = rank
        self._folder = folder
        self._patience = patience
        self._name = secrets.token_hex(8)
        self._presence = folder / f"rank-{rank.index}-{self._name}.json"
        self._neighbours = Neighbours(rank)
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._shares: dict[int, list[str]] | None = None
        self._members: dict[int, str] = {}
        """Rank -> name of the processes that take part, known to rank 0."""

    def __enter__(self) -> "Team":
        """Show that this process is there, until the block ends."""
        if self.rank.index == 0:
            for path in self._folder.glob("*.json"):  # not the folder: others may be writing to it
                path.unlink(missing_ok=True)
        self._show()
        self._heart.start()
        self._neighbours.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Rank 0 tells waiting processes that no share will come, and clears away the messages."""
        leads = self.rank.index == 0
        if leads and self._shares is None and not isinstance(error, KeyboardInterrupt):
            with contextlib.suppress(OSError):
                self._gather()
                self._publish({"stop": EXIT_DONE if error is None else exit_code_of(error)})
        self._ended.set()
        self._heart.join()
        if leads and error is None and self._shares is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if error is None:
            self._neighbours.see_off()
        self._neighbours.__exit__()

    def _presence_of(self, rank: int, name: str) -> Path:
        return self._folder / f"rank-{rank}-{name}.json"

    def _show(self) -> None:
        write_json(self._presence, {"launch": self.rank.launch})

    def _beat(self) -> None:
        every = min(BEAT_SECONDS, self._patience / 5)
        while not self._ended.wait(every):
            with contextlib.suppress(OSError):  # a full disk is for others to report
                try:
                    os.utime(self._presence)
                except FileNotFoundError:  # rank 0 began later and has emptied the folder
                    self._show()

    def hand_out(self, sizes: Mapping[str, int], config: Mapping[str, Any]) -> list[str]:
        """Rank 0: wait for the others and give each its share; returns the own one.

        A rank that does not come gets nothing.

        Args:
            sizes: see `share_out`.
            config: options that all ranks must have in common.
        """
        self._gather()
        missing = sorted(set(range(self.rank.count)) - set(self._members))
        if missing:
            log.warning(
                "%s did not come within %g s (--rank_patience), or ended before: the others read "
                "all series",
                _ranks(missing),
                self._patience,
            )
        self._shares = share_out(sizes, sorted(self._members))
        shares = {self._members[rank]: uids for rank, uids in self._shares.items()}
        self._publish({"config": dict(config), "shares": shares})
        return self._shares[0]

    def _gather(self) -> None:
        """Wait until every rank is there, or until none has come for too long."""
        watch = _Watch(self._patience)
        while True:
            self._members = {0: self._name}
            lost = self._neighbours.lost(gathering=True)
            for path in sorted(self._folder.glob("rank-*.json")):
                said = _read(path)
                _, index, name = path.stem.split("-")
                if int(index) and said and said.get("launch") == self.rank.launch:
                    self._members[int(index)] = name
            settled = len(lost | self._members.keys()) >= self.rank.count
            if settled or watch.unchanged(len(self._members)):
                return
            time.sleep(POLL_SECONDS)

    def _publish(self, content: dict[str, Any]) -> None:
        members = sorted(self._members.values())
        write_json(self._folder / "plan.json", {**content, "lead": self._name, "members": members})

    def share(self, config: Mapping[str, Any]) -> list[str] | None:
        """Any other rank: its series; None when there is nothing to do or to report.

        Raises:
            Preempted: no plan has come, and rank 0 shows no sign of life.
            UsageError: rank 0 runs with other options.
            PipelineError: rank 0 has stopped; with its exit code.
        """
        watch = _Watch(self._patience)
        first_beats: dict[str, int] | None = None
        while True:
            is_lost = 0 in self._neighbours.lost(
                gathering=True
            )  # what it has left is read after that
            plan = _read(self._folder / "plan.json")
            if plan and self._name in plan["members"]:
                break
            beats = {p.stem: _mtime(p) for p in self._folder.glob("rank-0-*.json")}
            first_beats = beats if first_beats is None else first_beats
            lead = f"rank-0-{plan['lead']}" if plan else ""
            if lead in beats and beats[lead] != first_beats.get(lead):
                log.warning("rank %d came too late: others read its series", self.rank.index)
                return None
            if is_lost:
                raise Preempted(
                    f"rank {self.rank.index} of {self.rank.count}: rank 0 has ended without a word "
                    "(killed, or out of memory?). Run the same command again"
                )
            if watch.unchanged(beats):
                raise Preempted(
                    f"rank {self.rank.index} of {self.rank.count}: no sign of life from rank 0 in "
                    f"{self._folder} for {self._patience:g} s (--rank_patience); is the data "
                    "folder on a file system that all machines share? Run the same command again"
                )
            time.sleep(POLL_SECONDS)
        if plan.get("stop") == EXIT_DONE:
            return None
        if "stop" in plan:
            stopped = PipelineError(f"rank {self.rank.index}: rank 0 has stopped, see its messages")
            stopped.exit_code = int(plan["stop"])
            raise stopped
        if plan["config"] != dict(config):
            raise UsageError(
                f"rank {self.rank.index} was started with options {dict(config)}, rank 0 with "
                f"{plan['config']}: give all the same"
            )
        return list(plan["shares"][self._name])

    def report(self, outcomes: Sequence[Mapping[str, Any]], failure: str = "") -> None:
        """Any other rank: its share is done, or `failure` says in words why it has stopped."""
        self._ended.set()
        self._heart.join()  # from here on it may be silent
        content = {"outcomes": list(outcomes), "failure": failure}
        write_json(self._folder / f"done-{self._name}.json", content)

    def collect(
        self, take: Callable[[Mapping[str, Any]], None], is_finished: Callable[[str], bool]
    ) -> None:
        """Rank 0: wait for the shares of the others.

        Args:
            take: gets every outcome that another rank has reported.
            is_finished: whether a series is finished, for the message about a lost rank.

        Raises:
            InputError: a rank has stopped, with its reason.
            Preempted: a rank was lost; what is missing is named.
        """
        assert self._shares is not None
        pending = {rank: _Watch(self._patience) for rank in self._members if rank}
        if pending:
            log.info("waiting for %s", _ranks(pending))
        stopped: list[str] = []
        lost: list[int] = []
        while pending:
            for rank, watch in list(pending.items()):
                name = self._members[rank]
                is_lost = rank in self._neighbours.lost()  # what it has left is read after that
                done = _read(self._folder / f"done-{name}.json")
                if done:
                    del pending[rank]
                    for outcome in done["outcomes"]:
                        take(outcome)
                    if done["failure"]:
                        stopped.append(f"rank {rank} has stopped: {done['failure']}")
                elif watch.unchanged(_mtime(self._presence_of(rank, name))) or is_lost:
                    del pending[rank]
                    lost.append(rank)
            time.sleep(POLL_SECONDS)
        if stopped:
            raise InputError("; ".join(stopped))
        if lost:
            missing = [uid for rank in lost for uid in self._shares[rank] if not is_finished(uid)]
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            raise Preempted(
                f"{_ranks(lost)} of {self.rank.count}: no sign of life for {self._patience:g} s "
                f"(--rank_patience), or gone. Not finished: {len(missing)} series "
                f"({', '.join(missing[:NAMED])}{more}). The same command, with any number of "
                "processes, resumes"
            )


class _Watch:
    """Tells when something has stayed as it was for too long, by this machine's clock."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._seen: object = None
        self._since = time.monotonic()

    def unchanged(self, value: object) -> bool:
        now = time.monotonic()
        if value != self._seen:
            self._seen, self._since = value, now
        return now - self._since > self._patience


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):  # not there, or a stale handle of a network folder
        return None
    return content if isinstance(content, dict) else None


def _mtime(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _ranks(ranks: Sequence[int] | Mapping[int, object]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, sorted(ranks)))}"
