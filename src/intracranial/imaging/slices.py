"""Which images are slices, and which show something else: tiles, localizers, captures of a screen.

They may lie among the slices of a series, and then they are left out, or be all that it holds.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from intracranial.imaging.dicom.elements import (
    element,
    frame_count,
    integer,
    numbers,
    private_number,
    text,
)
from intracranial.imaging.dicom.parse import DicomFile
from intracranial.imaging.outcome import Findings, SeriesError

TILED = frozenset({"MOSAIC", "VFRAME"})
"""Image types of Siemens mosaics and of United Imaging's grids."""

LARGEST_FIELD_MM = 600.0
"""No MR scanner sees further in both directions: such an image is of many slices."""

LARGEST_HEAD_MM = 350.0
"""Field of view of one slice of a head in both directions, with air around."""

APART = 0.5
"""Share of the slice thickness that slices of one stack are apart at least."""

LOCALIZER = re.compile(r"locali[sz]er|\bscout|\bsurvey|topogram|scanogram", re.IGNORECASE)
"""Descriptions of scanners for images that only plan a scan."""

MOST_LOCALIZERS, FEW = 20, 5
"""Images of a series, and parallel ones, that a description makes localizers: some scouts are whole
volumes, and some descriptions only mention the scout."""

KEPT = 1024
"""Image types that are remembered in parts."""

CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage, and with a further number its multi-frame kinds (PS3.4 B.5)."""

CAPTURED = re.compile(r"SCREEN.?SAVE|DOSE|\bPROT(OCOL)?\b|REPORT")
"""Image types of what scanners draw themselves."""


def slices_only(files: list[DicomFile], path: Path, findings: Findings) -> list[DicomFile]:
    """The images that are slices, or stacks of slices in multi-frame objects.

    Args:
        files: the grey images of one series; not empty.
        path: their folder, for messages.
        findings: gets what is left out: `mosaic`, `localizer`, `secondary_capture`.

    Raises:
        SeriesError: nothing is left; the code is that of what most images are.
    """
    types = {file.file: text(file.dataset, "ImageType") for file in files}
    kept = _without(files, _tiles(files, types, findings), "mosaic", findings)
    kept = _without(kept, _localizers(kept, types), "localizer", findings)
    captured = [file for file in kept if _is_capture(file, types[file.file])]
    if _have_places(captured):
        findings.noticed["secondary_capture_with_place"] += len(captured)
    else:
        kept = _without(kept, captured, "secondary_capture", findings)
    if kept:
        return kept
    code = max(WORDS, key=lambda name: sum(entry.code == name for entry in findings.left_out))
    raise SeriesError(code, f"{path}: {WORDS[code].format(count=len(files))}")


WORDS = {
    "mosaic": "all {count} images hold many slices each, tiled in one image (ImageType MOSAIC or "
    "VFRAME, or a field of view wider than a scanner); export the series as single slices or as "
    "enhanced MR",
    "localizer": "all {count} images are localizers, made to plan a scan; they are no stack of "
    "slices",
    "secondary_capture": "all {count} images are captures of a screen or film without a place in "
    "the patient; use the series that they show",
}
"""Code -> message for a series that holds nothing else."""


def _without(
    files: list[DicomFile], others: Sequence[DicomFile], code: str, findings: Findings
) -> list[DicomFile]:
    names = {file.file for file in others}
    for file in others:
        findings.leave_out(code, file.file)
    return [file for file in files if file.file not in names]


def _tiles(
    files: Sequence[DicomFile], types: Mapping[str, str], findings: Findings
) -> list[DicomFile]:
    """Images of many slices each, whose places only private elements tell.

    Frames that each have a place are slices, whatever the image type says, and so are images of
    one head's size that lie a slice's thickness apart.
    """
    single = [file for file in files if frame_count(file.dataset) == 1]
    sure = [file for file in single if _says_how_many(file) or _is_wider_than_a_scanner(file)]
    named = [file for file in single if file not in sure and TILED & _parts(types[file.file])]
    if named and _is_stack(named):
        findings.noticed["mosaic_in_name_only"] += len(named)
        return sure
    return [*sure, *named]


@lru_cache(KEPT)
def _parts(words: str) -> frozenset[str]:
    return frozenset(words.split("\\"))


def _says_how_many(file: DicomFile) -> bool:
    counts = (
        private_number(file.dataset, keyword)
        for keyword in ("SiemensImagesInMosaic", "UnitedImagingImagesInGrid")
    )
    return any(count is not None and count > 1 for count in counts)


def _field(file: DicomFile) -> tuple[float, float] | None:
    """Rows and columns in mm."""
    spacing = numbers(file.dataset, "PixelSpacing", 2)
    shape = integer(file.dataset, "Rows"), integer(file.dataset, "Columns")
    if not spacing or not shape[0] or not shape[1]:
        return None
    return spacing[0] * shape[0], spacing[1] * shape[1]


def _is_wider_than_a_scanner(file: DicomFile) -> bool:
    field = _field(file)
    of_mr = text(file.dataset, "Modality") == "MR"
    return of_mr and field is not None and min(field) > LARGEST_FIELD_MM


def _is_stack(files: Sequence[DicomFile]) -> bool:
    """Whether images could be the slices of one head."""
    places = [numbers(file.dataset, "ImagePositionPatient", 3) for file in files]
    fields = [_field(file) for file in files]
    if len(files) < 3 or not all(places) or not all(fields):
        return False
    if max(max(field) for field in fields if field) > LARGEST_HEAD_MM:
        return False
    thickness = numbers(files[0].dataset, "SliceThickness")
    wanted = APART * (thickness[0] if thickness else 1.0)
    at = np.array(places)
    order = at[np.argsort(at @ (at.max(axis=0) - at.min(axis=0)))]
    return bool(np.linalg.norm(np.diff(order, axis=0), axis=1).min() >= wanted > 0)


def _localizers(files: Sequence[DicomFile], types: Mapping[str, str]) -> list[DicomFile]:
    """Images that their type calls so, or all of a short series that its description calls so."""
    named = [file for file in files if "LOCALIZER" in _parts(types[file.file])]
    if len(files) > MOST_LOCALIZERS:
        return named
    described = [
        file
        for file in files
        if file in named or LOCALIZER.search(text(file.dataset, "SeriesDescription"))
    ]
    if len(described) < len(files):
        return named
    count = sum(frame_count(file.dataset) for file in files)
    turned = {
        tuple(round(v, 1) for v in numbers(file.dataset, "ImageOrientationPatient", 6))
        for file in files
    }
    return list(files) if count <= FEW or (count <= MOST_LOCALIZERS and len(turned) > 1) else named


def _is_capture(file: DicomFile, image_type: str) -> bool:
    """Whether the pixels come from a screen, a film or another document (PS3.3 C.8.6.1)."""
    sop_class = text(file.dataset, "SOPClassUID")
    return bool(
        sop_class == CAPTURES
        or sop_class.startswith(f"{CAPTURES}.")
        or text(file.dataset, "ConversionType")
        or CAPTURED.search(image_type)
    )


def _have_places(files: Sequence[DicomFile]) -> bool:
    """Whether images lie at places of their own, as slices that were only stored as captures."""
    places = [tuple(numbers(file.dataset, "ImagePositionPatient", 3)) for file in files]
    frames = [element(file.dataset, "PerFrameFunctionalGroupsSequence") for file in files]
    return any(frames) or (len(set(places)) > 1 and () not in places)
