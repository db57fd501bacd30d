"""Speed of feature extraction beside the bare forward pass and a plain extraction.

In alternating rounds of one run, on generated caches: the program's encoder; the loop of
extract_features.py, which reads and writes beside it; the forward pass alone on ready batches,
which is the limit; and the plain way, two float32 passes with channels first over rolled copies of
the whole volume, in batches of 16. A stack is one slice at one step. --compile compiles all but the
plain way.

    python -m benchmarks.extraction --out_dir /tmp/benchmark
    python -m benchmarks.extraction --out_dir /tmp/benchmark --series 4 --slices 320 \
        --plain_slices 32 --compile
"""

import copy
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro

from benchmarks.device_figures import operations, print_utilisation, with_peaks
from benchmarks.generated_caches import make_caches
from benchmarks.side_by_side import (
    NO_CUDA,
    Measured,
    Target,
    alternate,
    machine,
    measure,
    middle,
    print_comparison,
    ratio,
    targets_by_device,
)
from intracranial.artifacts import DataPaths, load_array
from intracranial.compute import choose_compute
from intracranial.imaging.pixels import STANDARD
from intracranial.inference.encoder import ENCODE_BATCH, Encoder
from intracranial.lineage import Stage1Sidecar
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from intracranial.options.features import ExtractFeaturesOptions
from intracranial.options.stage1 import StackAugmentation
from intracranial.provenance import Request
from intracranial.sampling.features import load_features
from intracranial.sampling.stacks import StackSpec, as_channels, neighbours, prepare_slices
from intracranial.stages.feature_extraction import FoldWork, extract_fold
from intracranial.tasks import RSNA_2025 as TASK
from intracranial.training.checkpoint import save_weights

STEPS = (1, 2)

UNTRAINED: dict[str, Any] = {
    "identity": "benchmark",
    "inputs": {},
    "partial": None,
    "task": TASK,
    "select": "last",
}
"""What the sidecar of weights says that nothing was trained for."""
OURS, WHOLE, BARE, PLAIN = "encoder", "with reading and writing", "bare forward", "plain"
GRAPHS = "bare forward, CUDA graphs"
SAME = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}
"""Largest difference between the logits of two ways, relative to their spread, by precision."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out_dir: Path
    """Generated cache (kept for the next run), weights and features."""

    model: str = "convnext_base"
    """timm backbone, with random weights."""

    input_size: int = 448
    """Edge of the network's input in pixels."""

    series: int = 2
    """Series that are read and written; the other ways see the first."""

    slices: int = 16
    """Slices of each."""

    plain_slices: int = 8
    """Slices that the plain way sees; on a CPU it may need more than a second a stack."""

    num_workers: int = 2
    """Threads that read ahead."""

    size: int = 512
    """Edge of the cached slices in pixels."""

    rounds: int = 3
    """Alternating rounds; the tables show medians."""

    compile: bool = False
    """Compile the network, as extract_features.py --compile does."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:INDEX."""

    precision: str = "auto"
    """auto, bf16, fp16 or fp32; the plain way is fp32."""


class Bench:
    """All ways over the same slices with the same weights."""

    def __init__(self, options: Options) -> None:
        """Make cache and network, and check that the ways agree."""
        self.options, self.compute = options, choose_compute(options.device, options.precision)
        self.data = DataPaths(options.out_dir / "data")
        self.infos = make_caches(self.data, options.series, options.slices, options.size)
        self.first = next(iter(self.infos.values()))
        self.extraction = ExtractFeaturesOptions(
            data_dir=self.data.root,
            model_dir=options.out_dir / "model",
            run=options.model,
            num_workers=options.num_workers,
        )
        self.paths = self.extraction.fold_paths(0)
        config = SliceClassifierConfig(options.model, len(TASK.labels), options.input_size, "", 0.0)
        torch.manual_seed(0)
        network = SliceClassifier(config)
        save_weights(self.paths.weights("stage1"), network)
        inputs = StackSpec(0.875, options.input_size, 2.5)
        self.region = inputs.region(options.size)
        self.stage1 = Stage1Sidecar(
            path=self.paths.manifest("stage1"),
            **UNTRAINED,
            config=asdict(StackAugmentation()),
            model=config,
            input=inputs,
            steps=STEPS,
            preprocessing=replace(STANDARD, size=options.size),
            weights_licence="random initial weights",
        )
        self.encoder = Encoder(self.paths, self.stage1, self.compute, options.compile)
        self.graphs: torch.nn.Module | None = None
        if options.compile and self.compute.device.type == "cuda":
            self.graphs = copy.deepcopy(network).to(memory_format=torch.channels_last)
            self.graphs = self.graphs.to(self.compute.device).eval()
            self.graphs.compile(mode="reduce-overhead")
        self.plain = network.to(self.compute.device).eval()
        prepared = torch.from_numpy(as_channels(prepare_slices(self.volume(), inputs, self.region)))
        self.batches = [
            self.compute.place(prepared[torch.tensor(group)])
            for step in STEPS
            for group in self._groups(step)
        ]

    def _groups(self, step: int) -> list[list[list[int]]]:
        """Slices of the stacks of each batch; the tail is filled up as the encoder does it."""
        n = self.options.slices
        filled = -(-n // self.encoder.multiple) * self.encoder.multiple
        stacks = [
            neighbours(min(i, n - 1), step, n, self.encoder.inputs.slices) for i in range(filled)
        ]
        size = self.encoder.batch
        return [stacks[i : i + size] for i in range(0, filled, size)]

    def volume(self) -> np.ndarray:
        """The cache, memory-mapped."""
        return load_array(self.data.sequence(self.first.uid), "the benchmark")

    def ours(self) -> np.ndarray:
        """Logits (steps, n, L) by the encoder."""
        found = self.encoder.encode(self.volume(), self.region)
        return np.stack([found[step].logits for step in STEPS])

    def whole(self) -> None:
        """Feature files of all series from their caches."""
        request = Request("features", {}, {})
        uids = list(self.infos)
        work = FoldWork(0, self.paths, self.stage1, request, uids)
        extract_fold(work, self.encoder, self.infos, set(uids), self.extraction)

    @torch.inference_mode()
    def bare(self) -> np.ndarray:
        """Logits (steps, n, L) by forward passes over ready batches."""
        found = []
        for batch in self.batches:
            with self.compute.autocast():
                found.append(self.encoder.model(batch).logits)
        logits = torch.cat(found).float().cpu().numpy()
        return logits.reshape(len(STEPS), -1, logits.shape[-1])[:, : self.options.slices]

    @torch.no_grad()
    def by_graphs(self) -> np.ndarray:
        """The same by a network that was compiled into CUDA graphs."""
        assert self.graphs is not None
        found = []
        for batch in self.batches:
            torch.compiler.cudagraph_mark_step_begin()  # the next replay overwrites its outputs
            with self.compute.autocast():
                found.append(self.graphs(batch).logits.clone())
        logits = torch.cat(found).float().cpu().numpy()
        return logits.reshape(len(STEPS), -1, logits.shape[-1])[:, : self.options.slices]

    @torch.inference_mode()
    def by_plain(self) -> np.ndarray:
        """Logits (steps, k, L) of the first slices, by a pass for each step that wraps round."""
        spec, region = self.encoder.inputs, self.region
        whole = self.volume()[: self.options.plain_slices].astype(np.float32)
        cropped = region.of(whole)
        target = (spec.input_size, spec.input_size)
        method = cv2.INTER_AREA if spec.input_size < region.width else cv2.INTER_LINEAR
        prepared = np.stack([cv2.resize(image, target, interpolation=method) for image in cropped])
        prepared -= np.float32(spec.mean)
        found = []
        for step in STEPS:
            rolled = (np.roll(prepared, step, axis=0), prepared, np.roll(prepared, -step, axis=0))
            stacks = torch.from_numpy(np.stack(rolled, axis=1))  # (n, 3, S, S)
            parts = [
                self.plain(batch.to(self.compute.device)).logits.cpu()
                for batch in stacks.split(ENCODE_BATCH)
            ]
            found.append(torch.cat(parts).numpy())
        return np.stack(found)

    def check(self) -> None:
        """Run every way once; they must agree where the plain one does not wrap round."""
        wanted, inner = self.ours(), slice(max(STEPS), self.options.plain_slices - max(STEPS))
        self.whole()
        sets = load_features(self.paths.feature(self.first.uid))
        written = np.stack([sets[step, 0].logits for step in STEPS])
        others = {WHOLE: written, BARE: self.bare(), PLAIN: self.by_plain()}
        if self.graphs is not None:
            others[GRAPHS] = self.by_graphs()
        for name, logits in others.items():
            difference = np.abs(logits[:, inner] - wanted[:, inner]).max() / wanted.std()
            if difference > SAME[self.compute.dtype]:
                raise SystemExit(f"{name}: logits differ by {difference:.3g} of their spread")

    def ways(self) -> dict[str, Callable[[], Measured]]:
        """Every way by name, timed per stack."""
        options = self.options
        runs: dict[str, tuple[Callable[[], object], int]] = {
            OURS: (self.ours, options.slices),
            WHOLE: (self.whole, options.slices * options.series),
            BARE: (self.bare, options.slices),
            PLAIN: (self.by_plain, options.plain_slices),
        }
        if self.graphs is not None:
            runs[GRAPHS] = (self.by_graphs, options.slices)

        def timed(run: Callable[[], object], slices: int) -> Measured:
            return measure(run, self.compute.device).per(slices * len(STEPS))

        return {name: partial(timed, *run) for name, run in runs.items()}


def main(options: Options) -> None:
    """Measure and print."""
    logging.getLogger("aneurysm").setLevel(logging.ERROR)
    bench = Bench(options)
    bench.check()
    peaks: dict[str, float] = {}
    found = alternate(with_peaks(bench.ways(), bench.compute.device, peaks), options.rounds)
    print(f"{machine(bench.compute)};\n{options.model} at {options.input_size} pixels,")
    print(f"{options.slices} slices, steps {STEPS}, medians of {options.rounds} rounds")
    print_comparison("Feature extraction", found, "stack", [BARE, PLAIN])
    seconds_300 = 300 * len(STEPS) * middle(found[WHOLE]).wall
    print(f"\n300 slices, from the time of a stack: {seconds_300:.1f} s")
    flops = operations(bench.bare) // sum(len(batch) for batch in bench.batches)
    seconds = {name: middle(found[name]).wall for name in found}
    print_utilisation(bench.compute, flops, seconds, "stack", peaks)
    if GRAPHS not in found:
        print(f"\n{GRAPHS}: not run: {NO_CUDA}, or without --compile")
    bf16 = bench.compute.dtype == torch.bfloat16
    faster, why = ratio(found, PLAIN, OURS).wall, "no bf16 instructions, or another --precision"
    on_cpu = [
        Target(
            f"{name}, CPU time as a multiple of the {BARE}", 1.1, True, ratio(found, name, BARE).cpu
        )
        for name in (OURS, WHOLE)
    ]
    on_cpu.append(Target("times as fast as plain", 5.0, False, faster if bf16 else None, why))
    on_gpu = [
        Target(
            f"{name}, share of the rate of the {BARE}", 0.95, False, ratio(found, BARE, name).wall
        )
        for name in (OURS, WHOLE)
    ]
    on_gpu.append(Target("300 slices, from the time of a stack, s", 1.0, True, seconds_300))
    targets_by_device(bench.compute, on_cpu, on_gpu)


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
