"""Speed of preprocess_data.py beside what else one would write, on generated CT series.

In alternating rounds of one run: this program's worker; a plain loop over pydicom, numpy and cv2;
SimpleITK's series reader with the same windowing; and np.save of ready arrays, the limit of all.
CPU time is user and system of a process and all its children; files come from the page cache.

    python -m benchmarks.preprocess --out_dir /tmp/benchmark

Runs on Linux only (/proc). SimpleITK comes with requirements-dev.txt.
"""

import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import tyro

from benchmarks.generated_dicom import SHAPES, WARM, WARM_SLICES, acquisition_of, make_set
from benchmarks.side_by_side import (
    Measured,
    machine,
    measure,
    middle,
    print_table,
    ratio,
    status_kib,
)
from intracranial.surroundings import OwnModules

if TYPE_CHECKING:
    from intracranial.processes.pool import WorkerPool

SIZE = 512
LOW_HU, HIGH_HU, TOP = 0.0, 600.0, 5.0
"""The window of intracranial.imaging.intensity; the competitors spell it out again."""

AGREEMENT = 0.01
"""Largest difference between two programs' values in 0..TOP, which are rounded to float16."""

SYNTAXES = ("raw", "rle", "jpeg_lossless", "jpeg_ls", "jpeg_2000")
SETS = (*(f"{syntax}-{shape}" for shape in SHAPES for syntax in SYNTAXES), "multiframe-512")
TIME_LIMIT = 600.0  # seconds for one series

WARM_ROUNDS = 2  # for each process of a pool; its processes take turns


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out_dir: Path
    """Generated series (kept for the next run) and scratch space, about 4 GB with all sets."""

    rounds: int = 5
    """Alternating rounds; the tables show medians."""

    sets: tuple[str, ...] = SETS
    """Kinds of series."""

    series: int = 4
    """Series of each kind that a round reads."""

    processes: tuple[int, ...] = (1, 2)
    """Numbers of processes."""

    @property
    def uids(self) -> list[str]:
        """Of the series of one kind."""
        return [f"2.25.{100 + k}" for k in range(self.series)]


def post_process(images: Iterable[np.ndarray], target: Path, slices: bool) -> None:
    """Window, resize and write HU as most do: float32 slices (rows, columns)."""
    result = []
    for image in images:
        scaled = (np.clip(image, LOW_HU, HIGH_HU) - LOW_HU) / (HIGH_HU - LOW_HU) * TOP
        result.append(cv2.resize(scaled, (SIZE, SIZE)).astype(np.float16))
    save(np.stack(result), target, slices)


def save(cached: np.ndarray, target: Path, slices: bool) -> None:
    """Write a sequence and its slice files."""
    target.mkdir(parents=True, exist_ok=True)
    np.save(target / "sequence.npy", cached)
    for index, image in enumerate(cached if slices else ()):
        np.save(target / f"{index:04d}.npy", image)


def with_pydicom(folder: Path, target: Path, slices: bool) -> None:
    """A plain loop over pydicom, numpy and cv2."""
    import pydicom

    datasets = [pydicom.dcmread(path) for path in folder.iterdir()]
    if "NumberOfFrames" in datasets[0]:
        dataset = datasets[0]
        shared = dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
        frames = dataset.PerFrameFunctionalGroupsSequence
        heights = [frame.PlanePositionSequence[0].ImagePositionPatient[2] for frame in frames]
        stored = dataset.pixel_array[np.argsort(heights)].astype(np.float32)
        images = list(stored * float(shared.RescaleSlope) + float(shared.RescaleIntercept))
    else:
        datasets.sort(key=lambda dataset: dataset.ImagePositionPatient[2])
        images = [
            d.pixel_array.astype(np.float32) * float(d.RescaleSlope) + float(d.RescaleIntercept)
            for d in datasets
        ]
    post_process(images, target, slices)


def with_simpleitk(folder: Path, target: Path, slices: bool) -> None:
    """SimpleITK's series reader, which orders and rescales."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(folder))
    reader.SetFileNames(names)
    # A file of many frames is a volume already. The view below lives as long as this.
    volume = reader.Execute() if len(names) > 1 else sitk.ReadImage(names[0])
    post_process(sitk.GetArrayViewFromImage(volume).astype(np.float32), target, slices)


def with_np_save(folder: Path, target: Path, slices: bool) -> None:
    """Only write, from an array that is ready in memory."""
    warm, n = folder.name == WARM, acquisition_of(folder.parents[1].name).n_slices
    save(ready_array(n)[: WARM_SLICES if warm else n], target, slices)


@cache
def ready_array(n: int) -> np.ndarray:
    """Some float16 (n, SIZE, SIZE); a process makes it once."""
    return np.ones((n, SIZE, SIZE), dtype=np.float16)


OURS = "ours"
OTHERS = {"pydicom": with_pydicom, "SimpleITK": with_simpleitk, "np.save": with_np_save}
METHODS = (OURS, *OTHERS)


def run_method(
    method: str, root: Path, uids: Sequence[str], slices: bool, pool: "WorkerPool | None" = None
) -> None:
    """Read and write series, in this process or in a pool that has started.

    All methods share the pool of intracranial.caching.jobs.run_jobs.
    """
    tasks: list[tuple[Any, ...]]
    if method == OURS:
        from intracranial.caching.job import cache_series
        from intracranial.caching.secret import make_key
        from intracranial.options.preprocess import PreprocessOptions
        from intracranial.stages.preprocessing import make_job

        options = PreprocessOptions(data_dir=root, slices=slices)
        key = make_key(options.data)
        tasks = [(cache_series, make_job(uid, options, key)) for uid in uids]
    else:
        read = OTHERS[method]
        tasks = [(read, root / "series" / uid, root / "other" / uid, slices) for uid in uids]
    if pool is None:
        found = [function(*args) for function, *args in tasks]
    else:
        found = [future.result() for future in [pool.submit(*task) for task in tasks]]
    if rejected := [outcome for outcome in found if outcome is not None and outcome.code]:
        raise SystemExit(f"{root}: {rejected[0]}")


def check_agreement(root: Path, uid: str) -> None:
    """The competitors must do the same work."""
    found = {}
    for method in (OURS, "pydicom", "SimpleITK"):
        run_method(method, root, [uid], False)
        path = root / "npy_sequence" / f"{uid}.npy"
        path = path if method == OURS else root / "other" / uid / "sequence.npy"
        found[method] = np.load(path).astype(np.float32)
        difference = np.abs(found[method] - found[OURS]).max()
        if difference > AGREEMENT:
            raise SystemExit(f"{root.name}: {method} differs by {difference:g}")


def measure_clean(run: Callable[[], None], root: Path, series: int) -> Measured:
    """Time one run per series, with its outputs gone before and nothing left to write back."""
    for name in ("npy_sequence", "npy_slice", "other"):
        shutil.rmtree(root / name, ignore_errors=True)
    os.sync()
    return measure(run).per(series)


Results = dict[tuple[str, int, bool, str], list[Measured]]
"""Set, processes, slice files, method: one entry per round."""


def measure_set(options: Options, name: str, results: Results) -> None:
    """All methods in alternation; the order turns from round to round."""
    from intracranial.processes.pool import WorkerPool

    root = options.out_dir / name
    check_agreement(root, options.uids[0])
    for processes in options.processes:
        with WorkerPool(processes, TIME_LIMIT) as workers:
            pool = workers if processes > 1 else None
            for method, _ in product(METHODS, range(WARM_ROUNDS * processes)):
                run_method(method, root, [WARM], True, pool)
            turns = product(range(options.rounds), (True, False), range(len(METHODS)))
            for turn, slices, k in turns:
                method = METHODS[(k + turn) % len(METHODS)]
                run = partial(run_method, method, root, options.uids, slices, pool)
                found = results.setdefault((name, processes, slices, method), [])
                found.append(measure_clean(run, root, options.series))


def peak_mib(method: str, root: Path, uid: str) -> float:
    """Peak memory of one series beyond what a warm process holds; for a process of its own."""
    cv2.setNumThreads(1)
    run_method(method, root, [WARM], True)
    # Not ru_maxrss, which begins with that of the process that started this one.
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before = status_kib("VmRSS")
    run_method(method, root, [uid], True)
    return (status_kib("VmHWM") - before) / 1024


def cells(of: dict[str, list[Measured]], n: int) -> list[str]:
    """Slices a second, CPU (wall) time of every method, and how many times ours the others take."""
    medians = {method: middle(of[method]) for method in METHODS}
    times = [f"{1000 * cpu:.0f} ({1000 * wall:.0f})" for cpu, wall in medians.values()]
    ratios = [f"{cpu:.2f} ({wall:.2f})" for cpu, wall in (ratio(of, x, OURS) for x in OTHERS)]
    return [f"{n / medians[OURS].wall:.0f}", *times, *ratios]


def label(folder: Path, name: str) -> str:
    """Kind of series and how far it is compressed."""
    made = acquisition_of(name)
    shape = (made.n_slices, made.rows, made.columns)
    held = sum(path.stat().st_size for path in folder.iterdir())
    size = " x ".join(map(str, shape))
    return f"{name.split('-')[0]}, {size}, {2 * np.prod(shape) / held:.1f}:1"


def main(options: Options) -> None:
    """Make the series, measure and print."""
    cv2.setNumThreads(1)
    results: Results = {}
    memory, labels = [], {}
    spawn = multiprocessing.get_context("spawn")
    for name in options.sets:
        print(f"making and measuring {name}", file=sys.stderr, flush=True)
        root = options.out_dir / name
        make_set(options.out_dir, name, options.uids)
        labels[name] = label(root / "series" / options.uids[0], name)
        measure_set(options, name, results)
        peaks = []
        for method in METHODS:
            with OwnModules(), ProcessPoolExecutor(1, spawn) as pool:
                peaks.append(pool.submit(peak_mib, method, root, options.uids[0]).result())
        memory.append([labels[name], *(f"{peak:.0f}" for peak in peaks)])
    print(f"{machine()};")
    print(f"medians of {options.rounds} rounds over {options.series} series each")
    head = ["series", "slices/s", *(f"{x} ms" for x in METHODS), *(f"{x} / ours" for x in OTHERS)]
    for processes, slices in product(options.processes, (True, False)):
        rows = []
        for name in options.sets:
            of = {method: results[name, processes, slices, method] for method in METHODS}
            rows.append([labels[name], *cells(of, acquisition_of(name).n_slices)])
        written = "sequence and slice files" if slices else "--no_slices"
        title = f"Processes: {processes}; {written}. CPU time (wall time) per series"
        print_table(title, head, rows)
    title = "Peak memory of one process beyond its imports, for one series, MiB"
    print_table(title, ["series", *METHODS], memory)


if __name__ == "__main__":
    # Worker processes import a function's module by its name; they never import `__main__`.
    from benchmarks import preprocess

    preprocess.main(tyro.cli(preprocess.Options, use_underscores=True))
