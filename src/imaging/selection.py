"""Which files of a folder are the series that is asked for, and what was left aside."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from src.errors import InputError
from src.imaging.dicom import Discovery, natural_key, walk
from src.imaging.headers import (
    SliceHeader,
    frame_count,
    integer,
    numbers,
    set_frame_count,
    slice_headers,
    text,
)
from src.imaging.outcome import Findings, safe_detail
from src.imaging.parse import PIXEL_KEYWORDS, DicomFile
from src.imaging.pixels import LOSSY, is_grey

MODALITIES = ("CT", "MR")
LARGEST_SIDE = 16384
"""Rows or Columns beyond this are a damaged header, not an image."""

MOST_FRAMES = 65535
"""NumberOfFrames beyond this is a damaged header."""

PAD_BYTES = 1
"""Pixel data of odd length end in one byte of padding (PS3.5 8.1.1)."""

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


def check_folder(path: Path, max_gib: float) -> None:
    """Reject a folder that is missing, empty, or larger on disk than the limit in GiB.

    Raises:
        SeriesError: `missing_folder`, `no_files` or `too_large`.
    """
    if not path.is_dir():
        raise SeriesError("missing_folder", f"{path} is not a folder; put the series' files there")
    findings = Findings()
    sizes = [status.st_size for _, status in walk(path, findings)]
    if not sizes:
        beside = f" ({', '.join(findings.notes)})" if findings.left_out else ""
        raise SeriesError("no_files", f"{path} holds no files{beside}; copy the series again")
    if sum(sizes) > max_gib * GIB:
        raise SeriesError(
            "too_large",
            f"{path}: files of {sum(sizes) / GIB:.2f} GiB are more than the limit of {max_gib:g} "
            "GiB; raise --max_series_gib if the series is sound",
        )


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


def _count_frames(files: Sequence[DicomFile], findings: Findings) -> None:
    """Settle NumberOfFrames of objects that lack it, but hold a multiple of one frame's bytes.

    The bytes are frames when nothing says that the object is one slice of a stack: it is alone or
    has no position. Else the first frame is read, as PS3.3 C.7.6.6 has it for an absent value.
    """
    for file in files:
        dataset = file.dataset
        if integer(dataset, "NumberOfFrames") or not _is_native(file):
            continue
        size = _frame_size(file)
        held = len(_bytes_of(file, "PixelData"))
        frames = held // size if size else 0
        if frames < 2 or held - frames * size > PAD_BYTES:
            continue
        if len(files) == 1 or not numbers(dataset, "ImagePositionPatient", 3):
            set_frame_count(dataset, frames)
            findings.noticed["frames_counted"] += 1
        else:
            findings.noticed["excess_pixel_data"] += 1


def _is_native(file: DicomFile) -> bool:
    syntax = file.transfer_syntax
    return syntax.is_transfer_syntax and not syntax.is_encapsulated


def _frame_size(file: DicomFile) -> int:
    """Bytes of one uncompressed frame, 0 when the header does not tell."""
    pixels = (integer(file.dataset, "Rows") or 0) * (integer(file.dataset, "Columns") or 0)
    return pixels * (integer(file.dataset, "BitsAllocated") or 0) // 8


def _bytes_of(file: DicomFile, keyword: str) -> bytes | memoryview:
    value = file.dataset.get(keyword)
    return value if isinstance(value, bytes | memoryview) else b""


def pixel_comparison(files: Sequence[DicomFile]) -> Callable[[SliceHeader, SliceHeader], bool]:
    """A function that says whether two slices of the files have the same values.

    It compares bytes, not decoded pixels; frames of one compressed object count as different.
    """
    by_name = {file.file: file for file in files}

    def same(one: SliceHeader, other: SliceHeader) -> bool:
        if (one.shape, one.slope, one.intercept) != (other.shape, other.slope, other.intercept):
            return False
        a, b = by_name[one.file], by_name[other.file]
        if a.transfer_syntax != b.transfer_syntax:
            return False
        if one.frame == other.frame:
            return all(_bytes_of(a, keyword) == _bytes_of(b, keyword) for keyword in PIXEL_KEYWORDS)
        size, other_size = _frame_size(a), _frame_size(b)
        if not (_is_native(a) and size and size == other_size):
            return False
        left, right = _bytes_of(a, "PixelData"), _bytes_of(b, "PixelData")
        first, second = one.frame * size, other.frame * size
        return left[first : first + size] == right[second : second + size]

    return same


def read_headers(
    files: Sequence[DicomFile], path: Path, findings: Findings, max_gib: float
) -> list[SliceHeader]:
    """Headers of every slice of the files; `findings` gets what is odd.

    Raises:
        SeriesError: `bad_shape` when no file has a sane Rows, Columns and NumberOfFrames;
            `too_large`, before anything is made for its frames, when one file alone needs more
            than `max_gib` GiB as float32.
    """
    _count_frames(files, findings)
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
            if _is_native(file) and len(_bytes_of(file, "PixelData")) < frames * _frame_size(file):
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
