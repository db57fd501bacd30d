"""Generated caches and features of series, the same every time, and what training knows of them."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from intracranial.artifacts import DataPaths, FoldPaths, save_array
from intracranial.sampling.features import FeatureSet, save_features
from intracranial.sampling.series_info import SeriesInfo
from intracranial.tasks import RSNA_2025 as TASK

SPOTS = 4
"""Localizers of a positive series; every second series is positive."""

MEDIAN_SLICES, SPREAD, FEWEST_SLICES, MOST_SLICES = 200, 0.6, 20, 1000
"""Slices of a series: lognormal around the median with this sigma, within bounds."""


def generated_info(number: int, slices: int, size: int) -> SeriesInfo:
    """An axial series of `slices` x `size` x `size` with known geometry."""
    rng = np.random.default_rng([number, 1])
    spots = SPOTS if number % 2 else 0
    locations = rng.integers(0, len(TASK.locations), spots)
    labels = np.zeros(len(TASK.labels), dtype=np.float32)
    if spots:
        labels[[*TASK.label_of_location()[locations], TASK.labels.index(str(TASK.overall))]] = 1
    return SeriesInfo(
        uid=f"2.25.{number + 1}",
        n=slices,
        size=size,
        pixel_mm=(230 / size, 230 / size),
        slice_mm=0.7,
        spacing_known=True,
        axis="columns",
        plane="axial",
        localized=True,
        indices=np.sort(rng.choice(slices, spots, replace=slices < spots)),
        points=rng.uniform(0.3 * size, 0.7 * size, (spots, 2)),
        locations=locations,
        labels=labels,
        label_weights=np.ones(len(TASK.labels), dtype=np.float32),
    )


def generated_volume(number: int, slices: int, size: int) -> np.ndarray:
    """Float16 (slices, size, size), values 0..5: a smooth head-like disc with noise."""
    rng = np.random.default_rng([number, 2])
    row, column = np.ogrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    disc = (2.5 * (row**2 + column**2 < 0.7)).astype(np.float32)
    volume = np.empty((slices, size, size), dtype=np.float16)
    for image in volume:
        noise = rng.standard_normal((size, size), dtype=np.float32)
        image[:] = np.clip(disc + 0.3 * noise, 0, 5)
    return volume


def make_caches(
    data: DataPaths, series: int, slices: int, size: int, processes: int = 1
) -> dict[str, SeriesInfo]:
    """Write the caches that are not there yet."""
    infos = [generated_info(number, slices, size) for number in range(series)]
    _for_each(partial(_make_cache, data, slices, size), series, processes)
    return {info.uid: info for info in infos}


def _make_cache(data: DataPaths, slices: int, size: int, number: int) -> None:
    path = data.sequence(generated_info(number, slices, size).uid)
    if not path.exists() or np.load(path, mmap_mode="r").shape != (slices, size, size):
        save_array(path, generated_volume(number, slices, size))


def _for_each(make: Callable[[int], None], count: int, processes: int) -> None:
    """Call `make` with each number below `count`, in several processes where that is asked."""
    if processes == 1:
        for number in range(count):
            make(number)
        return
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(make, range(count), chunksize=-(-count // (4 * processes))))


def generated_lengths(series: int) -> list[int]:
    """Slices of each series."""
    drawn = np.random.default_rng(3).lognormal(np.log(MEDIAN_SLICES), SPREAD, series)
    return np.clip(drawn, FEWEST_SLICES, MOST_SLICES).astype(int).tolist()


def make_features(
    paths: FoldPaths,
    lengths: list[int],
    width: int,
    steps: tuple[int, ...],
    processes: int = 1,
) -> dict[str, SeriesInfo]:
    """Write feature files of series with these lengths that are not there yet."""
    _for_each(partial(_make_feature, paths, lengths, width, steps), len(lengths), processes)
    infos = [generated_info(number, length, 512) for number, length in enumerate(lengths)]
    return {info.uid: info for info in infos}


def _make_feature(
    paths: FoldPaths, lengths: list[int], width: int, steps: tuple[int, ...], number: int
) -> None:
    length = lengths[number]
    path = paths.feature(generated_info(number, length, 512).uid)
    if path.exists():
        return
    rng = np.random.default_rng([number, 4])
    sets = {}
    for step in steps:
        peaks = rng.random((length, len(TASK.labels), 3), dtype=np.float32)
        logits = rng.standard_normal((length, len(TASK.labels)), dtype=np.float32)
        features = rng.standard_normal((length, width), dtype=np.float32).astype(np.float16)
        sets[step, 0] = FeatureSet(features, logits, peaks)
    save_features(path, sets, "generated")
