"""A rendered volume written as DICOM: single-frame CT or MR files, or one enhanced object.

Attributes follow the CT Image (PS3.3 A.3), MR Image (A.4), Enhanced CT (A.38) and Enhanced MR
(A.36) IODs as far as a reader needs them. No name, date of birth or institution is written.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
)

from intracranial.demo.geometry import Acquisition, Grid, grid_of

SYNTAXES: dict[str, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
}
IMPLEMENTATION_UID = UID("2.25.206141936741024519847127103852951031415")
MR_STORED_MAX = 4095.0
"""Stored MR values are scaled to 12 bits by a fixed factor per modality, never by the maximum."""
MR_SCALE = 2.0
"""Stored values per unit of rendered MR signal."""


@dataclass(frozen=True)
class Identity:
    """UIDs and demographics of one series; nothing in it names a person."""

    patient_id: str
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    age: int
    sex: str
    """F or M."""


def write_series(
    folder: Path, volume: NDArray[np.float32], acquisition: Acquisition, identity: Identity
) -> list[tuple[str, int | None]]:
    """Write one series.

    Args:
        folder: made if needed; files are `<SOPInstanceUID>.dcm`.
        volume: float32 (n, rows, columns), HU for CTA, arbitrary units for MR.
        acquisition: geometry and storage.
        identity: UIDs and demographics.

    Returns:
        For each slice of the volume its SOPInstanceUID and, in a multi-frame object, the 0-based
        stored frame.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = _stored(volume, acquisition)
    grid = grid_of(acquisition)
    order = _instance_order(len(volume), acquisition)
    if acquisition.multiframe:
        uid = f"{identity.series_uid}.1"
        dataset = _enhanced(stored[order], grid, acquisition, identity, uid, order)
        _save(folder / f"{uid}.dcm", dataset, acquisition)
        frame_of = np.argsort(order)
        return [(uid, int(frame)) for frame in frame_of]
    number_of = np.argsort(order) + 1
    written: list[tuple[str, int | None]] = []
    for index, image in enumerate(stored):
        uid = f"{identity.series_uid}.{int(number_of[index])}"
        dataset = _single(image, index, grid, acquisition, identity, uid, int(number_of[index]))
        _save(folder / f"{uid}.dcm", dataset, acquisition)
        written.append((uid, None))
    return written


def _instance_order(n: int, acquisition: Acquisition) -> NDArray[np.int64]:
    """Slice index of each instance or frame in stored order."""
    order = np.arange(n)
    if acquisition.instance_order == "descending":
        return order[::-1].copy()
    if acquisition.instance_order == "shuffled":
        return np.random.default_rng(acquisition.contrast_seed).permutation(n)
    return order


def _is_ct(acquisition: Acquisition) -> bool:
    return acquisition.modality == "CTA"


def _stored(volume: NDArray[np.float32], acquisition: Acquisition) -> NDArray[np.integer]:
    if not _is_ct(acquisition):
        return np.clip(np.round(volume * MR_SCALE), 0, MR_STORED_MAX).astype(np.uint16)
    values = np.round(volume - acquisition.intercept)
    if acquisition.signed:
        return np.clip(values, -32768, 32767).astype(np.int16)
    return np.clip(values, 0, 65535).astype(np.uint16)


def _common(acquisition: Acquisition, identity: Identity, uid: str, number: int) -> Dataset:
    ct = _is_ct(acquisition)
    kind = {
        (True, False): CTImageStorage,
        (True, True): EnhancedCTImageStorage,
        (False, False): MRImageStorage,
        (False, True): EnhancedMRImageStorage,
    }[ct, acquisition.multiframe]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    dataset.SOPClassUID = kind
    dataset.SOPInstanceUID = uid
    dataset.StudyInstanceUID = identity.study_uid
    dataset.SeriesInstanceUID = identity.series_uid
    dataset.FrameOfReferenceUID = identity.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.Modality = "CT" if ct else "MR"
    dataset.PatientID = identity.patient_id
    dataset.PatientName = ""
    dataset.PatientBirthDate = ""
    dataset.PatientSex = identity.sex
    dataset.PatientAge = f"{identity.age:03d}Y"
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.StudyID = ""
    dataset.ReferringPhysicianName = ""
    dataset.Manufacturer = "synthetic"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.BodyPartExamined = "HEAD"
    dataset.PatientPosition = "HFS"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if ct else "M"]
    if not ct:
        dataset.ScanningSequence, dataset.SequenceVariant = "GR", "NONE"
        dataset.ScanOptions, dataset.MRAcquisitionType = "", "3D"
        dataset.EchoTime, dataset.RepetitionTime, dataset.EchoTrainLength = 4.0, 25.0, 1
    else:
        dataset.KVP, dataset.AcquisitionNumber = 120, 1
    return dataset


def _pixels(dataset: Dataset, image: NDArray[np.integer], acquisition: Acquisition) -> None:
    bits = 16 if _is_ct(acquisition) else 12
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = (int(size) for size in image.shape[-2:])
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(image.dtype == np.int16)
    dataset.PixelData = np.ascontiguousarray(image).astype(image.dtype.newbyteorder("<")).tobytes()


def _place(grid: Grid, index: int) -> list[float]:
    return [round(float(v), 6) for v in grid.to_space(np.array([index, 0.0, 0.0]))]


def _single(
    image: NDArray[np.integer],
    index: int,
    grid: Grid,
    acquisition: Acquisition,
    identity: Identity,
    uid: str,
    number: int,
) -> Dataset:
    dataset = _common(acquisition, identity, uid, number)
    dataset.ImagePositionPatient = _place(grid, index)
    dataset.ImageOrientationPatient = list(acquisition.orientation)
    dataset.PixelSpacing = list(acquisition.pixel_spacing)
    dataset.SliceThickness = acquisition.slice_thickness
    if _is_ct(acquisition):
        dataset.RescaleIntercept, dataset.RescaleSlope = acquisition.intercept, 1.0
        dataset.RescaleType = "HU"
    _pixels(dataset, image, acquisition)
    return dataset


def _item(**attributes: object) -> Dataset:
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return item


def _enhanced(
    stored: NDArray[np.integer],
    grid: Grid,
    acquisition: Acquisition,
    identity: Identity,
    uid: str,
    order: NDArray[np.int64],
) -> Dataset:
    """One object with functional groups (PS3.3 C.7.6.16); frames in stored order."""
    dataset = _common(acquisition, identity, uid, 1)
    dataset.NumberOfFrames = len(stored)
    measures = _item(
        PixelSpacing=list(acquisition.pixel_spacing),
        SliceThickness=acquisition.slice_thickness,
        SpacingBetweenSlices=acquisition.slice_spacing,
    )
    intercept = acquisition.intercept if _is_ct(acquisition) else 0.0
    rescale = _item(
        RescaleIntercept=intercept, RescaleSlope=1.0, RescaleType="HU" if intercept else "US"
    )
    plane = _item(ImageOrientationPatient=list(acquisition.orientation))
    shared = _item(
        PixelMeasuresSequence=Sequence([measures]),
        PlaneOrientationSequence=Sequence([plane]),
        PixelValueTransformationSequence=Sequence([rescale]),
    )
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    organisation = f"{identity.series_uid}.0"
    dataset.DimensionOrganizationSequence = Sequence([_item(DimensionOrganizationUID=organisation)])
    dataset.DimensionIndexSequence = Sequence(
        [
            _item(
                DimensionIndexPointer=0x00200032,
                FunctionalGroupPointer=0x00209113,
                DimensionOrganizationUID=organisation,
            )
        ]
    )
    frames = []
    for index in order:
        frames.append(
            _item(
                FrameContentSequence=Sequence(
                    [
                        _item(
                            DimensionIndexValues=[int(index) + 1],
                            StackID="1",
                            InStackPositionNumber=int(index) + 1,
                        )
                    ]
                ),
                PlanePositionSequence=Sequence(
                    [_item(ImagePositionPatient=_place(grid, int(index)))]
                ),
            )
        )
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    _pixels(dataset, stored, acquisition)
    return dataset


def _save(path: Path, dataset: Dataset, acquisition: Acquisition) -> None:
    syntax = SYNTAXES[acquisition.transfer_syntax]
    if syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
