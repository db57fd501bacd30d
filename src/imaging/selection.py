"""Which files of a folder are the series that is asked for, and what was left aside."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from src.errors import InputError
from src.imaging.dicom import DicomFile, Discovery, natural_key, walk
from src.imaging.headers import SliceHeader, frame_count, integer, slice_headers, text
from src.imaging.pixels import LOSSY, is_grey

MODALITIES = ("CT", "MR")
LARGEST_SIDE = 16384
"""Rows or Columns beyond this are a damaged header, not an image."""

MOST_FRAMES = 65535
"""NumberOfFrames beyond this is a damaged header."""

GIB = 2**30


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


def counted(notes: Counter[str]) -> list[str]:
    """Counts as notes, "code:count", in order of the codes."""
    return [f"{code}:{count}" for code, count in sorted(notes.items())]


def check_folder(path: Path, max_gib: float) -> None:
    """Reject a folder that is missing, empty, or larger on disk than the limit in GiB.

    Raises:
        SeriesError: `missing_folder`, `no_files` or `too_large`.
    """
    if not path.is_dir():
        raise SeriesError("missing_folder", f"{path} is not a folder; put the series' files there")
    sizes = [status.st_size for _, status in walk(path)]
    if not sizes:
        raise SeriesError("no_files", f"{path} holds no files; copy the series again")
    if sum(sizes) > max_gib * GIB:
        raise SeriesError(
            "too_large",
            f"{path}: files of {sum(sizes) / GIB:.2f} GiB are more than the limit of {max_gib:g} "
            "GiB; raise --max_series_gib if the series is sound",
        )


def select_files(
    found: Discovery, path: Path, wanted: str, notes: Counter[str]
) -> tuple[list[DicomFile], list[str]]:
    """The grey CT or MR images of one series.

    Args:
        found: everything in the folder.
        path: the folder, for messages.
        wanted: SeriesInstanceUID to prefer; without it the series of most slices is taken.
        notes: gets a count of everything that is left aside.

    Returns:
        The files, and notes that have no count.

    Raises:
        SeriesError: nothing is left; codes as in `src.imaging.series.read_series`.
    """
    if not found.files:
        raise _nothing_found(path, found.notes)
    files = _of_modality(found.files, path, notes)
    files, remarks = _of_one_series(files, wanted, notes)
    return _grey_only(files, path, notes), remarks


def _nothing_found(path: Path, notes: Counter[str]) -> SeriesError:
    what = ", ".join(counted(notes))
    kinds = set(notes) - {"empty_file", "not_dicom", "unreadable_file"}
    if not kinds:
        code = "unreadable_files" if set(notes) == {"unreadable_file"} else "not_dicom"
        words = "cannot be opened" if code == "unreadable_files" else "holds no DICOM file"
        return SeriesError(code, f"{path} {words} ({what}); copy the series again")
    if kinds == {"header_broken"}:
        return SeriesError(
            "header_broken", f"{path}: no header could be read to its end ({what}); copy it again"
        )
    return SeriesError(
        "no_pixels", f"{path} holds no image with pixel data ({what}); it is no image series"
    )


def _of_modality(files: list[DicomFile], path: Path, notes: Counter[str]) -> list[DicomFile]:
    kept = [file for file in files if text(file.dataset, "Modality") in MODALITIES]
    others = Counter(
        text(file.dataset, "Modality") or "missing"
        for file in files
        if text(file.dataset, "Modality") not in MODALITIES
    )
    if not kept:
        raise SeriesError(
            "unsupported_modality",
            f"{path}: Modality is {', '.join(sorted(others))}; only CT and MR series can be used",
        )
    for modality, count in others.items():
        notes[f"other_modality:{modality}"] += count
    return kept


def _of_one_series(
    files: list[DicomFile], wanted: str, notes: Counter[str]
) -> tuple[list[DicomFile], list[str]]:
    """The files of the wanted series, or else of the one with most slices."""
    groups: dict[str, list[DicomFile]] = defaultdict(list)
    for file in files:
        key = text(file.dataset, "SeriesInstanceUID") + " " + text(file.dataset, "Modality")
        groups[key].append(file)
    named = [key for key in groups if key.split(" ")[0] == wanted]

    def weight(key: str) -> tuple[int, tuple[tuple[int, int | str], ...]]:
        slices = sum(frame_count(f.dataset) for f in groups[key])
        return (-slices, natural_key(key))

    best = min(named or groups, key=weight)
    other = len(files) - len(groups[best])
    if other:
        notes["other_series"] += other
    return groups[best], [] if named else ["uid_differs_from_folder"]


def _grey_only(files: list[DicomFile], path: Path, notes: Counter[str]) -> list[DicomFile]:
    grey = [file for file in files if is_grey(file.dataset)]
    if not grey:
        kinds = sorted({text(file.dataset, "PhotometricInterpretation") for file in files})
        raise SeriesError(
            "colour_only",
            f"{path}: all {len(files)} images are in colour ({', '.join(kinds)}); these are "
            "reports or maps, not a grey-scale scan",
        )
    if len(grey) < len(files):
        notes["colour_dropped"] += len(files) - len(grey)
    return grey


def read_headers(files: Iterable[DicomFile], path: Path, notes: Counter[str]) -> list[SliceHeader]:
    """Headers of every slice of the files; `notes` counts what is odd.

    Raises:
        SeriesError: `bad_shape` when no file has a sane Rows, Columns and NumberOfFrames.
    """
    headers: list[SliceHeader] = []
    for file in files:
        rows, columns = integer(file.dataset, "Rows") or 0, integer(file.dataset, "Columns") or 0
        sane = 0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE
        if not sane or frame_count(file.dataset) > MOST_FRAMES:
            notes["bad_shape"] += 1
            continue
        headers += slice_headers(file.dataset, file.file)
        if file.transfer_syntax in LOSSY or text(file.dataset, "LossyImageCompression") == "01":
            notes["lossy_compression"] += 1
        if text(file.dataset, "PhotometricInterpretation") == "MONOCHROME1":
            notes["monochrome1_inverted"] += 1
        if "ModalityLUTSequence" in file.dataset and "RescaleSlope" not in file.dataset:
            notes["modality_lut"] += 1
    if not headers:
        raise SeriesError(
            "bad_shape", f"{path}: Rows, Columns or NumberOfFrames of all files are 0 or absurd"
        )
    notes.update(note for header in headers for note in header.notes)
    return headers
