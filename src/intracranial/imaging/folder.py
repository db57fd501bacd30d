"""A folder on disk -> parsed DICOM image files, with a note for everything that was left aside.

Files are judged by content, never by name or extension, and each is read once: its bytes give the
digest that says later whether the source has changed, and the parsed data set.
"""

import functools
import hashlib
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from intracranial.imaging.dicom.parse import SNIFFED, DicomFile, Reader, looks_like_dicom, parse
from intracranial.imaging.outcome import Findings

GZIP_MAGIC = b"\x1f\x8b"

REMEMBERED_NAMES = 16384
"""File names whose sort key is kept: a large series is sorted several times."""

LARGEST_FOLDER = 8 * 2**30
"""Bytes; the usual limit of a series."""


@dataclass
class Discovery:
    """What a series folder holds."""

    files: list[DicomFile] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    """What was left aside, by file."""

    digest: str = ""
    """XXH3-128 over the path, size and content of every file, hexadecimal."""


@functools.lru_cache(maxsize=REMEMBERED_NAMES)
def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts I9 before I10; numbers may have any length."""
    parts = re.split(r"([0-9]+)", name)
    parts[1::2] = [digits.lstrip("0") for digits in parts[1::2]]
    return tuple((len(part) if at % 2 else 0, part) for at, part in enumerate(parts))


def walk(folder: Path, findings: Findings | None = None) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below a folder, as relative path and stat, in natural order of the paths.

    Hidden files and folders are left out; links to folders are not followed, so that a link to
    a parent ends nowhere. `findings` gets all that is passed over.
    """
    findings = findings or Findings()
    found: list[tuple[str, os.stat_result]] = []
    above = len(os.path.join(folder, ""))

    def below(path: str) -> str:
        return path[above:].replace(os.sep, "/") or "."

    def refused(error: OSError) -> None:
        findings.leave_out("unreadable_folder", below(error.filename))

    for where, folders, names in os.walk(folder, onerror=refused):
        for name in list(folders):
            path = os.path.join(where, name)
            linked = os.path.islink(path)
            if linked or name.startswith("."):
                findings.leave_out("linked_folder" if linked else "hidden_file", below(path))
                folders.remove(name)
        for name in names:
            path = os.path.join(where, name)
            try:
                status = os.stat(path)
            except OSError:
                findings.leave_out("broken_link", below(path))
                continue
            if name.startswith("."):
                findings.leave_out("hidden_file", below(path))
            elif stat.S_ISREG(status.st_mode):
                found.append((below(path), status))
            else:
                findings.leave_out("not_a_file", below(path))
    findings.left_out.sort(key=lambda entry: natural_key(entry.file))
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


def discover(
    folder: Path,
    files: Iterable[tuple[str, os.stat_result]],
    findings: Findings,
    reader: Reader = "scan",
    max_bytes: int = LARGEST_FOLDER,
) -> Discovery:
    """Read every file of a series folder.

    Args:
        folder: the series folder.
        files: what `walk` gives for it.
        findings: gets what is left aside.
        reader: how headers are parsed; both find the same.
        max_bytes: most that one deflated file may become.

    Returns:
        The image objects in natural order of their paths, and what was left aside:
        `empty_file`, `unreadable_file`, `not_dicom`, `compressed_file`,
        `header_broken`, `dicomdir`, `non_image:MODALITY`, `no_pixels`, `inflates_too_far`,
        `changed_while_read`.
    """
    found = Discovery(findings=findings)
    digest = xxhash.xxh3_128()
    for name, status in files:
        content = _take_in(folder / name, name, status.st_size, found, reader, max_bytes)
        digest.update(_digest_line(name, status.st_size, content))
    found.digest = digest.hexdigest()
    return found


def _take_in(
    path: Path, name: str, size: int, found: Discovery, reader: Reader, max_bytes: int
) -> str:
    """Parse one file into `found`; returns the digest of its content."""
    try:
        with open(path, "rb") as file:
            head = file.read(SNIFFED)
            if not looks_like_dicom(head):
                found.findings.leave_out(_stranger(head), name)
                return _hash_file(path)
            file.seek(0)
            data = file.read()
    except PermissionError:
        found.findings.leave_out("unreadable_file", name)
        return "unreadable"
    if len(data) != size:  # a transfer that is under way: the next run finds other files
        found.findings.leave_out("changed_while_read", name)
    else:
        parsed, note = parse(data, name, reader, max_bytes)
        if parsed is None:
            found.findings.leave_out(note, name)
        else:
            found.files.append(parsed)
    return xxhash.xxh3_128(data).hexdigest()


def _stranger(head: bytes) -> str:
    """Code for a file that does not begin as DICOM does."""
    if not head:
        return "empty_file"
    if head.startswith(GZIP_MAGIC):
        try:
            inside = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, SNIFFED)
        except zlib.error:
            return "not_dicom"
        return "compressed_file" if looks_like_dicom(inside) else "not_dicom"
    return "not_dicom"
