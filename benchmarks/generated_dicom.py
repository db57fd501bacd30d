"""Generated DICOM series of several transfer syntaxes, the same every time."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from intracranial.artifacts import write_csv
from intracranial.demo.dicom_writer import Identity, write_series
from intracranial.demo.geometry import Acquisition, TransferSyntax
from intracranial.demo.phantom import make_patient, render
from intracranial.tasks import LOCALIZER_COLUMNS
from tests.challenge import ANEURYSM_PRESENT, LABELS, LOCATIONS, TRAIN_COLUMNS

SHAPES = {"512": (150, 512, 0.45, 0.9), "320": (60, 320, 0.7, 2.2)}
"""Slices, rows and columns, mm between pixels, mm between slices."""

WRITTEN: dict[str, TransferSyntax] = {
    "raw": "explicit",
    "rle": "rle",
    "jpeg_2000": "jpeg2000",
    "multiframe": "explicit",
}
"""Transfer syntaxes of `demo.dicom_writer`."""

TRANSCODED = {"jpeg_lossless": "JPEGLosslessProcess14_1", "jpeg_ls": "JPEGLSLossless"}
"""What GDCM makes of uncompressed files, by its own names."""

WARM = "2.25.1"
"""UID of a series of WARM_SLICES, read before the clock starts: imports, decoder plugins."""

WARM_SLICES = 4
SMALL_SLICES = 40


def acquisition_of(name: str, slices: int | None = None) -> Acquisition:
    """How the series of one kind are acquired."""
    syntax, shape = name.split("-")
    n, matrix, pixel, step = SHAPES[shape]
    return Acquisition(
        "CTA",
        n_slices=slices or n,
        rows=matrix,
        columns=matrix,
        pixel_spacing=(pixel, pixel),
        slice_spacing=step,
        slice_thickness=step,
        multiframe=syntax == "multiframe",
        transfer_syntax=WRITTEN.get(syntax, "explicit"),
    )


def make_set(root: Path, name: str, uids: Sequence[str]) -> None:
    """Write the series of one kind that are not there yet: a synthetic head with noise."""
    phantom = root / f"phantom-{name.split('-')[1]}.npy"
    if not phantom.exists():
        root.mkdir(parents=True, exist_ok=True)
        np.save(phantom, render(make_patient(0, 0), acquisition_of(name)))
    for uid in (WARM, *uids):
        folder = root / name / "series" / uid
        if folder.exists():
            continue
        acquisition = acquisition_of(name, WARM_SLICES if uid == WARM else None)
        volume = np.load(phantom, mmap_mode="r")[: acquisition.n_slices]
        identity = Identity("SYNBENCH", f"{uid}.1", uid, f"{uid}.2", 60, "F")
        unfinished = folder.with_name(f"{uid}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_series(unfinished, volume, acquisition, identity)
        if syntax := TRANSCODED.get(name.split("-")[0]):
            for path in unfinished.iterdir():
                compress(path, syntax)
        unfinished.rename(folder)


def compress(path: Path, syntax: str) -> None:
    """Rewrite one file in another transfer syntax of GDCM."""
    import gdcm

    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(path))
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    done = reader.Read()
    change.SetInput(reader.GetImage())
    done = done and change.Change()
    writer.SetFileName(str(path))  # not before the file is read: this empties it
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not (done and writer.Write()):
        raise SystemExit(f"GDCM cannot write {path} as {syntax}")


def make_small_data_set(root: Path, series: int) -> None:
    """Write series/, train.csv and train_localizers.csv of small CT series: one head, other noise.

    Every second series has an aneurysm in its middle slice, on paper; a network learns nothing.
    """
    acquisition = replace(acquisition_of("raw-320"), rows=64, columns=64, pixel_spacing=(3.5, 3.5))
    acquisition = replace(acquisition, n_slices=SMALL_SLICES, slice_spacing=7.0)
    head = render(make_patient(0, 0), acquisition)
    train, localizers = [], []
    for number in range(series):
        uid, rng = f"2.25.{1000 + number}", np.random.default_rng(number)
        volume = head + rng.normal(0, 10, head.shape).astype(np.float32)
        identity = Identity(f"SYN{number}", f"{uid}.1", uid, f"{uid}.2", 60, "F")
        written = write_series(root / "series" / uid, volume, acquisition, identity)
        location = LOCATIONS[number // 2 % len(LOCATIONS)]
        present = {location, ANEURYSM_PRESENT} if number % 2 else set()
        labels = dict.fromkeys(LABELS, 0) | dict.fromkeys(present, 1)
        train.append(dict(zip(TRAIN_COLUMNS, (uid, 60, "Female", "CTA"), strict=False)) | labels)
        if present:
            sop, _ = written[SMALL_SLICES // 2]
            where = (uid, sop, "{'x': 32, 'y': 32}", location)
            localizers.append(dict(zip(LOCALIZER_COLUMNS, where, strict=True)))
    write_csv(root / "train_localizers.csv", LOCALIZER_COLUMNS, localizers)
    write_csv(root / "train.csv", TRAIN_COLUMNS, train)
