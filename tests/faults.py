"""Stages as they run in one or several processes, and faults that are injected from outside."""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intracranial.artifacts import TEMPORARY_SUFFIX
from tests.forked import ONE_THREAD, ROOT, start_script
from tests.tiny_runs import DATA_STAGES, Place
from tests.training.test_distributed import free_port

MADE = {
    "preprocess_data": ("npy_sequence", "*.csv.meta", "model"),
    "create_folds": ("train_*_folds.csv", "folds.json", "model"),
    "train_stage1": ("model",),
    "eval_stage1": ("stage1_metrics.json", "stage1_predictions.csv"),
    "extract_features": ("features", "features.json", "stage2*", "end_to_end*"),
    "train_stage2": ("stage2*", "end_to_end*"),
    "eval_stage2": ("stage2_metrics.json", "stage2_predictions.csv"),
    "eval_end_to_end": ("end_to_end*",),
}
"""Names of what a stage, or a later one, has made: left out of the place where it runs again."""

TABLES = ("train_meta.csv", "slices.csv", "rejected.csv", "preprocess.json", "fingerprints.json")

FLAGS = {
    "train_stage1": ("--epochs", "3"),
    "train_stage2": ("--epochs", "4"),
    "eval_end_to_end": ("--resamples", "100"),
    "eval_stage1": ("--resamples", "100"),
    "eval_stage2": ("--resamples", "100"),
}

NOT_COMPARED = ("fingerprints.json", "report.json", "report.html", "metrics.json", ".png")
"""Ends of names of files that hold times, or times of files."""


@dataclass(frozen=True)
class Way:
    """How many processes run a stage: `ranks` of a launch, and `workers` that load or read."""

    ranks: int = 1
    workers: int = 0
    torchrun: bool = False

    def __str__(self) -> str:
        if self.ranks > 1:
            start = f"torchrun {self.ranks}" if self.torchrun else f"{self.ranks} ranks"
            return f"{start} + {self.workers}" if self.workers else start
        return f"1 + {self.workers}" if self.workers else "1"


WAYS = {
    "preprocess_data": (Way(), Way(workers=1), Way(workers=2), Way(2, 1), Way(2, 1, True)),
    "create_folds": (Way(),),
    "train_stage1": (Way(), Way(workers=2), Way(2), Way(3), Way(2, 1), Way(2, 0, True)),
    "eval_stage1": (Way(), Way(workers=2)),
    "extract_features": (Way(), Way(2), Way(3), Way(2, 0, True)),
    "train_stage2": (Way(), Way(workers=2), Way(2), Way(2, 0, True)),
    "eval_stage2": (Way(),),
    "eval_end_to_end": (Way(), Way(workers=2)),
}


@dataclass
class Run:
    """A command of one or more processes, as it runs."""

    started: list[Any]
    """Of `Forked` or `subprocess.Popen`."""

    launched: Path | None = None
    """What the processes of a launcher print."""

    @property
    def pids(self) -> list[int]:
        return [one.pid for one in self.started]

    def ended(self) -> bool:
        return None not in self.codes()

    def codes(self) -> list[int | None]:
        return [one.poll() for one in self.started]

    def text(self) -> str:
        if self.launched is not None:
            return self.launched.read_text(errors="replace")
        return "\n".join(one.text() for one in self.started)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended by then."""
        end = time.monotonic() + seconds
        while not self.ended() and time.monotonic() < end:
            time.sleep(0.02)
        return self.ended()

    def processes(self) -> list[int]:
        """All that belong to it: they are in the sessions of its processes."""
        return [pid for pid, session in sessions().items() if session in self._sessions()]

    def _sessions(self) -> set[int]:
        return {*self.pids, *self.more}

    more: set[int] = field(default_factory=set)
    """Sessions that a launcher has begun."""

    def look(self) -> None:
        """Remember the sessions of processes that a launcher has started."""
        for pid in self.pids:
            for child in children(pid):
                session = sessions().get(child)
                if session is not None:
                    self.more.add(session)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def sessions() -> dict[int, int]:
    """Session of every process that is more than an entry of a dead one."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = path.read_bytes().rpartition(b")")[2].split()[:4]
            if state not in (b"Z", b"X"):
                found[int(path.parent.name)] = int(session)
    return found


def begin(
    place: Place,
    stage: str,
    way: Way,
    flags: Sequence[str] = (),
    **environment: str,
) -> Run:
    flags = [*FLAGS.get(stage, ()), *flags]
    if stage not in ("create_folds", "eval_stage2"):
        flags += ["--num_workers", str(way.workers)]
    command = place.command(stage, *flags)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    if not way.torchrun:
        ranks = [
            {**meeting, "RANK": str(rank), "WORLD_SIZE": str(way.ranks)} if way.ranks > 1 else {}
            for rank in range(way.ranks)
        ]
        return Run([start_script(command, **environment, **rank) for rank in ranks])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(way.ranks)]
    said = place.root.with_name(f"{place.root.name}-said.txt")
    with open(said, "wb") as output:
        started = subprocess.Popen(
            [*launcher, "--master_port", meeting["MASTER_PORT"], *command[1:]],
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return Run([started], said)


def place_for(stage: str, base: Place, root: Path) -> Place:
    """A copy of what the stage needs, without what it and later stages make."""
    left_out = [*MADE[stage], "ranks"]
    if stage == "preprocess_data":
        left_out += [*TABLES, "train_*_folds.csv", "folds.json", "report.*"]
    if root.exists():
        shutil.rmtree(root)
    if stage in DATA_STAGES:
        left_out.append("model")
    if stage not in ("preprocess_data", "eval_end_to_end"):
        left_out.append("series")
    return base.copy(root, *left_out)


def outputs(place: Place) -> dict[str, bytes]:
    """Bytes to compare; where the place lies is left out of them."""
    here = str(place.root).encode()
    return {
        name: content.replace(here, b"")
        for name, content in place.content().items()
        if not name.endswith((*NOT_COMPARED, TEMPORARY_SUFFIX)) and "/ranks/" not in name
    }


# --- faults ---


@dataclass(frozen=True)
class Fault:
    """`strike` does it to a run in a place, and returns what undoes it, or None if it missed."""

    name: str
    strike: Callable[[Run, Place, str, random.Random], Callable[[], None] | None]
    codes: frozenset[int]
    environment: Callable[[Path], dict[str, str]] = lambda root: {}
    fits: Callable[[str, Way], bool] = lambda stage, way: True


def nothing() -> None:
    """Nothing is to be undone."""


def to_main(number: int, group: bool) -> Callable[..., Callable[[], None]]:
    def strike(run: Run, place: Place, stage: str, rng: random.Random) -> Callable[[], None]:
        for pid in run.pids if len(run.pids) == 1 or group else [rng.choice(run.pids)]:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(pid, number)
        return nothing

    return strike


def to_child(number: int) -> Callable[..., Callable[[], None] | None]:
    def strike(run: Run, place: Place, stage: str, rng: random.Random) -> Callable | None:
        run.look()
        found = sorted(set(run.processes()) - set(run.pids))
        if not found:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(found), number)
        return nothing

    return strike


def to_rank(number: int) -> Callable[..., Callable[[], None] | None]:
    def strike(run: Run, place: Place, stage: str, rng: random.Random) -> Callable | None:
        run.look()
        ranks = run.pids if len(run.pids) > 1 else children(run.pids[0])
        if not ranks:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(sorted(ranks)), number)
        return nothing

    return strike


def inputs(place: Place, stage: str) -> list[Path]:
    if stage in ("preprocess_data", "eval_end_to_end"):
        return sorted((place.data.root / "series").rglob("*.dcm"))
    if stage == "create_folds":
        return sorted(place.data.root.glob("*.csv"))
    if stage in ("train_stage2", "eval_stage2"):
        return sorted(place.fold().features.glob("*.safetensors"))
    return sorted(place.data.sequences.glob("*.npy"))


def to_files(change: Callable[[Path], None]) -> Callable[..., Callable[[], None]]:
    def strike(run: Run, place: Place, stage: str, rng: random.Random) -> Callable[[], None]:
        found = inputs(place, stage)
        chosen = rng.sample(found, max(1, len(found) // 3))
        kept = place.root.with_name(place.root.name + "-kept")
        kept.mkdir()
        for number, path in enumerate(chosen):
            shutil.copy2(path, kept / str(number))
            change(path)

        def undo() -> None:
            for number, path in enumerate(chosen):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                path.unlink(missing_ok=True)
                if path.parent.is_dir():  # a series may have been rejected, with its cache
                    shutil.copy2(kept / str(number), path)
            shutil.rmtree(kept)

        return undo

    return strike


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) * 2 // 3])


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_unreadable(path: Path) -> None:
    """Reading from its beginning is an input/output error."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def limit(what: int, value: int) -> Callable[..., Callable[[], None]]:
    def strike(run: Run, place: Place, stage: str, rng: random.Random) -> Callable[[], None]:
        run.look()
        for pid in {*run.pids, *run.processes()}:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                resource.prlimit(pid, what, (value, value))
        return nothing

    return strike


def none(run: Run, place: Place, stage: str, rng: random.Random) -> Callable[[], None]:
    return nothing


def long_path(root: Path) -> dict[str, str]:
    folder = root / ("a-folder-with-a-long-name/" * 6)
    folder.mkdir(parents=True, exist_ok=True)
    return {"TMPDIR": str(folder)}


def together(stage: str, way: Way) -> bool:
    return way.ranks > 1


def has_children(stage: str, way: Way) -> bool:
    return way.workers > 0 and way.ranks == 1 and stage != "extract_features"


def one(stage: str, way: Way) -> bool:
    return way.ranks == 1


READ = frozenset({0, 3, 4, 5})
FAULTS = (
    Fault("kill", to_main(signal.SIGKILL, False), frozenset({0, -9, 3, 75}), fits=one),
    Fault("SIGTERM", to_main(signal.SIGTERM, False), frozenset({0, -15, 75}), fits=one),
    Fault("SIGTERM to all", to_main(signal.SIGTERM, True), frozenset({0, -15, 75, 3})),
    Fault("SIGINT to all", to_main(signal.SIGINT, True), frozenset({0, -2, 130, 1, 75, 3})),
    Fault("SIGINT", to_main(signal.SIGINT, False), frozenset({0, -2, 130, 1}), fits=one),
    Fault("kill a child", to_child(signal.SIGKILL), frozenset({0, 3}), fits=has_children),
    Fault("stop a child", to_child(signal.SIGSTOP), frozenset({0, 3}), fits=has_children),
    Fault("kill a rank", to_rank(signal.SIGKILL), frozenset({0, 1, 3, 75, -9}), fits=together),
    Fault("stop a rank", to_rank(signal.SIGSTOP), frozenset({0, 1, 3, 75, -9}), fits=together),
    Fault("files missing", to_files(Path.unlink), READ),
    Fault("files cut short", to_files(cut), READ),
    Fault("folders for files", to_files(make_a_folder), READ),
    Fault("unreadable files", to_files(make_unreadable), READ),
    Fault("disk full", limit(resource.RLIMIT_FSIZE, 1000), frozenset({0, 3, 75, 4})),
    Fault("no more open files", limit(resource.RLIMIT_NOFILE, 24), frozenset({0, 3, 75})),
    Fault("long TMPDIR", none, frozenset({0, 3}), environment=long_path),
)
