"""Which files of a folder are the series that is asked for, and what was left aside."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from intracranial.imaging.dicom.elements import frame_count, integer, text
from intracranial.imaging.dicom.headers import SliceHeader, slice_headers
from intracranial.imaging.dicom.parse import DicomFile
from intracranial.imaging.dicom.pixels import LOSSY, is_grey, is_native
from intracranial.imaging.folder import Discovery, natural_key, walk
from intracranial.imaging.frames import bytes_of, count_frames, frame_size, settle_signs
from intracranial.imaging.outcome import Findings, SeriesError, safe_detail
from intracranial.imaging.slices import slices_only
from intracranial.imaging.values import pixel_format

MODALITIES = ("CT", "MR")
LARGEST_SIDE = 16384
"""Rows or Columns beyond this are a damaged header, not an image."""

MOST_FRAMES = 65535
"""NumberOfFrames beyond this is a damaged header."""

GIB = 2**30

FEWEST_SCATTERED, MOST_SCATTERED = 3, 4
"""SeriesInstanceUIDs, and most images of each, that may be one scan that was split up."""

SAME_DIRECTION = 1e-3
"""By which direction cosines of one scan may differ."""

NOT_READABLE = frozenset(
    {"empty_file", "unreadable_file", "unreadable_folder", "broken_link", "compressed_file"}
    | {"not_dicom", "hidden_file", "linked_folder", "not_a_file"}
)
"""Codes of entries of a folder that are no readable DICOM file."""


def check_folder(
    path: Path, max_gib: float, findings: Findings
) -> list[tuple[str, os.stat_result]]:
    """Files of a folder as `walk` gives them, unless it is missing, empty or too large.

    Args:
        path: the series folder.
        max_gib: largest sum of the files' sizes in GiB.
        findings: gets what `walk` passes over.

    Raises:
        SeriesError: `missing_folder`, `no_files` or `too_large`.
    """
    if not path.is_dir():
        raise SeriesError("missing_folder", f"{path} is not a folder; put the series' files there")
    files = list(walk(path, findings))
    size = sum(status.st_size for _, status in files) / GIB
    if not files:
        beside = f" ({', '.join(findings.notes)})" if findings.left_out else ""
        raise SeriesError("no_files", f"{path} holds no files{beside}; copy the series again")
    if size > max_gib:
        raise SeriesError(
            "too_large",
            f"{path}: files of {size:.2f} GiB are more than the limit of {max_gib:g} GiB; raise "
            "--max_series_gib if the series is sound",
        )
    return files


def select_files(found: Discovery, path: Path, wanted: str, findings: Findings) -> list[DicomFile]:
    """The grey CT or MR images of one series.

    Args:
        found: everything in the folder.
        path: the folder, for messages.
        wanted: SeriesInstanceUID to prefer; without it the series of most slices is taken.
        findings: gets everything that is left aside.

    Raises:
        SeriesError: nothing is left; codes as in `imaging.series.read_series`.
    """
    if not found.files:
        raise _nothing_found(path, findings)
    files = _of_modality(found.files, path, findings)
    files = _of_one_series(files, wanted, findings)
    files = _grey_only(files, path, findings)
    return slices_only(files, path, findings)


def _nothing_found(path: Path, findings: Findings) -> SeriesError:
    what, codes = ", ".join(findings.notes), set(findings.counts)
    kinds = codes - NOT_READABLE
    if not kinds:
        code = "unreadable_files" if codes == {"unreadable_file"} else "not_dicom"
        words = "cannot be opened" if code == "unreadable_files" else "holds no DICOM file"
        return SeriesError(code, f"{path} {words} ({what}); copy the series again")
    if kinds == {"header_broken"}:
        return SeriesError(
            "header_broken", f"{path}: no header could be read to its end ({what}); copy it again"
        )
    if kinds == {"inflates_too_far"}:
        return SeriesError(
            "too_large",
            f"{path}: deflated files ({what}) become larger than the limit, or than images do; "
            "raise --max_series_gib if the series is sound, or store it without deflation",
        )
    return SeriesError(
        "no_pixels",
        f"{path} holds no image with pixel data ({what}): no image series, or files cut short",
    )


def _of_modality(files: list[DicomFile], path: Path, findings: Findings) -> list[DicomFile]:
    kept: list[DicomFile] = []
    others: set[str] = set()
    for file in files:
        modality = text(file.dataset, "Modality")
        if modality in MODALITIES:
            kept.append(file)
            continue
        others.add(safe_detail(modality) if modality else "missing")
        code = f"other_modality:{safe_detail(modality)}" if modality else "modality_missing"
        findings.leave_out(code, file.file)
    if not kept:
        raise SeriesError(
            "unsupported_modality",
            f"{path}: Modality is {', '.join(sorted(others))}; only CT and MR series can be used",
        )
    return kept


def _of_one_series(files: list[DicomFile], wanted: str, findings: Findings) -> list[DicomFile]:
    """The files of the wanted series, or else of the one with most slices."""
    groups: dict[tuple[str, str], list[DicomFile]] = defaultdict(list)
    for file in files:
        key = (text(file.dataset, "SeriesInstanceUID"), text(file.dataset, "Modality"))
        groups[key].append(file)
    named = [key for key in groups if key[0] == wanted]
    sizes = [sum(frame_count(file.dataset) for file in found) for found in groups.values()]
    scattered = len(groups) >= FEWEST_SCATTERED and max(sizes) <= MOST_SCATTERED
    if scattered and _alike(files, len(groups)):
        findings.noticed["series_uid_per_slice"] += len(groups)
        return files

    def weight(key: tuple[str, str]) -> tuple[Any, ...]:
        slices = sum(frame_count(file.dataset) for file in groups[key])
        return (key[0] == "", -slices, natural_key(key[0]), key)

    best = min(named or groups, key=weight)
    for key, others in groups.items():
        if key != best:
            code = "scattered_series" if scattered else "other_series"
            for file in others:
                findings.leave_out(code if key[0] else "series_uid_missing", file.file)
    if not named:
        findings.remarks.append("uid_differs_from_folder")
    return groups[best]


def _alike(files: Sequence[DicomFile], places_wanted: int) -> bool:
    """Whether images of many a SeriesInstanceUID are one scan that a scanner split up.

    They are of one study, number, description and geometry, at as many places as there are UIDs.
    """
    first = slice_headers(files[0].dataset, "")[0]
    words = ("StudyInstanceUID", "Modality", "SeriesDescription", "SeriesNumber")
    same = {tuple(text(file.dataset, keyword) for keyword in words) for file in files}
    if len(same) > 1 or first.position is None or first.orientation is None:
        return False
    places = set()
    for file in files:
        header = slice_headers(file.dataset, "")[0]
        if header.orientation is None or header.position is None or header.shape != first.shape:
            return False
        directions = zip(header.orientation, first.orientation, strict=True)
        if max(abs(a - b) for a, b in directions) > SAME_DIRECTION:
            return False
        if header.pixel_spacing != first.pixel_spacing:
            return False
        places.add(header.position)
    return len(places) >= places_wanted


def _grey_only(files: list[DicomFile], path: Path, findings: Findings) -> list[DicomFile]:
    grey: list[DicomFile] = []
    for file in files:
        if is_grey(file.dataset):
            grey.append(file)
        else:
            findings.leave_out("colour_dropped", file.file)
    if not grey:
        kinds = sorted(
            {safe_detail(text(file.dataset, "PhotometricInterpretation")) for file in files}
        )
        raise SeriesError(
            "colour_only",
            f"{path}: all {len(files)} images are in colour ({', '.join(kinds)}); these are "
            "reports or maps, not a grey-scale scan",
        )
    return grey


def read_headers(
    files: Sequence[DicomFile], path: Path, findings: Findings, max_gib: float
) -> list[SliceHeader]:
    """Headers of every slice of the files; `findings` gets what is odd.

    Raises:
        SeriesError: `bad_shape` when no file has a sane Rows, Columns and NumberOfFrames;
            `too_large`, before anything is made for its frames, when one file alone needs more
            than `max_gib` GiB as float32.
    """
    count_frames(files, findings)
    settle_signs(files, findings)
    headers: list[SliceHeader] = []
    for file in files:
        rows, columns = integer(file.dataset, "Rows") or 0, integer(file.dataset, "Columns") or 0
        sane = 0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE
        if not sane or frame_count(file.dataset) > MOST_FRAMES:
            findings.leave_out("bad_shape", file.file)
            continue
        frames = frame_count(file.dataset)
        gib = frames * rows * columns * 4 / GIB
        if gib > max_gib:
            if is_native(file) and len(bytes_of(file, "PixelData")) < frames * frame_size(file):
                findings.leave_out("bad_shape", file.file)  # it does not hold what it states
                continue
            raise SeriesError(
                "too_large",
                f"{path}: {frames} frames of {rows} x {columns} in {file.file} need {gib:.2f} GiB, "
                f"more than the limit of {max_gib:g} GiB; raise --max_series_gib if the series is "
                "sound",
            )
        lossy = file.transfer_syntax in LOSSY or text(file.dataset, "LossyImageCompression") == "01"
        found = slice_headers(file.dataset, file.file)
        headers += [replace(header, lossy=True) for header in found] if lossy else found
        findings.noticed["lossy_compression"] += lossy
        findings.noticed.update(file.notes)
        if text(file.dataset, "PhotometricInterpretation") == "MONOCHROME1":
            findings.noticed["monochrome1_inverted"] += 1
        if "ModalityLUTSequence" in file.dataset.keywords:
            beside = "RescaleSlope" in file.dataset.keywords
            findings.noticed["modality_lut_ignored" if beside else "modality_lut"] += 1
        form = pixel_format(file.dataset, is_native(file))
        if form.native and form.high != form.stored - 1:
            findings.noticed["high_bit_shifted"] += 1
    if not headers:
        stated = ", ".join(
            f"{keyword} {integer(files[0].dataset, keyword)}"
            for keyword in ("Rows", "Columns", "NumberOfFrames")
        )
        raise SeriesError(
            "bad_shape",
            f"{path}: Rows and Columns must be 1 to {LARGEST_SIDE} and NumberOfFrames at most "
            f"{MOST_FRAMES}, but {files[0].file} has {stated}, and no other file is better; copy "
            "the series again",
        )
    lacking = sum(not header.rescaled for header in headers)
    if lacking < len(headers) or text(files[0].dataset, "Modality") == "CT":
        findings.noticed["rescale_missing"] += lacking
    findings.noticed.update(note for header in headers for note in header.notes)
    return _comparable(headers, findings)


def _comparable(headers: list[SliceHeader], findings: Findings) -> list[SliceHeader]:
    """Apply real world value mappings where they alone make the values of frames comparable."""
    mappings = {header.real_world for header in headers}
    if len(mappings) < 2:  # none, or one for all, which scales the series as a whole
        return headers
    plain = {(header.slope, header.intercept) for header in headers} == {(1.0, 0.0)}
    if None in mappings or not plain:
        findings.noticed["real_world_value_ignored"] += len(headers)
        return headers
    findings.noticed["real_world_value"] += len(headers)
    return [
        replace(header, slope=mapping[0], intercept=mapping[1])
        for header in headers
        if (mapping := header.real_world)
    ]
