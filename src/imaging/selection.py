"""Which files of a folder are the series that is asked for, and what was left aside."""

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.errors import InputError
from src.imaging.dicom import Discovery, natural_key, walk
from src.imaging.frames import bytes_of, count_frames, frame_size
from src.imaging.headers import SliceHeader, frame_count, integer, slice_headers, text
from src.imaging.outcome import Findings, safe_detail
from src.imaging.parse import DicomFile
from src.imaging.pixels import LOSSY, is_grey, is_native
from src.imaging.values import pixel_format

MODALITIES = ("CT", "MR")
LARGEST_SIDE = 16384
"""Rows or Columns beyond this are a damaged header, not an image."""

MOST_FRAMES = 65535
"""NumberOfFrames beyond this is a damaged header."""

GIB = 2**30

NOT_READABLE = frozenset(
    {"empty_file", "unreadable_file", "unreadable_folder", "broken_link", "compressed_file"}
    | {"not_dicom", "hidden_file", "linked_folder", "not_a_file"}
)
"""Codes of entries of a folder that are no readable DICOM file."""


class SeriesError(InputError):
    """A series cannot be used; `code` is a stable short reason, `message` says it in words."""

    def __init__(self, code: str, message: str) -> None:
        """Keep code and words; only the words are printed."""
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["SeriesError"], tuple[str, str]]:
        """Both arguments travel between processes."""
        return (SeriesError, (self.code, self.message))


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
        SeriesError: nothing is left; codes as in `src.imaging.series.read_series`.
    """
    if not found.files:
        raise _nothing_found(path, findings)
    files = _of_modality(found.files, path, findings)
    files = _of_one_series(files, wanted, findings)
    files = _grey_only(files, path, findings)
    return _without_mosaics(files, path, findings)


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

    def weight(key: tuple[str, str]) -> tuple[Any, ...]:
        slices = sum(frame_count(file.dataset) for file in groups[key])
        return (key[0] == "", -slices, natural_key(key[0]), key)

    best = min(named or groups, key=weight)
    for key, others in groups.items():
        if key != best:
            code = "other_series" if key[0] else "series_uid_missing"
            for file in others:
                findings.leave_out(code, file.file)
    if not named:
        findings.remarks.append("uid_differs_from_folder")
    return groups[best]


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


def _without_mosaics(files: list[DicomFile], path: Path, findings: Findings) -> list[DicomFile]:
    """Leave out Siemens mosaics: their tiles are slices whose places only private tags tell."""
    kept: list[DicomFile] = []
    for file in files:
        if "MOSAIC" in text(file.dataset, "ImageType").split("\\"):
            findings.leave_out("mosaic", file.file)
        else:
            kept.append(file)
    if not kept:
        raise SeriesError(
            "mosaic",
            f"{path}: ImageType of all {len(files)} images says MOSAIC (many slices tiled in one "
            "image); export the series as single slices or as enhanced MR",
        )
    return kept


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
        headers += slice_headers(file.dataset, file.file)
        if file.transfer_syntax in LOSSY or text(file.dataset, "LossyImageCompression") == "01":
            findings.noticed["lossy_compression"] += 1
        findings.noticed.update(file.notes)
        if text(file.dataset, "PhotometricInterpretation") == "MONOCHROME1":
            findings.noticed["monochrome1_inverted"] += 1
        if "ModalityLUTSequence" in file.dataset and "RescaleSlope" not in file.dataset:
            findings.noticed["modality_lut"] += 1
        form = pixel_format(file.dataset, is_native(file))
        if form.native and form.high != form.stored - 1:
            findings.noticed["high_bit_shifted"] += 1
    lacking = [header for header in headers if not header.rescaled]
    if len(lacking) < len(headers):
        findings.noticed["rescale_missing"] += len(lacking)
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
    findings.noticed.update(note for header in headers for note in header.notes)
    return headers
