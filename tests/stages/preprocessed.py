"""Small data sets and runs of preprocess_data.py on them."""

import csv
import sys
from pathlib import Path

from intracranial.artifacts import DataPaths
from intracranial.options.preprocess import PreprocessOptions
from intracranial.runlog import run_stage
from intracranial.stages import preprocess_data
from tests.challenge import LABELS, TRAIN_COLUMNS
from tests.imaging.make_series import (
    head,
    store,
    write_multi_frame,
    write_single_frames,
)
from tests.tiny_data import KEY

ROOT = Path(__file__).parents[2]
SIZE = 32


def write_train_csv(data: Path, uids: list[str], drop: str = "", label: str = "0") -> None:
    data.mkdir(parents=True, exist_ok=True)
    columns = [column for column in TRAIN_COLUMNS if column != drop]
    with open(data / "train.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for uid in uids:
            cells = [uid, "55", "Female", "CTA", *[label] * len(LABELS)]
            writer.writerow(cells[: len(columns)])


def make_data(data: Path, count: int = 4, slices: int = 8) -> list[str]:
    """`count` series in the challenge's layout; the second is one multi-frame MR file."""
    uids = [f"1.2.826.{k}" for k in range(count)]
    planes = ["axial", "axial", "sagittal", "coronal"]
    for k, uid in enumerate(uids):
        folder, stored = data / "series" / uid, store(head(slices, seed=k), planes[k % 4])
        if k == 1:
            write_multi_frame(folder / f"{uid}.9.dcm", stored, uid=uid)
        else:
            write_single_frames(folder, stored, uid=uid)
    write_train_csv(data, uids)
    DataPaths(data).secret_key.write_text(KEY, encoding="ascii")
    return uids


def run(data: Path, *flags: str, workers: int = 0) -> int:
    argv = ["--data_dir", str(data), "--size", str(SIZE), "--num_workers", str(workers), *flags]
    saved, sys.argv = sys.argv, ["preprocess_data.py", *argv]
    try:
        return run_stage("preprocess_data", PreprocessOptions, preprocess_data.main, "")
    finally:
        sys.argv = saved


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def outputs(data: Path) -> dict[str, bytes]:
    """Content of everything that must not depend on how the run went."""
    skipped = {"runs", "series"}
    return {
        path.relative_to(data).as_posix(): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file()
        and path.relative_to(data).parts[0] not in skipped
        and path.name != "fingerprints.json"
    }
