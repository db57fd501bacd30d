"""A folder on disk -> parsed DICOM image files, with a note for everything that was left aside.

Files are judged by content, never by name or extension, and each is read once: its bytes give the
digest that says later whether the source has changed, and the parsed data set.
"""

import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pydicom
import xxhash
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from src.imaging.headers import READ_KEYWORDS, Elements, text
from src.imaging.outcome import Findings
from src.imaging.scan import scan

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
NOT_AN_IMAGE = frozenset(
    {"SR", "PR", "KO", "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RWV", "REG", "FID", "DOC", "AU"}
)
"""Modalities of objects that lie beside images; their pixels, if any, are not a scan
(PS3.3 C.7.3.1.1.1)."""

SEGMENTATION_CLASSES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.30", "1.2.840.10008.5.1.4.1.1.481.2"}
)
"""Segmentation, parametric map and dose objects: pixels that are results, not a scan."""

Reader = Literal["scan", "pydicom"]
"""scan: `src.imaging.scan` for plain files and pydicom for all others; pydicom: for every file."""

PREAMBLE = 128
SNIFFED = 1024
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass
class DicomFile:
    """One parsed image object."""

    file: str
    """Path below the series folder, with forward slashes."""

    dataset: Elements
    """Root elements of `READ_KEYWORDS`, pixel bytes included."""

    transfer_syntax: UID
    """How the pixels are encoded."""


@dataclass
class Discovery:
    """What a series folder holds."""

    files: list[DicomFile] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    """What was left aside, by file."""

    digest: str = ""
    """XXH3-128 over the path, size and content of every file, hexadecimal."""


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts I9 before I10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts)


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below a folder, as relative path and stat, in natural order of the paths.

    Hidden files and folders are left out; links to folders are not followed.
    """
    found: list[tuple[str, os.stat_result]] = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = os.path.join(where, name)
            try:
                status = os.stat(path)
            except OSError:
                continue  # a dangling link
            if stat.S_ISREG(status.st_mode) and not name.startswith("."):
                found.append((Path(path).relative_to(folder).as_posix(), status))
    yield from sorted(found, key=lambda entry: (natural_key(entry[0]), entry[0]))


def source_digest(folder: Path) -> str:
    """Content digest of a series folder, equal to `Discovery.digest` for the same files."""
    digest = xxhash.xxh3_128()
    for name, status in walk(folder):
        digest.update(_digest_line(name, status.st_size, _hash_file(folder / name)))
    return digest.hexdigest()


def stat_digest(folder: Path) -> tuple[str, int, int]:
    """Cheap fingerprint (path, size, mtime of every file), number of files, total bytes."""
    digest = xxhash.xxh3_128()
    count = total = 0
    for name, status in walk(folder):
        digest.update(_digest_line(name, status.st_size, str(status.st_mtime_ns)))
        count += 1
        total += status.st_size
    return digest.hexdigest(), count, total


def _digest_line(name: str, size: int, content: str) -> bytes:
    return f"{name}\0{size}\0{content}\n".encode("utf-8", "surrogateescape")


def _hash_file(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    except PermissionError:
        return "unreadable"


def discover(folder: Path, reader: Reader = "scan") -> Discovery:
    """Read every file of a series folder.

    Args:
        folder: the series folder, searched recursively.
        reader: how headers are parsed; both find the same.

    Returns:
        The image objects in natural order of their paths, and what was left aside:
        `empty_file`, `unreadable_file`, `not_dicom`, `header_broken`, `dicomdir`,
        `non_image:MODALITY`, `no_pixels`.
    """
    found = Discovery()
    digest = xxhash.xxh3_128()
    for name, status in walk(folder):
        content = _take_in(folder / name, name, found, reader)
        digest.update(_digest_line(name, status.st_size, content))
    found.digest = digest.hexdigest()
    return found


def _take_in(path: Path, name: str, found: Discovery, reader: Reader) -> str:
    """Parse one file into `found`; returns the digest of its content."""
    try:
        with open(path, "rb") as file:
            head = file.read(SNIFFED)
            if not looks_like_dicom(head):
                found.findings.leave_out("not_dicom" if head else "empty_file", name)
                return _hash_file(path)
            file.seek(0)
            data = file.read()
    except PermissionError:
        found.findings.leave_out("unreadable_file", name)
        return "unreadable"
    parsed, note = parse(data, name, reader)
    if parsed is None:
        found.findings.leave_out(note, name)
    else:
        found.files.append(parsed)
    return xxhash.xxh3_128(data).hexdigest()


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file's first bytes are DICOM, with or without the preamble of PS3.10 7.1."""
    if head[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return True
    # Without preamble the file starts at group 0002 or 0008, element below 0x0100.
    little = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] in (b"\x00",)
    big = head[:2] in (b"\x00\x02", b"\x00\x08") and head[2:3] in (b"\x00",)
    return len(head) >= 16 and (little or big)


def parse(data: bytes, name: str, reader: Reader = "scan") -> tuple[DicomFile | None, str]:
    """Parse one file's bytes; without an image the second value is the note's code."""
    elements: Elements | None = scan(data) if reader == "scan" else None
    if elements is not None:
        syntax = UID(text(elements, "TransferSyntaxUID"))
        stored_class = text(elements, "MediaStorageSOPClassUID")
    else:
        try:
            elements, syntax, stored_class = _with_pydicom(data)
        except Exception:  # damaged headers provoke no one family of exceptions in pydicom
            return None, "header_broken"
    sop_class = text(elements, "SOPClassUID")
    if DICOMDIR_CLASS in (sop_class, stored_class):
        return None, "dicomdir"
    modality = text(elements, "Modality")
    if modality in NOT_AN_IMAGE or sop_class in SEGMENTATION_CLASSES:
        return None, f"non_image:{modality if modality in NOT_AN_IMAGE else sop_class}"
    if not any(keyword in elements for keyword in PIXEL_KEYWORDS):
        return None, "no_pixels"
    return DicomFile(name, elements, syntax), ""


def _with_pydicom(data: bytes) -> tuple[Dataset, UID, str]:
    """Data set, transfer syntax and MediaStorageSOPClassUID of any DICOM file."""
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=list(READ_KEYWORDS))
    meta = getattr(dataset, "file_meta", None)
    return dataset, _transfer_syntax(dataset, meta), text(meta, "MediaStorageSOPClassUID")


def _transfer_syntax(dataset: Dataset, meta: Dataset | None) -> UID:
    """The stated transfer syntax, or the one that the encoding of the data set shows."""
    stated = text(meta, "TransferSyntaxUID")
    if stated:
        return UID(stated)
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian
