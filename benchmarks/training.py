"""Speed of stage-1 training beside its compute limit and a plain training, on generated caches.

In alternating rounds of one run: the program's loop with its loader; the same loop fed with the
same batches from memory, which is the limit; a plain training (benchmarks/plain_training.py); and
the plain training with only the precision, the layout or the loading exchanged. Time is that of
steady steps; files come from the page cache.

    python -m benchmarks.training --out_dir /tmp/benchmark
    python -m benchmarks.training --out_dir /tmp/benchmark --model convnext_base --input_size 448 \
        --batch_size 32 --steps 30 --num_workers 8 --compile
"""

import logging
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from statistics import median

import torch
import tyro

from benchmarks.device_figures import (
    TRAINING_PASSES,
    operations,
    print_utilisation,
    with_peaks,
)
from benchmarks.generated_caches import SPOTS, make_caches
from benchmarks.plain_training import Layout, PlainStacks, plain_batches, watched_plain
from benchmarks.side_by_side import (
    Measured,
    Target,
    alternate,
    machine,
    middle,
    print_comparison,
    print_table,
    ratio,
    targets_by_device,
)
from benchmarks.steps import Watch, Window, held, watched_fit
from intracranial.artifacts import DataPaths
from intracranial.compute import choose_compute
from intracranial.config import with_values
from intracranial.models.slice_classifier import SliceClassifier
from intracranial.options.stage1 import TrainStage1Options
from intracranial.sampling.slice_samples import StackRequest
from intracranial.stages.slice_training import (
    Stage1Loss,
    input_spec,
    model_config,
    training_data,
)
from intracranial.tasks import RSNA_2025 as TASK
from intracranial.training.batches import Batch, TrainingData

LIMIT = "ready tensors"
SAME_LOSS = {"cpu": 1e-3, "cuda": 1e-2}
"""Largest relative difference of the losses of loader and ready tensors, which see equal batches.

On CUDA kernels may sum in another order, and steps make the difference grow."""

SAME_PIXELS = 1e-5
"""Largest difference of the plain way's pixels, which run over 5."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out_dir: Path
    """Generated caches (kept for the next run) and scratch space."""

    model: str = "convnext_atto"
    """timm backbone, with random weights."""

    input_size: int = 224
    """Edge of the network's input in pixels."""

    batch_size: int = 8
    """Stacks a step."""

    optimizer: str = "adamw"
    """timm optimizer of the program's loop; the plain way takes torch's AdamW."""

    series: int = 8
    """Generated series."""

    slices: int = 40
    """Slices of each."""

    size: int = 512
    """Edge of the cached slices in pixels."""

    num_workers: tuple[int, ...] = (0, 2)
    """Loader processes of the program's loop, one way each."""

    loader_workers: tuple[int, ...] = (2, 4)
    """Loader processes of the plain way, one way each; the exchanges are made with the first."""

    warm: int = 2
    """Steps before the clock starts."""

    steps: int = 4
    """Steps that are measured in a round."""

    rounds: int = 5
    """Alternating rounds; the tables show medians."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX."""

    precision: str = "auto"
    """auto, bf16, fp16 or fp32."""

    scratch: Path | None = None
    """Folder for checkpoints, which are deleted again (default: out_dir)."""

    compile: bool = False
    """Compile the network of the program's loop and of its limit, as train_stage1.py --compile
    does; the steps before the clock starts compile it."""

    @property
    def batches(self) -> int:
        """Batches of an epoch: the measured steps and what loaders fetch ahead, two each."""
        ahead = 2 * max(*self.num_workers, *self.loader_workers)
        return self.warm + self.steps + 1 + ahead

    def training(self, num_workers: int) -> TrainStage1Options:
        """Options of the stage."""
        positives = SPOTS * (self.series // 2)
        return with_values(
            TrainStage1Options(data_dir=self.out_dir / "data"),
            model=self.model,
            weights="none",
            input_size=self.input_size,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            negatives_per_positive=self.batches * self.batch_size / positives - 1,
            num_workers=num_workers,
        )


class Bench:
    """All ways over the same batches and the same initial weights."""

    def __init__(self, options: Options) -> None:
        """Make caches and network."""
        self.options, self.compute = options, choose_compute(options.device, options.precision)
        training = options.training(0)
        data = DataPaths(options.out_dir / "data")
        self.infos = make_caches(data, options.series, options.slices, options.size)
        torch.manual_seed(0)
        self.model = SliceClassifier(model_config(training, TASK))
        self.loss = Stage1Loss(training.loss.focal_gamma, training.loss.heatmap_weight, 0.0)
        self.training, self.window = training, Window(options.warm, options.steps)
        self.watches: dict[str, list[Watch]] = {}
        self.losses: dict[str, float] = {}

    @cached_property
    def ready(self) -> list[Batch]:
        """All batches, in memory."""
        data = self.training_data(max(self.options.num_workers))
        with closing(data):
            return list(islice(data.pieces(0, 0), self.options.batches))

    @cached_property
    def placed(self) -> list[Batch]:
        """All batches, on the device."""
        return [
            {name: self.compute.place(tensor) for name, tensor in batch.items()}
            for batch in self.ready
        ]

    @cached_property
    def requests(self) -> list[list[StackRequest]]:
        """What the batches are made of."""
        data = self.training_data(0)
        return [
            [StackRequest(**member) for member in data.members(0, number)]
            for number in range(self.options.batches)
        ]

    @cached_property
    def plain(self) -> PlainStacks:
        """The plain way's stacks, which must be the program's."""
        training = self.options.training(0)
        spec = input_spec(training), training.augmentation, training.seed
        made = PlainStacks(training.data, self.infos, *spec)
        stacks = torch.stack([made[request] for request in self.requests[0]])
        difference = float((stacks - self.ready[0]["stack"]).abs().max())
        if difference > SAME_PIXELS:
            raise SystemExit(f"the plain way's stacks differ by {difference:g}")
        return made

    def training_data(self, num_workers: int) -> TrainingData:
        """The program's batches."""
        options = self.options.training(num_workers)
        return training_data(options, options.data, self.infos, TASK, {})

    def note(self, name: str, found: tuple[Watch, float]) -> Measured:
        """Keep what a way's round has shown; returns its time per stack."""
        watch, self.losses[name] = found
        self.watches.setdefault(name, []).append(watch)
        return watch.time.per(self.options.steps * self.options.batch_size)

    def by_loop(self, name: str, num_workers: int | None) -> Measured:
        """The program's loop, with its loader or (None) fed from memory."""
        data = self.training_data(num_workers or 0)
        if num_workers is None:
            data = held(data, self.placed)
        where = (self.window, self.options.scratch or self.options.out_dir, self.options.compile)
        found = watched_fit(self.model, self.loss, self.training, self.compute, data, *where)
        return self.note(name, found)

    def by_plain(
        self, name: str, num_workers: int, precision: str, last: bool, fused: bool, own: bool
    ) -> Measured:
        """The plain training; `own` takes the program's loader."""
        layout = Layout(choose_compute(self.options.device, precision), last, fused)
        if own:
            batches = iter(self.training_data(num_workers).pieces(0, 0))
        else:
            batches = plain_batches(self.plain, self.requests, self.ready, num_workers)
        where = (layout, batches, self.window)
        found = watched_plain(self.model, self.loss, self.training.optimization, *where)
        return self.note(name, found)

    def ways(self) -> dict[str, Callable[[], Measured]]:
        """Every way by name; `plain` ones count loader processes too."""
        found: dict[str, Callable[[], Measured]] = {}
        for workers in self.options.num_workers:
            name = f"ours, {workers} workers"
            found[name] = partial(self.by_loop, name, workers)
        found[LIMIT] = partial(self.by_loop, LIMIT, None)
        for workers in self.options.loader_workers:
            name = f"plain, {workers} workers"
            found[name] = partial(self.by_plain, name, workers, "fp32", *[False] * 3)
        first = self.options.loader_workers[0]
        precision = str(self.compute.dtype).removeprefix("torch.")
        own = self.options.precision
        exchanges = {
            f"plain with {precision}": (own, False, False, False),
            "plain with channels last": ("fp32", True, False, False),
            "plain with fused AdamW": ("fp32", False, True, False),
            "plain with our loading": ("fp32", False, False, True),
        }
        for name, exchange in exchanges.items():
            found[name] = partial(self.by_plain, name, first, *exchange)
        return found

    def flops(self) -> int:
        """Operations of a training step per stack."""
        return TRAINING_PASSES * operations(self.forward) // self.options.batch_size

    def forward(self) -> None:
        """One forward pass, the loss included."""
        model = self.model.to(self.compute.device)
        batch = self.placed[0]
        with self.compute.autocast(), torch.no_grad():
            self.loss(model, batch, self.loss.counts(batch))


def check_losses(losses: dict[str, float], most: float) -> None:
    """The loader's batches must train as the ready ones do, but for a share of `most`."""
    for name, value in losses.items():
        if name.startswith("ours") and abs(value / losses[LIMIT] - 1) > most:
            raise SystemExit(f"{name}: the loss is {value:g}, from ready tensors {losses[LIMIT]:g}")


def main(options: Options) -> None:
    """Measure and print."""
    logging.getLogger("aneurysm").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # so it is meant
    bench = Bench(options)
    peaks: dict[str, float] = {}
    found = alternate(with_peaks(bench.ways(), bench.compute.device, peaks), options.rounds)
    ours = [f"ours, {workers} workers" for workers in options.num_workers]
    plain = [f"plain, {workers} workers" for workers in options.loader_workers]
    print(f"{machine(bench.compute)};\n{options.model} at {options.input_size} pixels, batches of")
    print(f"{options.batch_size}, medians of {options.rounds} rounds of {options.steps} steps")
    print_comparison("Stage-1 training", found, "stack", [LIMIT, plain[0]])
    waits = {name: median(w.wait for w in watches) for name, watches in bench.watches.items()}
    rows = [[name, f"{100 * wait:.1f} %"] for name, wait in waits.items()]
    print_table("Waiting for batches, share of the wall time", ["way", "wait"], rows)
    flops = bench.flops()
    seconds = {name: middle(found[name]).wall for name in (*ours, LIMIT, plain[0])}
    print_utilisation(bench.compute, flops, seconds, "stack", peaks)
    limits = {name: ratio(found, name, LIMIT) for name in ours}
    faster = {name: ratio(found, plain[0], name).wall for name in ours}
    on_cpu = [
        Target(f"{name}, CPU time as a multiple of {LIMIT}", 1.15, True, times.cpu)
        for name, times in limits.items()
    ]
    bf16 = bench.compute.dtype == torch.bfloat16
    on_cpu += [
        Target(
            f"{name}, times as fast as {plain[0]}",
            3.0,
            False,
            value if bf16 else None,
            "no bf16 instructions, or another --precision",
        )
        for name, value in faster.items()
    ]
    on_gpu = [
        Target(f"{name}, share of the rate of {LIMIT}", 0.95, False, 1 / times.wall)
        for name, times in limits.items()
    ]
    targets_by_device(bench.compute, on_cpu, on_gpu)
    check_losses(bench.losses, SAME_LOSS[bench.compute.device.type])


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
