"""Speed of both stages on DICOM folders, where time goes, and overlap of reading and computing.

In alternating rounds of one run, on generated CT series and networks with random weights: the
predictor of eval_end_to_end.py with 0, 1 and 2 reading processes; reading alone; and computing
alone on series that are ready. Time is that of steady series, without the start of processes;
files come from the page cache.

    python -m benchmarks.end_to_end --out_dir /tmp/benchmark
    python -m benchmarks.end_to_end --out_dir /tmp/benchmark --kind raw-512 --model convnext_base \
        --input_size 448
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro

from benchmarks.generated_dicom import SHAPES, make_set
from benchmarks.side_by_side import (
    Measured,
    Target,
    alternate,
    between,
    machine,
    now,
    print_comparison,
    print_table,
    ratio,
    targets_by_device,
)
from intracranial.artifacts import FoldPaths, write_csv
from intracranial.caching.read_ahead import Rejected, prepare_series, read_ahead
from intracranial.evaluation.end_to_end import Job, arrays, run_jobs
from intracranial.evaluation.points import POINT_COLUMNS, point_row
from intracranial.evaluation.predictions import prediction_rows
from intracranial.imaging.cache import to_cache
from intracranial.imaging.folder import discover, walk
from intracranial.imaging.outcome import Findings
from intracranial.imaging.pixels import STANDARD
from intracranial.imaging.series import read_series
from intracranial.inference.fold import FoldPredictor
from intracranial.lineage import Stage1Sidecar, Stage2Sidecar, TrainedFold
from intracranial.models.sequence_classifier import SequenceClassifier
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from intracranial.options.stage2 import SequenceNetwork, TrainStage2Options
from intracranial.sampling.stacks import StackSpec
from intracranial.stages.sequence_training import model_config, sequence_spec
from intracranial.tasks import RSNA_2025 as TASK
from intracranial.tasks import SERIES_COLUMN
from intracranial.training.checkpoint import save_weights

READING, COMPUTING = "reading alone", "computing alone"
SUM, LONGER = "sum of both", "the longer of both"
TIME_LIMIT = 600.0  # seconds for one series
GIB = 8.0  # largest series
MARGIN = 1.15
"""Largest multiple of what reading and computing need alone."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out_dir: Path
    """Generated series (kept for the next run) and weights."""

    kind: str = "raw-320"
    """Transfer syntax and matrix, see benchmarks/preprocess.py."""

    series: int = 3
    """Generated series, read in turns."""

    model: str = "convnext_atto"
    """timm backbone."""

    input_size: int = 224
    """Edge of the network's input in pixels."""

    size: int = 512
    """Edge of the prepared slices in pixels."""

    width: int = 1024
    """Width of stage 2."""

    num_workers: tuple[int, ...] = (0, 1, 2)
    """Reading processes, one way each."""

    warm: int = 1
    """Series before the clock starts."""

    measured: int = 8
    """Series that are measured in a round."""

    rounds: int = 3
    """Alternating rounds; the tables show medians."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX."""

    precision: str = "auto"
    """auto, bf16, fp16 or fp32."""

    compile: bool = False
    """Compile stage 1, as eval_end_to_end.py --compile does."""


UNTRAINED: dict[str, Any] = {
    "identity": "benchmark",
    "inputs": {},
    "partial": None,
    "config": {},
    "task": TASK,
    "select": "last",
}
"""What the sidecars of weights say that nothing was trained for."""


def make_predictor(options: Options) -> FoldPredictor:
    """Both networks with random weights, opened as those of a run."""
    paths = FoldPaths(options.out_dir / "model", options.model, 0)
    first = SliceClassifierConfig(options.model, len(TASK.labels), options.input_size, "", 0.0)
    torch.manual_seed(0)
    encoder = SliceClassifier(first)
    training = TrainStage2Options(
        run="run", network=SequenceNetwork(width=options.width, feed_forward=options.width)
    )
    second = model_config(training, encoder.width, TASK)
    save_weights(paths.weights("stage1"), encoder)
    save_weights(paths.weights("stage2"), SequenceClassifier(second))
    stage1 = Stage1Sidecar(
        path=paths.manifest("stage1"),
        **UNTRAINED,
        model=first,
        input=StackSpec(0.875, options.input_size, 2.5),
        steps=(1, 2),
        preprocessing=replace(STANDARD, size=options.size),
        weights_licence="random initial weights",
    )
    stage2 = Stage2Sidecar(
        path=paths.manifest("stage2"),
        **UNTRAINED,
        model=second,
        sequence=sequence_spec(training, TASK),
        precision=options.precision,
    )
    how = (options.device, options.precision, GIB)
    return FoldPredictor(TrainedFold(paths, stage1, stage2), *how, compiled=options.compile)


class Bench:
    """All ways over the same series."""

    def __init__(self, options: Options) -> None:
        """Make series and networks."""
        self.options = options
        uids = [f"2.25.{100 + number}" for number in range(options.series)]
        make_set(options.out_dir, options.kind, uids)
        self.folders = [options.out_dir / options.kind / "series" / uid for uid in uids]
        self.predictor = make_predictor(options)
        pixels, limits = self.predictor.pixels, self.predictor.limits
        found = [prepare_series(folder, pixels, limits) for folder in self.folders]
        self.ready = [series for series in found if not isinstance(series, Rejected)]
        if len(self.ready) < len(found):
            raise SystemExit(f"a series of {self.folders[0].parent} cannot be read")

    def endless(self) -> Iterator[Path]:
        """The folders in turns."""
        return cycle(self.folders)

    def steady(self, results: Iterable[object]) -> Measured:
        """Time per series once `warm` of them are done."""
        options, device = self.options, self.predictor.compute.device
        remaining = iter(results)
        for _ in islice(remaining, options.warm):
            pass
        start = now(device)
        done = sum(not isinstance(one, Rejected) for one in islice(remaining, options.measured))
        end = now(device)
        if done < options.measured:
            raise SystemExit("a series was rejected")
        return between(start, end).per(options.measured)

    def both(self, num_workers: int) -> Measured:
        """The predictor."""
        return self.steady(self.predictor.detect_folders(self.endless(), num_workers, TIME_LIMIT))

    def reading(self) -> Measured:
        """Reading and preparing in this process."""
        pixels, limits = self.predictor.pixels, self.predictor.limits
        return self.steady(read_ahead(self.endless(), pixels, limits, 0, TIME_LIMIT))

    def computing(self) -> Measured:
        """Both stages on ready series."""
        return self.steady(map(self.predictor.detect, cycle(self.ready)))

    def ways(self) -> dict[str, Callable[[], Measured]]:
        """Every way by name."""
        found: dict[str, Callable[[], Measured]] = {
            f"{workers} reading processes": partial(self.both, workers)
            for workers in self.options.num_workers
        }
        return {**found, READING: self.reading, COMPUTING: self.computing}

    def parts(self) -> dict[str, float]:
        """Wall seconds per series of the parts of the work, one after the other."""
        folder, predictor = self.folders[0], self.predictor
        start = time.perf_counter()
        discover(folder, walk(folder), Findings())
        found = time.perf_counter()
        series = read_series(folder, predictor.pixels, predictor.limits)
        decoded = time.perf_counter()
        to_cache(series, predictor.pixels)
        parts = {
            "read and parse files": found - start,
            "order, decode, rescale": decoded - found - (found - start),
            "window and resize": time.perf_counter() - decoded,
        }
        jobs = [Job(path.name, path) for path in self.folders]
        results = run_jobs(predictor, jobs, 0, TIME_LIMIT)
        for name in ("stage 1", "stage 2", "points"):
            parts[name] = median(one.seconds[name] for one in results.scored)
        start = time.perf_counter()
        keys = [{SERIES_COLUMN: one.uid} for one in results.scored]
        write_csv(
            self.options.out_dir / "predictions.csv",
            *prediction_rows(TASK, keys, *arrays(results)),
        )
        points = (point_row(one.uid, point) for one in results.scored for point in one.points)
        write_csv(self.options.out_dir / "points.csv", POINT_COLUMNS, points)
        parts["write tables"] = (time.perf_counter() - start) / len(jobs)
        return parts


def main(options: Options) -> None:
    """Measure and print."""
    logging.getLogger("aneurysm").setLevel(logging.ERROR)
    bench = Bench(options)
    rounds = [bench.parts() for _ in range(options.rounds)]
    found = alternate(bench.ways(), options.rounds)
    pairs = list(zip(found[READING], found[COMPUTING], strict=True))
    found[SUM] = [Measured(a.cpu + b.cpu, a.wall + b.wall) for a, b in pairs]
    found[LONGER] = [Measured(max(a.cpu, b.cpu), max(a.wall, b.wall)) for a, b in pairs]
    slices, matrix, *_ = SHAPES[options.kind.split("-")[1]]
    print(f"{machine(bench.predictor.compute)};\n{options.kind}: {slices} x {matrix} x {matrix},")
    print(f"{options.model} at {options.input_size} pixels, steps 1 and 2, medians of")
    print(f"{options.rounds} rounds of {options.measured} series")
    middles = {name: median(parts[name] for parts in rounds) for name in rounds[0]}
    total = sum(middles.values())
    rows = [
        [name, f"{1000 * seconds:.1f}", f"{100 * seconds / total:.1f} %"]
        for name, seconds in middles.items()
    ]
    print_table("Parts of the work in one process", ["part", "ms a series", "share"], rows)
    print_comparison("End to end", found, "series", [SUM, LONGER])
    names = [name for name in found if name.endswith("reading processes")]
    on_cpu = [
        Target(f"{name}, CPU time / {SUM}", MARGIN, True, ratio(found, name, SUM).cpu)
        for name in names
    ]
    on_gpu = [
        Target(f"{name}, wall time / {LONGER}", MARGIN, True, ratio(found, name, LONGER).wall)
        for name in names
        if not name.startswith("0")
    ]
    targets_by_device(bench.predictor.compute, on_cpu, on_gpu)


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
