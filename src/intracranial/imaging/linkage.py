"""Which series belong to one patient, without keeping anything that names the patient."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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


ROUNDS = 8
"""Rounds of `keyed`; from four on nobody tells its values from random ones without the key."""


@dataclass(frozen=True)
class Linkage:
    """Keys that two series of one patient share: hashes in hexadecimal, or None.

    Patient and study are SHA-256. PatientIDs are few enough to try all of them, so these hashes
    stay in memory: what is written is `keyed`. The hash of the pixels tells nothing to those who
    have not the pixels; it is XXH3-128, many times faster, and is written as it is.
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

    def keyed(self, key: bytes) -> "Linkage":
        """The same with `keyed` hashes of patient and study, as it may be written."""
        return self._changed(keyed, key)

    def unkeyed(self, key: bytes) -> "Linkage":
        """What `keyed` was made from.

        Raises:
            ValueError: it was not made by `keyed`.
        """
        return self._changed(unkeyed, key)

    def _changed(self, change: Callable[[str, bytes], str], key: bytes) -> "Linkage":
        patient, study = (
            value if value is None else change(value, key) for value in (self.patient, self.study)
        )
        return replace(self, patient=patient, study=study)


def keyed(value: str, key: bytes) -> str:
    """A hash under a secret key: without the key nobody can try whose it is.

    It is a permutation (a Feistel network whose round function is keyed BLAKE2b), not one more
    hash, because the order of patients in which folds are dealt out is that of the hashes without
    a key: `unkeyed` finds it again, so that it is written nowhere and equal for every key.

    Args:
        value: hexadecimal, of a whole number of bytes on either half.
        key: the secret, at most 64 bytes.

    Returns:
        As many hexadecimal digits as `value` has.

    Raises:
        ValueError: `value` is no such hash.
    """
    left, right = _halves(value)
    for number in range(ROUNDS):
        left, right = right, _mixed(left, right, key, number)
    return (left + right).hex()


def unkeyed(value: str, key: bytes) -> str:
    """What `keyed` was given; arguments and errors are those of `keyed`."""
    left, right = _halves(value)
    for number in reversed(range(ROUNDS)):
        left, right = _mixed(right, left, key, number), left
    return (left + right).hex()


def _halves(value: str) -> tuple[bytes, bytes]:
    content = bytes.fromhex(value)
    half, odd = divmod(len(content), 2)
    if odd or not half:
        raise ValueError(f"{value!r} is no hash")
    return content[:half], content[half:]


def _mixed(part: bytes, other: bytes, key: bytes, number: int) -> bytes:
    pad = hashlib.blake2b(other, digest_size=len(part), key=key, salt=bytes([number])).digest()
    return bytes(a ^ b for a, b in zip(part, pad, strict=True))


def _hashed(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def is_placeholder(patient_id: str) -> bool:
    """Whether a PatientID is blank, a usual placeholder or one repeated character (000, xxx)."""
    bare = _bare(patient_id)
    return bare in PLACEHOLDERS or len(set(bare)) == 1


def _bare(patient_id: str) -> str:
    """Lower case, without punctuation."""
    return "".join(c for c in patient_id.lower() if c.isalnum())


def make_linkage(patient_id: str, issuer: str, study_uid: str) -> Linkage:
    """Hash what the header links series by; the pixels are added when there is a cache.

    The hashes are without a key: they are not to be written.
    """
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
        They are no names to be written; `group_names` gives those.
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
        # whoever numbers patients 1, 2, 3 in a table means it
        joins = () if _bare(told) in PLACEHOLDERS else (f"table:{told}",)
        for key in (*linkage.keys(), *joins):
            parent[root(index)] = root(holder.setdefault(key, index))
    smallest: dict[int, str] = {}
    for index, (linkage, name) in enumerate(zip(linkages, names, strict=True)):
        mine = min(linkage.keys(), default=f"series:{name}")
        top = root(index)
        smallest[top] = min(smallest.get(top, mine), mine)
    return [_hashed(smallest[root(index)])[:16] for index in range(len(linkages))]


def group_names(
    linkages: Sequence[Linkage],
    names: Sequence[str],
    key: bytes | None,
    patients: Sequence[str] = (),
) -> list[str]:
    """Names of `assign_groups` that tell nothing of the patients: 16 hexadecimal digits.

    Args:
        linkages: keys of every series, as `make_linkage` gives them.
        names: SeriesInstanceUID of every series.
        key: the secret key; where there is none, a group is named after its first series.
        patients: see `assign_groups`.
    """
    groups = assign_groups(linkages, names, patients)
    if key is not None:
        return [keyed(group, key) for group in groups]
    first: dict[str, str] = {}
    for group, name in zip(groups, names, strict=True):
        first[group] = min(first.get(group, name), name)
    return [_hashed("series", first[group])[:16] for group in groups]


def large_groups(groups: Sequence[str]) -> list[tuple[str, int]]:
    """Groups that hold suspiciously many series, largest first, with their sizes."""
    limit = max(LARGE_GROUP_SHARE * len(groups), LARGE_GROUP_SERIES)
    return [(group, size) for group, size in Counter(groups).most_common() if size > limit]
