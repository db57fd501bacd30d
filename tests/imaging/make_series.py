"""Small DICOM series for the tests, written with pydicom."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

# Directions of growing column, row and slice index in LPS, from the specification's words.
AXES = {
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
}


@dataclass
class Stored:
    """Images as a scanner might have stored them."""

    images: np.ndarray  # (n, rows, cols)
    iop: tuple[float, ...]
    positions: np.ndarray  # (n, 3)
    spacing: tuple[float, float] = (1.0, 1.0)  # between rows, between columns
    extra: dict[str, Any] = field(default_factory=dict)


def head(n: int = 8, rows: int = 32, cols: int = 40, seed: int = 0) -> np.ndarray:
    """An int16 volume without any symmetry, air around, values like CT stored at +1024."""
    rng = np.random.default_rng(seed)
    volume = rng.integers(1000, 1200, (n, rows, cols))
    volume[:, :4] = 24
    volume[n // 2, rows // 4, cols // 5] = 1900
    return volume.astype(np.int16)


def store(
    volume: np.ndarray,
    plane: str = "axial",
    transpose: bool = False,
    flip_rows: bool = False,
    flip_cols: bool = False,
    reverse: bool = False,
    spacing: tuple[float, float, float] = (2.0, 0.5, 0.8),
    origin: tuple[float, float, float] = (-20.0, -30.0, 10.0),
) -> Stored:
    """Store a canonical volume with its geometry, mirrored, reversed and transposed together.

    Args:
        volume: canonical (n, rows, cols).
        plane: whose canonical axes the volume has.
        transpose: exchange rows and columns, after the flips.
        flip_rows: reverse the rows.
        flip_cols: reverse the columns.
        reverse: number the slices from the other end.
        spacing: mm between slices, rows, columns of the canonical volume.
        origin: mm, centre of canonical voxel 0.
    """
    column, row, along = (np.array(axis, dtype=float) for axis in AXES[plane])
    dz, dy, dx = spacing
    n, rows, cols = volume.shape
    positions = np.array(origin) + np.arange(n)[:, None] * dz * along
    images = volume
    if flip_rows:
        images, positions, row = images[:, ::-1], positions + (rows - 1) * dy * row, -row
    if flip_cols:
        images, positions, column = (
            images[:, :, ::-1],
            positions + (cols - 1) * dx * column,
            -column,
        )
    if transpose:
        images, row, column, dy, dx = images.transpose(0, 2, 1), column, row, dx, dy
    if reverse:
        images, positions = images[::-1], positions[::-1]
    return Stored(images.copy(), (*column, *row), positions, (dy, dx))


def _base(modality: str, uid: str, image: np.ndarray, syntax: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    sop_class = CTImageStorage if modality == "CT" else MRImageStorage
    meta.MediaStorageSOPClassUID = sop_class
    little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    dataset = FileDataset(
        "", {}, b"\0" * 128, meta, is_implicit_VR=implicit, is_little_endian=little
    )
    dataset.SOPClassUID = sop_class
    dataset.SeriesInstanceUID = uid
    dataset.StudyInstanceUID = f"{uid}.1"
    dataset.PatientID = "P-1"
    dataset.PatientName = "Secret^Name"
    dataset.Modality = modality
    dataset.Rows, dataset.Columns = image.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * image.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(image.dtype.kind == "i")
    return dataset


def _finish(dataset: FileDataset, path: Path, uid: str, pixels: np.ndarray, compress: str) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    syntax = dataset.file_meta.TransferSyntaxUID
    order: Literal["<", ">"] = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW"
    if compress:
        dataset.compress(compress, generate_instance_uid=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def write_single_frames(
    folder: Path,
    stored: Stored,
    modality: str = "CT",
    uid: str = "1.2.3",
    syntax: UID = ExplicitVRLittleEndian,
    compress: str = "",
    slope: Any = 1,
    intercept: Any = -1024,
    names: list[str] | None = None,
    tags: dict[str, Any] | None = None,
    per_slice: dict[str, list[Any]] | None = None,
    sops: list[str] | None = None,
) -> list[str]:
    """One file per image; None in `tags` removes an element. Returns the SOPInstanceUIDs."""
    uids = []
    for k, image in enumerate(stored.images):
        dataset = _base(modality, uid, image, syntax)
        dataset.ImageOrientationPatient = [float(v) for v in stored.iop]
        dataset.ImagePositionPatient = [float(v) for v in stored.positions[k]]
        dataset.PixelSpacing = list(stored.spacing)
        dataset.InstanceNumber = k + 1
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        each = {tag: values[k] for tag, values in (per_slice or {}).items()}
        for tag, value in {**stored.extra, **(tags or {}), **each}.items():
            if value is None:
                if tag in dataset:
                    delattr(dataset, tag)
            else:
                setattr(dataset, tag, value)
        sop = sops[k] if sops else f"{uid}.9.{k + 1}"
        name = names[k] if names else f"{sop}.dcm"
        uids.append(sop)
        _finish(dataset, folder / name, sop, image, compress)
    return uids


def write_multi_frame(
    path: Path,
    stored: Stored,
    modality: str = "MR",
    uid: str = "1.2.3",
    order: list[int] | None = None,
    compress: str = "",
    slopes: list[float] | None = None,
    shared: bool = True,
    frame_tags: list[dict[str, Any]] | None = None,
) -> None:
    """One enhanced file; `order[i]` is the image that is stored as frame i."""
    n = len(stored.images)
    order = order or list(range(n))
    pixels = stored.images[order]
    dataset = _base(modality, uid, pixels, ExplicitVRLittleEndian)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    dataset.NumberOfFrames = n
    measures, orientation, rescale = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = list(stored.spacing)
    orientation.ImageOrientationPatient = [float(v) for v in stored.iop]
    rescale.RescaleSlope, rescale.RescaleIntercept = 1, 0
    common = {
        "PixelMeasuresSequence": Sequence([measures]),
        "PlaneOrientationSequence": Sequence([orientation]),
        "PixelValueTransformationSequence": Sequence([rescale]),
    }
    if shared:
        group = Dataset()
        for keyword, value in common.items():
            setattr(group, keyword, value)
        dataset.SharedFunctionalGroupsSequence = Sequence([group])
    frames = []
    for i, k in enumerate(order):
        frame, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [float(v) for v in stored.positions[k]]
        frame.PlanePositionSequence = Sequence([place])
        for keyword, value in (frame_tags[i] if frame_tags else {}).items():
            setattr(content, keyword, value)
        frame.FrameContentSequence = Sequence([content])
        if not shared:
            for keyword, value in common.items():
                setattr(frame, keyword, value)
        if slopes is not None:
            own = Dataset()
            own.RescaleSlope, own.RescaleIntercept = slopes[i], 0
            frame.PixelValueTransformationSequence = Sequence([own])
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    _finish(dataset, path, f"{uid}.9", pixels, compress)


def transcode(folder: Path, syntax: str) -> None:
    """Compress every file of a folder with GDCM, which has encoders that pydicom lacks.

    RLE, JPEG lossless (processes 14 and 14 SV1), JPEG-LS and JPEG 2000.
    """
    import gdcm

    for path in sorted(folder.iterdir()):
        reader, change = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax()
        reader.SetFileName(str(path))
        assert reader.Read(), f"GDCM cannot read {path}"
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change(), f"GDCM cannot encode {path} as {syntax}"
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write(), f"GDCM cannot write {path}"


__all__ = [
    "AXES",
    "ExplicitVRBigEndian",
    "ImplicitVRLittleEndian",
    "Stored",
    "generate_uid",
    "head",
    "store",
    "transcode",
    "write_multi_frame",
    "write_single_frames",
]
