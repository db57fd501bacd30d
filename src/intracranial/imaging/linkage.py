"""Which series belong to one patient, without keeping anything that names the patient."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

PLACEHOLDERS = frozenset(
    {
        "",
        "anon",
        "anonym",
        "anonymous",
        "anonymised",
        "anonymized",
        "deidentified",
        "id",
        "na",
        "nan",
        "nil",
        "noid",
        "none",
        "noname",
        "null",
        "patient",
        "patientid",
        "phantom",
        "removed",
        "test",
        "unknown",
    }
)
"""PatientIDs, lower case and without punctuation, that name nobody."""

LARGE_GROUP_SHARE = 0.05
"""A group of more than this share of all series is suspicious: probably one more placeholder."""

LARGE_GROUP_SERIES = 2
"""Groups up to this size are never reported, however few series there are."""


@dataclass(frozen=True)
class Linkage:
    """Keys that two series of one patient share: hashes in hexadecimal, or None.

    Patient and study are SHA-256, so that nobody reads them back; the hash of the pixels only has
    to tell images apart and is XXH3-128, many times faster.
    """

    patient: str | None
    """PatientID with its issuer; None for blank and placeholder values."""

    study: str | None
    """StudyInstanceUID."""

    pixels: str | None
    """Digest of the cache, so that one scan in two encodings is found too; None for a constant
    image."""

    def keys(self) -> tuple[str, ...]:
        """The keys that exist, told apart by kind."""
        named = (("patient", self.patient), ("study", self.study), ("pixels", self.pixels))
        return tuple(f"{kind}:{value}" for kind, value in named if value is not None)


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def is_placeholder(patient_id: str) -> bool:
    """Whether a PatientID is blank, a usual placeholder or one repeated character (000, xxx)."""
    bare = "".join(c for c in patient_id.lower() if c.isalnum())
    return bare in PLACEHOLDERS or len(set(bare)) == 1


def make_linkage(patient_id: str, issuer: str, study_uid: str) -> Linkage:
    """Hash what the header links series by; the pixels are added when there is a cache."""
    return Linkage(
        patient=None if is_placeholder(patient_id) else _hashed(patient_id, issuer),
        study=_hashed(study_uid) if study_uid else None,
        pixels=None,
    )


def assign_groups(
    linkages: Sequence[Linkage], names: Sequence[str], patients: Sequence[str] = ()
) -> list[str]:
    """Join series that share any key, directly or through others.

    Args:
        linkages: keys of every series.
        names: SeriesInstanceUID of every series; it names the group of a series without keys.
        patients: what a table calls the patient of every series, '' where it does not; it joins
            series and names nothing.

    Returns:
        Group of every series: 16 hexadecimal digits that do not depend on the order of the input.
    """
    parent = list(range(len(linkages)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    holder: dict[str, int] = {}
    for index, linkage in enumerate(linkages):
        told = patients[index] if patients else ""
        joins = () if is_placeholder(told) else (f"table:{told}",)
        for key in (*linkage.keys(), *joins):
            parent[root(index)] = root(holder.setdefault(key, index))
    smallest: dict[int, str] = {}
    for index, (linkage, name) in enumerate(zip(linkages, names, strict=True)):
        mine = min(linkage.keys(), default=f"series:{name}")
        top = root(index)
        smallest[top] = min(smallest.get(top, mine), mine)
    return [_hashed(smallest[root(index)])[:16] for index in range(len(linkages))]


def large_groups(groups: Sequence[str]) -> list[tuple[str, int]]:
    """Groups that hold suspiciously many series, largest first, with their sizes."""
    limit = max(LARGE_GROUP_SHARE * len(groups), LARGE_GROUP_SERIES)
    return [(group, size) for group, size in Counter(groups).most_common() if size > limit]
