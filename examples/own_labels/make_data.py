"""Make a small data folder with labels of its own: what train.csv, task.yaml and series/ look like.

Writes   <folder>/series/<name>/*.dcm, CT heads of noise; <folder>/train.csv with the labels bleed
         (a bright spot in the brain) and fracture (a gap in the skull), some of them not known;
         <folder>/task.yaml, a copy of the one beside this file.

    python examples/own_labels/make_data.py FOLDER
"""

import csv
import shutil
import sys
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SERIES = 48
EDGE = 64
"""Rows and columns."""

MM = 3.0
"""Distance of pixels."""


def make_head(rng: np.random.Generator, bleed: bool, fracture: bool) -> np.ndarray:
    """One head in Hounsfield units: int16 (slices, EDGE, EDGE)."""
    slices = int(rng.integers(12, 20))
    z, y, x = np.mgrid[:slices, :EDGE, :EDGE].astype(float)
    y, x = y - EDGE / 2 + rng.normal(), x - EDGE / 2 + rng.normal()
    radius = np.hypot(x * 1.15, y)
    skull = 24 + rng.normal()
    volume = np.where(radius < skull, 40.0, -1000.0)
    bone = (radius >= skull) & (radius < skull + 4)
    if fracture:
        gap = rng.uniform(-np.pi, np.pi)
        bone &= np.abs(np.angle(np.exp(1j * (np.arctan2(y, x) - gap)))) > 0.25
    volume[bone] = 900
    if bleed:
        across, down = rng.uniform(-10, 10, 2)
        size = rng.uniform(4, 7)
        flat = (z - slices * rng.uniform(0.35, 0.65)) / 1.5
        volume[np.sqrt((x - across) ** 2 + (y - down) ** 2 + flat**2) < size] = 160
    return (volume + rng.normal(0, 15, volume.shape)).astype(np.int16)


def write_series(folder: Path, volume: np.ndarray, patient: str) -> None:
    """One file per slice."""
    folder.mkdir(parents=True)

    def uid(*what: str) -> str:
        return generate_uid(entropy_srcs=[folder.name, *what])

    for number, image in enumerate(volume):
        file = pydicom.Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = CTImageStorage
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = uid("image", str(number))
        file.SeriesInstanceUID, file.StudyInstanceUID = uid("series"), uid("study")
        file.Modality, file.PatientID, file.InstanceNumber = "CT", patient, number + 1
        file.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        file.ImagePositionPatient = [-MM * EDGE / 2, -MM * EDGE / 2, 5.0 * number]
        file.PixelSpacing, file.SliceThickness = [MM, MM], 5.0
        file.Rows, file.Columns = image.shape
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
        file.RescaleSlope, file.RescaleIntercept = 1, 0
        file.PixelData = image.tobytes()
        file.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)


def main(folder: Path) -> None:
    """Write all of it; equal calls give equal files."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(SERIES):
        bleed, fracture = bool(number % 2), bool(number // 2 % 2)
        name = f"head-{number:02d}"
        patient = f"P{number // 2 if number < 8 else number}"  # the first four come twice
        write_series(folder / "series" / name, make_head(rng, bleed, fracture), patient)
        known = "" if number % 12 == 5 else int(fracture)  # nobody has looked for fractures here
        use = "train" if number >= SERIES - 4 else ""
        rows.append([name, patient, use, int(bleed), known])
    with open(folder / "train.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["SeriesInstanceUID", "PatientID", "Use", "bleed", "fracture"])
        writer.writerows(rows)
    shutil.copyfile(Path(__file__).with_name("task.yaml"), folder / "task.yaml")


if __name__ == "__main__":
    if len(sys.argv) != 2 or Path(sys.argv[1]).exists():
        sys.exit(f"{Path(__file__).name}: give one folder that is not there yet")
    main(Path(sys.argv[1]))
