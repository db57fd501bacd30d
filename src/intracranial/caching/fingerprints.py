"""Whether the DICOM files of a series are still what a cache was made from.

A series is identified by the content of its files (XXH3-128). Reading terabytes on every run would
take hours, so `data/fingerprints.json` remembers content digests by path, size and modification
time; it only saves time: when a time has changed, the content is hashed again.
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intracranial.artifacts import write_json
from intracranial.imaging.folder import source_digest, stat_digest

ABSENT = "absent"
"""Content digest of a series without a folder."""


@dataclass(frozen=True)
class Source:
    """What lies on disk for one series."""

    stat: str
    """Digest of paths, sizes and modification times, or `ABSENT`."""

    files: int
    size: int
    """Bytes of all files."""


def look_at(folder: Path) -> Source:
    """Stat a series folder."""
    if not folder.is_dir():
        return Source(ABSENT, 0, 0)
    stat, files, size = stat_digest(folder)
    return Source(stat, files, size)


class Fingerprints:
    """Content digests of series folders, remembered between runs."""

    def __init__(self, path: Path) -> None:
        """Load what an earlier run has remembered; a damaged file counts as none."""
        self.path = path
        self._known: dict[str, Any] = {}
        self._changed = False
        try:
            loaded = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
            return
        if isinstance(loaded, dict):
            self._known = loaded

    def remember(self, uid: str, stat: str, content: str) -> None:
        """Note the content digest that belongs to a stat digest."""
        self._known[uid] = {"stat": stat, "content": content}
        self._changed = True

    def save(self) -> None:
        """Write everything remembered, if there is anything new."""
        if self._changed:
            write_json(self.path, self._known)
            self._changed = False

    def contents(self, folders: dict[str, Path], sources: dict[str, Source]) -> dict[str, str]:
        """Content digest of each series, hashing only what has changed since it was remembered."""
        found: dict[str, str] = {}
        unknown: list[str] = []
        for uid in folders:
            known = self._known.get(uid)
            if sources[uid].stat == ABSENT:
                found[uid] = ABSENT
            elif isinstance(known, dict) and known.get("stat") == sources[uid].stat:
                found[uid] = str(known.get("content"))
            else:
                unknown.append(uid)
        for uid, content in zip(unknown, _hash_all(folders[uid] for uid in unknown), strict=True):
            found[uid] = content
            self.remember(uid, sources[uid].stat, content)
        return found


def _hash_all(folders: Iterable[Path]) -> list[str]:
    with ThreadPoolExecutor(4) as pool:  # reading files releases the interpreter lock
        return list(pool.map(source_digest, folders))
