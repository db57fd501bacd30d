"""Peak anonymous memory of extraction and of stage-2 training with few and with many series.

Each measured run is one of the stage's script in a process of its own, with --limit for few series;
its Pss_Anon (/proc/<pid>/smaps_rollup: no mapped files, and what a forked process shares with its
parent counts once) and that of its children is sampled from outside. Data, split and stage 1 are
made before, with a network too small to learn. Augmented views make the features large enough to
be seen if a stage kept those of all series. Alternating rounds.

    python -m benchmarks.memory --out_dir /tmp/benchmark
"""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro

from benchmarks.generated_dicom import make_small_data_set
from benchmarks.side_by_side import Target, machine, print_table, print_targets

ROOT = Path(__file__).resolve().parent.parent
EVERY = 0.05  # seconds between samples
RATIO = 1.1
"""Largest peak with many series as a multiple of that with few."""

STAGES = {"extract_features": "extraction", "train_stage2": "stage-2 training"}
VIEWS = {"extract_features": ["--augmented_views", 6], "train_stage2": []}
REJECTED = 4
"""Exit code of scripts that left series out: no failure here."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out_dir: Path
    """Generated data (kept for the next run) and results, about 300 MB."""

    config: Path = ROOT / "configs" / "tiny.yaml"
    """Recipe of all stages."""

    few: int = 20
    """Series of the small run."""

    many: int = 320
    """Series of the large run."""

    num_workers: int = 2
    """Threads or processes that load, as in the scripts."""

    rounds: int = 3
    """Alternating rounds; the table shows medians."""

    def command(self, script: str, *arguments: object) -> list[str]:
        """How a stage is started."""
        data, model = self.out_dir / "data", self.out_dir / "model"
        where: list[object] = ["--config", self.config, "--data_dir", data]
        if script not in ("preprocess_data", "create_folds"):
            where += ["--model_dir", model]
        return [sys.executable, str(ROOT / f"{script}.py"), *map(str, [*where, *arguments])]


def run_quietly(command: list[str], accepted: tuple[int, ...] = (0,)) -> None:
    """Run a script; what it said is shown when it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in accepted:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def make_inputs(options: Options) -> None:
    """Data, caches, split and a stage 1, unless they are there."""
    data = options.out_dir / "data"
    if not (data / "train.csv").exists():
        make_small_data_set(data, options.many)
    run_quietly(options.command("preprocess_data", "--no_slices"), (0, REJECTED))
    run_quietly(options.command("create_folds"))
    run_quietly(options.command("train_stage1", "--max_steps", 2))


def anonymous_kib(pid: int) -> int:
    """Anonymous memory of a process and its children at this moment; 0 for one that has ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    own = sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return own + sum(anonymous_kib(int(child)) for child in children)


def peak_mib(command: list[str], log: Path) -> float:
    """Peak of anonymous memory while a command runs; its output goes to `log`.

    Raises:
        SystemExit: the command has failed.
    """
    peak = 0
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, anonymous_kib(process.pid))
            time.sleep(EVERY)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}\n{log.read_text(encoding='utf-8')}")
    return peak / 1024


def main(options: Options) -> None:
    """Measure and print."""
    make_inputs(options)
    peaks: dict[str, dict[int, list[float]]] = {script: {} for script in STAGES}
    for _ in range(options.rounds):
        for script, found in peaks.items():
            # many last: training needs the features of all series
            for count, limit in ((options.few, ["--limit", options.few]), (options.many, [])):
                flags = ["--num_workers", options.num_workers, "--overwrite", *VIEWS[script]]
                command = options.command(script, *flags, *limit)
                log = options.out_dir / f"{script}-{count}.log"
                found.setdefault(count, []).append(peak_mib(command, log))
    print(f"{machine()};\nmedians of {options.rounds} rounds, {options.num_workers} workers")
    rows, targets = [], []
    for script, name in STAGES.items():
        few, many = (median(peaks[script][count]) for count in (options.few, options.many))
        rows.append([name, f"{few:.0f}", f"{many:.0f}", f"{many / few:.3f}"])
        targets.append(Target(f"{name}, peak with many / with few", RATIO, True, many / few))
    head = ["stage", f"{options.few} series", f"{options.many} series", "ratio"]
    print_table("Peak anonymous memory of the whole process, MiB", head, rows)
    files = (options.out_dir / "model" / options.config.stem / "fold-0" / "features").iterdir()
    mib = sum(path.stat().st_size for path in files) / 2**20
    print(f"\nThe features of {options.many} series: {mib:.0f} MiB")
    print_targets(targets)


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
