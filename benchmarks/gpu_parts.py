"""Parts of benchmarks/gpu_check.py that measure; each is called in a process of its own.

    python -m benchmarks.gpu_parts --part facts --work_dir /tmp/gpu_check --result /tmp/facts.json

A part notes its figures one after the other, so that one that is ended leaves those it has found.
"""

import contextlib
import logging
import math
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import tyro

from benchmarks import end_to_end, extraction, generated_dicom, sequences, training
from benchmarks.device_figures import matrix_rate, with_peaks
from benchmarks.generated_caches import generated_lengths, make_caches, make_features
from benchmarks.gpu_chain import chain, make_data, resume, unit_tests
from benchmarks.gpu_setting import (
    GIB,
    SMALL_SHAPE,
    Notes,
    Setting,
    free_shared_memory,
    rounded,
)
from benchmarks.side_by_side import Rounds, alternate, machine, middle, synchronise
from benchmarks.steps import Watch
from intracranial.artifacts import DataPaths
from intracranial.compute import Compute, choose_compute
from intracranial.errors import UsageError

COPIED = {"cuda": GIB, "cpu": GIB // 16}
"""Bytes of the memory that is copied to find its rate."""

LOADER, MEMORY = "loader", "memory"
FIRST_SCALE = 2.0**16
"""Scale with which torch's gradient scaler begins; each step that it leaves out halves it."""

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pandas", "triton", "pydicom", "safetensors")


def package_version(name: str) -> str:
    """Version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def copy_rate(source: torch.Tensor, target: torch.Tensor, device: torch.device) -> float:
    """Bytes per second of copying one tensor to another one."""
    best = float("inf")
    for _ in range(6):
        synchronise(device)
        start = time.perf_counter()
        target.copy_(source, non_blocking=True)
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return source.numel() * source.element_size() / best


def facts(setting: Setting, note: Notes) -> None:
    """What the machine is, and how fast it multiplies and copies."""
    note(versions={name: package_version(name) for name in PACKAGES}, python=sys.version.split()[0])
    compute = choose_compute(setting.device)
    note(machine=machine(compute), chosen=compute.reason)
    note(shared_memory_gib=rounded(free_shared_memory() / GIB), workers=setting.workers)
    device = compute.device
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        note(
            gpu=found.name,
            gpus=torch.cuda.device_count(),
            gpu_gib=rounded(found.total_memory / GIB),
            multiprocessors=found.multi_processor_count,
            capability=f"{found.major}.{found.minor}",
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
        )
    rates = {}
    for precision in ("bf16", "fp16", "fp32"):
        with contextlib.suppress(UsageError):  # a CPU has no fp16
            rate = matrix_rate(choose_compute(setting.device, precision))
            rates[precision] = rounded(rate / 1e12)
    note(tflops=rates)
    memory = torch.ones(COPIED[device.type], dtype=torch.uint8, device=device)
    # a copy reads and writes
    note(copy_gb_s=rounded(2 * copy_rate(memory, torch.empty_like(memory), device) / 1e9))
    if device.type == "cuda":
        pinned = torch.ones(GIB // 4, dtype=torch.uint8).pin_memory()
        note(to_device_gb_s=rounded(copy_rate(pinned, memory[: GIB // 4], device) / 1e9))


def caches(setting: Setting, note: Notes) -> None:
    """Generated caches and features, which the parts that follow find."""
    sizes, processes = setting.sizes, 1 if setting.small else setting.cores
    start = time.perf_counter()
    data = DataPaths(setting.work_dir / "data")
    make_caches(data, sizes.series, sizes.slices, sizes.cache_edge, processes)
    made = time.perf_counter()
    options = sequence_options(setting)
    paths = options.training(0).fold_paths(f"{options.features}")
    lengths = generated_lengths(options.batches * options.batch_size)
    make_features(paths, lengths, options.features, sequences.STEPS, processes)
    note(caches_s=rounded(made - start), features_s=rounded(time.perf_counter() - made))


def dicom(setting: Setting, note: Notes) -> None:
    """Generated DICOM series of a whole head."""
    options = end_to_end_options(setting)
    uids = [f"2.25.{100 + number}" for number in range(options.series)]
    generated_dicom.make_set(options.out_dir, options.kind, uids)
    note(series=len(uids))


def watched_peak(device: torch.device, run: Callable[[], object]) -> dict[str, float]:
    """GiB of device memory that a run has taken beside what was there; nothing on a CPU."""
    if device.type != "cuda":
        run()
        return {}
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    allocated, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    run()
    return {
        "peak_gib": rounded((torch.cuda.max_memory_allocated(device) - allocated) / GIB),
        "reserved_gib": rounded((torch.cuda.max_memory_reserved(device) - reserved) / GIB),
    }


def speed(seconds: float, batch: int, flops: int | None, rate: float) -> dict[str, float]:
    """Figures of a training of which one sample takes so long.

    Args:
        seconds: per sample.
        batch: samples a step.
        flops: operations per sample, None where they are not known yet.
        rate: measured operations per second of a dense product.
    """
    found = {"per_s": rounded(1 / seconds), "step_ms": rounded(1000 * seconds * batch)}
    if flops is not None:
        found["share_of_rate"] = rounded(flops / seconds / rate)
    return found


def from_watch(watch: Watch, compute: Compute) -> dict[str, float]:
    """What else a watched training has shown."""
    found = {"waiting": rounded(watch.wait)}
    if compute.scaled:
        found["skipped_steps"] = round(math.log2(FIRST_SCALE / watch.scale))
    return found


def stage1_options(setting: Setting, precision: str, compiled: bool) -> training.Options:
    """Of the benchmark of stage 1."""
    sizes = setting.sizes
    return training.Options(
        out_dir=setting.work_dir,
        model=sizes.model,
        input_size=sizes.input_size,
        batch_size=sizes.batch_size,
        optimizer="mars",
        series=sizes.series,
        slices=sizes.slices,
        size=sizes.cache_edge,
        num_workers=(setting.workers,),
        loader_workers=(setting.workers,),
        warm=sizes.warm,
        steps=sizes.steps,
        device=setting.device,
        precision=precision,
        scratch=setting.scratch,
        compile=compiled,
    )


def sequence_options(setting: Setting) -> sequences.Options:
    """Of the benchmark of stage 2, whose network is the default one."""
    sizes = setting.sizes
    return sequences.Options(
        out_dir=setting.work_dir,
        features=sizes.width,
        width=sizes.width,
        batch_size=sizes.sequences,
        num_workers=(setting.workers,),
        warm=sizes.warm,
        steps=sizes.sequence_steps,
        device=setting.device,
        precision=setting.precision,
        scratch=setting.scratch,
    )


def end_to_end_options(setting: Setting) -> end_to_end.Options:
    """Of the benchmark of both stages on DICOM folders."""
    sizes = setting.sizes
    return end_to_end.Options(
        out_dir=setting.work_dir / "end_to_end",
        kind=sizes.dicom,
        series=2,
        model=sizes.model,
        input_size=sizes.input_size,
        size=sizes.cache_edge,
        width=sizes.width,
        num_workers=(1,) if setting.small else (2, setting.workers),
        measured=sizes.dicom_measured,
        device=setting.device,
        precision=setting.precision,
    )


def train_stage1(setting: Setting, note: Notes, precision: str, compiled: bool) -> None:
    """Steady steps of stage 1 by the program's loop, from its loader and from memory."""
    bench = training.Bench(stage1_options(setting, precision, compiled))
    compute, options = bench.compute, bench.options
    note(chosen=compute.reason, batch=options.batch_size, model=options.model)
    rate = matrix_rate(compute)
    ways: dict[str, int | None] = {LOADER: setting.workers, MEMORY: None}
    for name, workers in reversed(ways.items()) if compiled else ways.items():
        if workers is None:
            len(bench.placed)  # made now, so that it is no memory of the training
        start = time.perf_counter()
        peaks = watched_peak(compute.device, partial(bench.by_loop, name, workers))
        (watch,), taken = bench.watches[name], time.perf_counter() - start
        seconds = watch.time.wall / (options.steps * options.batch_size)
        flops = bench.flops()
        figures = speed(seconds, options.batch_size, flops, rate) | from_watch(watch, compute)
        figures |= peaks | {"loss": rounded(bench.losses[name]), "seconds": rounded(taken)}
        note(**{name: figures}, gflop=rounded(flops / 1e9), tflops=rounded(rate / 1e12))
    if compiled:
        note(**compiled_frames())


def compile_stage1(setting: Setting, note: Notes, precision: str) -> None:
    """Compile stage 1's training: what it costs, and it fills the compiler's cache."""
    options = replace(stage1_options(setting, precision, True), warm=1, steps=1)
    bench = training.Bench(options)
    start = time.perf_counter()
    bench.by_loop(LOADER, setting.workers)
    note(two_steps_s=rounded(time.perf_counter() - start), loss=rounded(bench.losses[LOADER]))
    note(**compiled_frames())


def compiled_frames() -> dict[str, int]:
    """What torch.compile has done in this process: what it cannot compile runs as it is."""
    from torch._dynamo.utils import counters

    frames, breaks = counters["frames"], counters["graph_break"]
    return {
        "frames": frames["total"],
        "frames_compiled": frames["ok"],
        "graph_breaks": sum(breaks.values()),
    }


def train_stage2(setting: Setting, note: Notes) -> None:
    """Steady steps of stage 2 by the program's loop, from its loader and from memory."""
    bench = sequences.Bench(sequence_options(setting))
    compute, options = bench.compute, bench.options
    note(chosen=compute.reason, batch=options.batch_size, width=options.width)
    bench.passes()  # warm
    rate, flops = matrix_rate(compute), bench.flops()
    note(gflop=rounded(flops / 1e9), tflops=rounded(rate / 1e12), padded=rounded(bench.padded()))
    ways: dict[str, int | None] = {LOADER: setting.workers, MEMORY: None}
    for name, workers in ways.items():
        peaks = watched_peak(compute.device, partial(bench.by_loop, name, workers))
        (watch,) = bench.watches[name]
        seconds = watch.time.wall / (options.steps * options.batch_size)
        figures = speed(seconds, options.batch_size, flops, rate) | from_watch(watch, compute)
        note(**{name: figures | peaks | {"loss": rounded(bench.losses[name])}})


def per_second(found: Rounds, unit: str, peaks: dict[str, float]) -> dict[str, Any]:
    """Rate of every way, and its peak of device memory in GiB."""
    return {
        name: {unit: rounded(1 / middle(values).wall)}
        | ({"peak_gib": rounded(peaks[name])} if name in peaks else {})
        for name, values in found.items()
    }


def extract(setting: Setting, note: Notes) -> None:
    """Extraction of features, after a check that its ways agree."""
    sizes = setting.sizes
    bench = extraction.Bench(
        extraction.Options(
            out_dir=setting.work_dir,
            model=sizes.model,
            input_size=sizes.input_size,
            series=sizes.series,
            slices=sizes.slices,
            num_workers=setting.workers,
            size=sizes.cache_edge,
            device=setting.device,
            precision=setting.precision,
        )
    )
    note(chosen=bench.compute.reason)
    apart: SystemExit | None = None
    try:
        bench.check()
    except SystemExit as error:  # their speed is worth knowing all the same
        apart = error
    note(ways_agree=str(apart or "yes"))
    peaks: dict[str, float] = {}
    rounds = 1 if setting.small else 3
    found = alternate(with_peaks(bench.ways(), bench.compute.device, peaks), rounds)
    note(**per_second(found, "stacks_per_s", peaks))
    if apart is not None:
        raise apart


def detect(setting: Setting, note: Notes) -> None:
    """Both stages on DICOM folders."""
    bench = end_to_end.Bench(end_to_end_options(setting))
    note(chosen=bench.predictor.compute.reason, kind=bench.options.kind)
    parts = bench.parts()
    note(seconds_a_series={name: rounded(seconds) for name, seconds in parts.items()})
    peaks: dict[str, float] = {}
    for name, way in with_peaks(bench.ways(), bench.predictor.compute.device, peaks).items():
        note(**per_second({name: [way()]}, "series_per_s", peaks))


PARTS: dict[str, Callable[[Setting, Notes], None]] = {
    "facts": facts,
    "caches": caches,
    "data": make_data,
    "dicom": dicom,
    "tests": unit_tests,
    "chain": chain,
    "resume": resume,
    "compile bf16": partial(compile_stage1, precision="bf16"),
    "training bf16": partial(train_stage1, precision="bf16", compiled=False),
    "training fp16": partial(train_stage1, precision="fp16", compiled=False),
    "training bf16 compiled": partial(train_stage1, precision="bf16", compiled=True),
    "training fp16 compiled": partial(train_stage1, precision="fp16", compiled=True),
    "stage 2": train_stage2,
    "extraction": extract,
    "end to end": detect,
}
"""What each part calls."""


def main(setting: Setting) -> None:
    """Do one part."""
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("aneurysm").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # so it is meant
    if setting.small:
        generated_dicom.SHAPES["64"] = SMALL_SHAPE
    PARTS[setting.part](setting, Notes(setting.result))


if __name__ == "__main__":
    main(tyro.cli(Setting, use_underscores=True))
