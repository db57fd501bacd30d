"""`read_series`: a folder of DICOM files -> one volume in canonical order, with its geometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from intracranial.imaging import slice_order as stacks
from intracranial.imaging.copies import pixel_comparison
from intracranial.imaging.decoding import oriented, read_volume
from intracranial.imaging.dicom.elements import text
from intracranial.imaging.dicom.headers import SliceHeader
from intracranial.imaging.dicom.parse import Reader
from intracranial.imaging.folder import discover
from intracranial.imaging.geometry import Geometry, reorientation, slice_normal
from intracranial.imaging.linkage import Linkage, make_linkage
from intracranial.imaging.outcome import Findings, LeftOut, SeriesError, Status
from intracranial.imaging.pixels import STANDARD, Pixels
from intracranial.imaging.selection import (
    GIB,
    check_folder,
    read_headers,
    select_files,
)
from intracranial.imaging.values import Image

FEW_SLICES = ("single_slice", "two_slices")
"""Notes of a volume of one slice and of two."""

NOMINAL_FIELD_MM = 220.0
"""Assumed field of view where PixelSpacing is missing: a head and a little air."""


@dataclass(frozen=True)
class ReadLimits:
    """What one reading of a folder may take, and how; the same pixels come of it."""

    max_gib: float = 8.0
    """Largest series in GiB of decoded float32 pixels; larger ones are rejected unread."""

    reader: Reader = "scan"
    """scan: a fast header scan for files that it can prove plain, pydicom for all others; pydicom:
    pydicom for every file. Both give the same values."""

    expected_uid: str | None = None
    """SeriesInstanceUID to read from a folder of several; None takes the folder's name."""


@dataclass(frozen=True, eq=False)
class Series:
    """One volume.

    Attributes:
        uid: SeriesInstanceUID of the header.
        modality: DICOM Modality, "CT" or "MR".
        images: slices in canonical order and orientation, length n.
        sop_uids: SOPInstanceUID of every slice, length n; frames of one file share it.
        frames: int64 (n,), 0-based index of the stored frame, 0 for single-frame files.
        positions: float64 (n, 3) mm, ImagePositionPatient of every slice as stored; NaN where the
            file has none.
        geometry: orientation, spacing and affine.
        thickness: mm, the median SliceThickness of the slices that state a positive one (PS3.3
            C.7.6.2.1; of multi-frame objects C.7.6.16.2.1), None where none does.
        notes: stable codes of what was noticed, "code", "code:count" or "code:detail", see
            `imaging.outcome.CODES`.
        slice_notes: the same per slice, length n.
        left_out: every file or frame of the folder that is not in the volume.
        messages: what decoders have said, each with the file's name.
        linkage: hashed keys that join series of one patient, without that of the pixels.
        source: XXH3-128 of the folder's files, hexadecimal.
    """

    uid: str
    modality: Literal["CT", "MR"]
    images: tuple[Image, ...]
    sop_uids: tuple[str, ...]
    frames: np.ndarray
    positions: np.ndarray
    geometry: Geometry
    thickness: float | None
    notes: tuple[str, ...]
    slice_notes: tuple[tuple[str, ...], ...]
    left_out: tuple[LeftOut, ...]
    messages: tuple[str, ...]
    linkage: Linkage
    source: str

    @property
    def pixels(self) -> np.ndarray:
        """Float32 (n, rows, cols) in canonical order: HU for CT, rescaled values for MR.

        Made anew by every call.
        """
        return np.stack([image.values() for image in self.images])

    @property
    def status(self) -> Status:
        """`partial` when image data of the series itself is not in the volume."""
        return "partial" if any(entry.lost for entry in self.left_out) else "read"


def read_series(path: Path, pixels: Pixels = STANDARD, limits: ReadLimits | None = None) -> Series:
    """Read one series folder.

    Args:
        path: folder with the files of the series, at any depth and with any names.
        pixels: which orientation, rescale and phase; `imaging.cache` applies size and window.
        limits: of this reading.

    Raises:
        SeriesError: nothing usable is in the folder. Codes: `missing_folder`, `no_files`,
            `not_dicom`, `header_broken`, `no_pixels`, `unsupported_modality`, `colour_only`,
            `too_large`, `unsupported_transfer_syntax`, `undecodable_pixels`, `bad_shape`,
            `mosaic`, `localizer`, `secondary_capture`, `rotating_projections`,
            `unreadable_files`.
    """
    limits = limits or ReadLimits()
    findings = Findings()
    listed = check_folder(path, limits.max_gib, findings)
    found = discover(path, listed, findings, limits.reader, int(limits.max_gib * GIB))
    files = select_files(found, path, limits.expected_uid or path.name, findings)
    headers = read_headers(files, path, findings, limits.max_gib)
    chosen = stacks.choose_stack(headers, pixel_comparison(files), findings, pixels.phase)
    _check_size(chosen.headers, path, limits.max_gib)
    by_name = {file.file: file for file in files}
    first = by_name[chosen.headers[0].file].dataset
    modality: Literal["CT", "MR"] = "CT" if text(first, "Modality") == "CT" else "MR"
    volume = read_volume(chosen.headers, by_name, modality, pixels.rescale, findings)
    if not volume.images:
        raise SeriesError(
            volume.errors[0].code,
            f"{path}: none of {len(volume.errors)} slices could be decoded: {volume.errors[0]}",
        )
    geometry, order, geometry_notes = _place(volume.headers, chosen.known, pixels.orient)
    findings.remarks += geometry_notes
    kept = [volume.headers[i] for i in order]
    images = tuple(oriented(volume.images[i], geometry) for i in order)
    nowhere = (np.nan, np.nan, np.nan)
    return Series(
        uid=text(first, "SeriesInstanceUID"),
        modality=modality,
        images=images,
        sop_uids=tuple(header.sop_uid for header in kept),
        frames=np.array([header.frame for header in kept], dtype=np.int64),
        positions=np.array([h.position or nowhere for h in kept], dtype=np.float64),
        geometry=geometry,
        thickness=_thickness(kept),
        notes=findings.notes,
        slice_notes=tuple(
            (*header.notes, *(("blank",) if image.is_blank() else ()))
            for header, image in zip(kept, images, strict=True)
        ),
        left_out=tuple(findings.left_out),
        messages=tuple(findings.messages),
        linkage=make_linkage(
            text(first, "PatientID"),
            text(first, "IssuerOfPatientID"),
            text(first, "StudyInstanceUID"),
        ),
        source=found.digest,
    )


def _thickness(headers: Sequence[SliceHeader]) -> float | None:
    stated = [header.thickness for header in headers if header.thickness is not None]
    return float(np.median(stated)) if stated else None


def _check_size(headers: Sequence[SliceHeader], path: Path, max_gib: float) -> None:
    rows, columns = headers[0].shape
    gib = len(headers) * rows * columns * 4 / GIB
    if gib > max_gib:
        raise SeriesError(
            "too_large",
            f"{path}: {len(headers)} slices of {rows} x {columns} need {gib:.2f} GiB, more than "
            f"the limit of {max_gib:g} GiB; raise --max_series_gib if the series is sound",
        )


def _place(
    headers: Sequence[SliceHeader], known: bool, orient: str
) -> tuple[Geometry, list[int], list[str]]:
    """Geometry, the canonical order of slices that are sorted along the normal, and notes."""
    first = headers[0]
    count = len(headers)
    notes = stacks.variation(headers)
    spacing = first.pixel_spacing
    if spacing is None:
        notes.append("pixel_spacing_missing")
    if count <= len(FEW_SLICES):
        notes.append(FEW_SLICES[count - 1])
    nominal = NOMINAL_FIELD_MM / max(first.shape)
    row_mm, column_mm = spacing or (nominal, nominal)
    if not known or first.orientation is None:
        step = first.nominal_step or 1.0
        notes.append("geometry_unknown")
        unknown = Geometry(
            plane="unknown",
            shape=first.shape,
            spacing=(step, row_mm, column_mm),
            iop=first.orientation,
            origin=(0.0, 0.0, 0.0),
            slice_step=_nominal_step(first.orientation, step),
            geometry_known=False,
        )
        return unknown, list(range(count)), notes
    how = reorientation(first.orientation, orient)
    order = list(range(count))[:: -1 if how.flip_slices else 1]
    positions = np.array([headers[i].position for i in order], dtype=np.float64)
    normal = slice_normal(first.orientation)
    if count > 1:
        step, found = stacks.spacing_along(positions, normal)
        notes += found
        path = (positions[-1] - positions[0]) / (count - 1)
    else:
        step = first.nominal_step or 1.0
        path = normal * step * (-1 if how.flip_slices else 1)
    if how.plane == "oblique":
        notes.append("oblique_plane")
    in_plane = (column_mm, row_mm) if how.transpose else (row_mm, column_mm)
    geometry = Geometry(
        plane=how.plane,
        shape=first.shape,
        spacing=(step, *in_plane),
        iop=first.orientation,
        origin=(float(positions[0][0]), float(positions[0][1]), float(positions[0][2])),
        slice_step=(float(path[0]), float(path[1]), float(path[2])),
        transpose=how.transpose,
        flip_rows=how.flip_rows,
        flip_cols=how.flip_cols,
        flip_slices=how.flip_slices,
        geometry_known=spacing is not None,
    )
    return geometry, order, notes


def _nominal_step(iop: tuple[float, ...] | None, step: float) -> tuple[float, float, float]:
    """Nominal vector between slices: along the normal if there is one, else along z."""
    if iop is None:
        return (0.0, 0.0, step)
    normal = slice_normal(iop) * step
    return (float(normal[0]), float(normal[1]), float(normal[2]))
