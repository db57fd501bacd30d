"""Speed of stage-2 training beside the bare passes, padding, and the cost of reading features.

In alternating rounds of one run, over the same batches of generated feature files whose lengths
are lognormal: the program's loop with its loader; the same loop fed from memory; and forward and
backward passes alone, which are the limit. Time is that of steady steps.

    python -m benchmarks.sequences --out_dir /tmp/benchmark
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import torch
import tyro

from benchmarks.device_figures import operations, print_utilisation, with_peaks
from benchmarks.generated_caches import generated_info, generated_lengths, make_features
from benchmarks.side_by_side import (
    Measured,
    Target,
    alternate,
    machine,
    measure,
    middle,
    print_comparison,
    print_table,
    ratio,
    targets_by_device,
)
from benchmarks.steps import Watch, Window, held, watched_fit
from intracranial.compute import choose_compute
from intracranial.config import with_values
from intracranial.models.sequence_classifier import SequenceClassifier
from intracranial.options.stage2 import TrainStage2Options
from intracranial.sampling.sequences import bucketed
from intracranial.stages.sequence_training import Stage2Loss, model_config, training_data
from intracranial.tasks import RSNA_2025 as TASK
from intracranial.training.batches import Batch, TrainingData

MEMORY, BARE = "from memory", "bare passes"
STEPS = (1, 2)
WASTE = 0.1
"""Largest share of padded slices."""

READING = 0.1
"""Reading is no bottleneck when its CPU time is below this share of that of the bare passes."""

SAME_LOSS = {"cpu": 1e-3, "cuda": 1e-2}
"""Largest relative difference of the losses of loader and memory."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out_dir: Path
    """Generated features (kept for the next run) and scratch space."""

    features: int = 1024
    """Stage 1's number of features."""

    width: int = 1024
    """Width of the transformer and its feed-forward layers."""

    batch_size: int = 16
    """Series a step."""

    num_workers: tuple[int, ...] = (0, 2)
    """Loader processes of the program's loop, one way each."""

    warm: int = 1
    """Steps before the clock starts."""

    steps: int = 4
    """Steps that are measured in a round."""

    rounds: int = 5
    """Alternating rounds; the tables show medians."""

    planned: int = 4000
    """Series whose batches are planned to find the share of padding."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX."""

    precision: str = "auto"
    """auto, bf16, fp16 or fp32."""

    scratch: Path | None = None
    """Folder for checkpoints, which are deleted again (default: out_dir)."""

    @property
    def batches(self) -> int:
        """Batches of an epoch: the measured steps and what loaders fetch ahead, two each."""
        return self.warm + self.steps + 1 + 2 * max(self.num_workers)

    def training(self, num_workers: int) -> TrainStage2Options:
        """Options of the stage."""
        return with_values(
            TrainStage2Options(model_dir=self.out_dir / "model", run="sequences"),
            batch_size=self.batch_size,
            width=self.width,
            feed_forward=self.width,
            num_workers=num_workers,
        )


def waste(batches: Iterable[list[str]], lengths: dict[str, int]) -> float:
    """Share of padded slices when each batch is padded to its longest series."""
    slices = [[lengths[uid] for uid in batch] for batch in batches]
    return 1 - sum(map(sum, slices)) / sum(max(batch) * len(batch) for batch in slices)


def planned_waste(options: Options, limit: int) -> tuple[float, float]:
    """Share of padded slices in the program's batches, and in batches of series in random order."""
    drawn = generated_lengths(options.planned)
    infos = [generated_info(number, n, 512) for number, n in enumerate(drawn)]
    lengths = {info.uid: min(info.n, limit) for info in infos}
    by_uid, size = {info.uid: info for info in infos}, options.batch_size
    bucket = options.training(0).input.bucket
    ours = [[uid for uid, _ in batch] for batch in bucketed(by_uid, size, bucket, 0, 0)]
    uids = list(by_uid)  # lengths are drawn one by one, so this order is random
    random = [uids[i : i + size] for i in range(0, len(uids), size)]
    return waste(ours, lengths), waste(random, lengths)


class Bench:
    """All ways over the same batches and the same initial weights."""

    def __init__(self, options: Options) -> None:
        """Make feature files, network and ready batches."""
        self.options, self.compute = options, choose_compute(options.device, options.precision)
        training = options.training(0)
        self.paths = training.fold_paths(f"{options.features}")
        lengths = generated_lengths(options.batches * options.batch_size)
        self.infos = make_features(self.paths, lengths, options.features, STEPS)
        torch.manual_seed(0)
        self.model = SequenceClassifier(model_config(training, options.features, TASK))
        self.loss = Stage2Loss(training.loss.focal_gamma, training.loss.slice_weight, 0.0)
        self.training, self.window = training, Window(options.warm, options.steps)
        data = self.training_data(max(options.num_workers))
        with closing(data):
            loaded = list(islice(data.pieces(0, 0), self.window.total))
        self.placed: list[Batch] = [
            {name: self.compute.place(tensor) for name, tensor in batch.items()} for batch in loaded
        ]
        self.watches: dict[str, list[Watch]] = {}
        self.losses: dict[str, float] = {}

    def training_data(self, num_workers: int) -> TrainingData:
        """The program's batches."""
        return training_data(self.options.training(num_workers), self.paths, self.infos, TASK)

    def by_loop(self, name: str, num_workers: int | None) -> Measured:
        """The program's loop, with its loader or (None) fed from memory."""
        data = self.training_data(num_workers or 0)
        if num_workers is None:
            data = held(data, self.placed)
        where = (self.window, self.options.scratch or self.options.out_dir)
        watch, self.losses[name] = watched_fit(
            self.model, self.loss, self.training, self.compute, data, *where
        )
        self.watches.setdefault(name, []).append(watch)
        return watch.time.per(self.options.steps * self.options.batch_size)

    def passes(self) -> None:
        """Forward and backward passes over the measured batches."""
        model = self.model.to(self.compute.device).train()
        for batch in self.placed[self.window.warm : -1]:
            with self.compute.autocast():
                parts = self.loss(model, batch, self.loss.counts(batch))
            parts["loss"].backward()
            model.zero_grad(set_to_none=True)

    def bare(self) -> Measured:
        """The passes, timed per sequence."""
        found = measure(self.passes, self.compute.device)
        return found.per(self.options.steps * self.options.batch_size)

    def reading(self) -> Measured:
        """Loading of the measured batches in this process, per sequence."""
        pieces = self.training_data(0).pieces(0, self.window.warm)
        found = measure(lambda: list(islice(pieces, self.options.steps)))
        return found.per(self.options.steps * self.options.batch_size)

    def flops(self) -> int:
        """Operations of a training step per sequence."""
        return operations(self.passes) // (self.options.steps * self.options.batch_size)

    def ways(self) -> dict[str, Callable[[], Measured]]:
        """Every way by name."""
        found: dict[str, Callable[[], Measured]] = {}
        for workers in self.options.num_workers:
            name = f"ours, {workers} workers"
            found[name] = partial(self.by_loop, name, workers)
        found[MEMORY] = partial(self.by_loop, MEMORY, None)
        return {**found, BARE: self.bare, "reading alone": self.reading}

    def padded(self) -> float:
        """Share of padded slices in the measured batches."""
        masks = [batch["mask"] for batch in self.placed]
        return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def main(options: Options) -> None:
    """Measure and print."""
    logging.getLogger("aneurysm").setLevel(logging.ERROR)
    bench = Bench(options)
    bench.passes()  # warm
    peaks: dict[str, float] = {}
    found = alternate(with_peaks(bench.ways(), bench.compute.device, peaks), options.rounds)
    ours = [f"ours, {workers} workers" for workers in options.num_workers]
    print(f"{machine(bench.compute)};\nbatches of {options.batch_size} series, medians of")
    print(f"{options.rounds} rounds of {options.steps} steps")
    print_comparison("Stage-2 training", found, "sequence", [MEMORY, BARE])
    rows = [
        [name, f"{100 * median(watch.wait for watch in watches):.1f} %"]
        for name, watches in bench.watches.items()
    ]
    print_table("Waiting for batches, share of the wall time", ["way", "wait"], rows)
    limit = options.training(0).input.limit_slices
    bucketing, none = planned_waste(options, limit)
    shares = {
        f"bucketing, {options.planned} series": bucketing,
        "batches in random order": none,
        "the measured batches, after dropped slices": bench.padded(),
    }
    rows = [[name, f"{100 * share:.1f} %"] for name, share in shares.items()]
    print_table("Padded slices, share of all", ["batches", "padded"], rows)
    flops = bench.flops()
    seconds = {name: middle(found[name]).wall for name in (*ours, MEMORY, BARE)}
    print_utilisation(bench.compute, flops, seconds, "sequence", peaks)
    reading = ratio(found, "reading alone", BARE)
    padding = Target("share of padded slices", WASTE, True, bucketing)
    on_cpu = [
        padding,
        Target("CPU time of reading as a share of the bare passes", READING, True, reading.cpu),
    ]
    on_gpu = [
        padding,
        *(
            Target(
                f"{name}, share of the rate {MEMORY}",
                0.95,
                False,
                1 / ratio(found, name, MEMORY).wall,
            )
            for name in ours
        ),
    ]
    targets_by_device(bench.compute, on_cpu, on_gpu)
    for name, value in bench.losses.items():
        if abs(value / bench.losses[MEMORY] - 1) > SAME_LOSS[bench.compute.device.type]:
            raise SystemExit(f"{name}: the loss is {value:g}, not {bench.losses[MEMORY]:g}")


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
