"""What a run knows of the series that it was trained on: `membership.json`, and no other file.

The file has a part for each stage. Weights can be used, scored and given away without it; nobody
can then ask them whether a series or a patient was in the training. Patients and studies stand in
it as hashes under the secret key of the data folder, so that where that key is not, only the
SeriesInstanceUIDs and the pixels of a series tell.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field

from intracranial.artifacts import DataPaths, FoldPaths, read_json, write_json
from intracranial.caching.secret import key_identity
from intracranial.errors import Busy, InputError
from intracranial.imaging.linkage import Linkage
from intracranial.processes.locks import only_one
from intracranial.provenance import MADE_BY, digest
from intracranial.runlog import log
from intracranial.sidecar import damaged, part

LOCK_SECONDS = 10.0
"""How long a stage waits until the other one has written its part."""


@dataclass(frozen=True)
class TrainedOn:
    """How many series weights were trained on, and a digest of them all."""

    series: int
    digest: str


@dataclass(frozen=True)
class Known:
    """Series, and the keys of `Linkage.keyed` by which they are recognised elsewhere."""

    series: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """What one stage knows.

    Attributes:
        key: names the secret key of the hashes, see `caching.secret.key_identity`.
        training: the series that it was trained on.
        selecting: the series whose scores chose its weights.
        held_out: the keys of each held-out series; stage 2 leaves them to stage 1.
    """

    key: str
    training: Known
    selecting: Known
    held_out: dict[str, tuple[str, ...]]


def make_part(
    data: DataPaths, training: Sequence[str], selecting: Sequence[str], held_out: Sequence[str] = ()
) -> Part:
    """The part of a stage, from the sidecars of the cached series.

    Raises:
        MissingArtifact, InputError: a sidecar is missing, or damaged.
    """
    names: set[str] = set()

    def keys_of(uid: str) -> tuple[str, ...]:
        path = data.sequence_sidecar(uid)
        sidecar = read_json(path, MADE_BY["preprocess"])
        try:
            names.add(sidecar["key"])
            return Linkage(**sidecar["linkage"]).keys()
        except (KeyError, TypeError):
            raise InputError(
                f"{path} does not tell by what its series is recognised: run "
                f"{MADE_BY['preprocess']} --overwrite"
            ) from None

    def known(uids: Sequence[str]) -> Known:
        return Known(tuple(uids), tuple(sorted({key for uid in uids for key in keys_of(uid)})))

    found = known(training), known(selecting), {uid: keys_of(uid) for uid in held_out}
    return Part(", ".join(sorted(names)), *found)


def trained_on(uids: Sequence[str]) -> TrainedOn:
    """What the sidecar of weights says of their training series: how many, and which in a digest.

    The digest is of all of them together, so that it betrays none.
    """
    return TrainedOn(len(uids), digest(list(uids)))


def write_part(paths: FoldPaths, stage: str, made: Part) -> None:
    """Put the part of `stage1` or `stage2` into the fold's file and keep that of the other stage.

    Raises:
        Busy: another process has kept the file for `LOCK_SECONDS`.
    """
    path = paths.membership
    with _alone(paths):
        try:
            content = read_json(path, MADE_BY["membership"]) if path.exists() else {}
        except InputError as error:
            log.warning("%s; it is made anew with the part of %s alone", error, stage)
            content = {}
        write_json(path, {**content, stage: asdict(made)})


@contextmanager
def _alone(paths: FoldPaths) -> Iterator[None]:
    until = time.monotonic() + LOCK_SECONDS
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(only_one(paths.lock("membership"), str(paths.membership)))
                break
            except Busy:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        yield


def read_part(paths: FoldPaths, stage: str, trained: TrainedOn | None) -> Part | None:
    """The part of `stage1` or `stage2`; None where the run holds no `membership.json`.

    Args:
        paths: the fold's paths.
        stage: which.
        trained: what the sidecar of the weights says, which the part must belong to.

    Raises:
        InputError: the file is damaged, lacks the part, or belongs to other weights.
    """
    path = paths.membership
    if not path.exists():
        return None
    found = part(path, read_json(path, MADE_BY["membership"]), stage, Part)
    if trained_on(found.training.series) != trained:
        raise damaged(path, f"`{stage}` is not of the weights beside it")
    return found


@dataclass(frozen=True)
class Overlap:
    """By what scored series are recognised as those that weights have met before.

    Attributes:
        parts: of the stages.
        key: the secret key of the hashes in them; None where it is not at hand.
    """

    parts: tuple[Part, ...]
    key: bytes | None = field(default=None, repr=False)

    def keys(self, linkage: Linkage) -> tuple[str, ...]:
        """The keys of a series that can be looked for; `linkage` is without a key."""
        if self.key is None:
            return Linkage(None, None, linkage.pixels).keys()
        return linkage.keyed(self.key).keys()

    def met(self, found: Sequence[tuple[str, Linkage]], selecting: bool) -> list[str]:
        """UIDs of series that were in training, or share patient, study or pixels with one.

        Args:
            found: UID and linkage (without a key) of each series.
            selecting: whether series whose scores selected the weights count too.
        """
        known = [part.training for part in self.parts]
        known += [part.selecting for part in self.parts if selecting]
        uids = {uid for one in known for uid in one.series}
        keys = {key for one in known for key in one.keys}
        return [
            uid for uid, linkage in found if uid in uids or not keys.isdisjoint(self.keys(linkage))
        ]

    def held_out_like(self, linkages: Sequence[Linkage]) -> list[str]:
        """UIDs of held-out series that share patient, study or pixels with one of these."""
        scored = {key for linkage in linkages for key in self.keys(linkage)}
        held_out = {uid: keys for part in self.parts for uid, keys in part.held_out.items()}
        return [uid for uid, keys in held_out.items() if not scored.isdisjoint(keys)]


def open_overlap(
    paths: FoldPaths, trained: Mapping[str, TrainedOn | None], key: bytes | None
) -> Overlap | None:
    """What scored series are compared with; None where the run holds no `membership.json`.

    Args:
        paths: the fold's paths.
        trained: what the sidecars of the stages say, by name.
        key: the secret key of the data folder that is at hand, or None.

    Raises:
        InputError: as `read_part`.
    """
    read = [read_part(paths, stage, one) for stage, one in trained.items()]
    parts = tuple(part for part in read if part is not None)
    if not parts:
        return None
    fits = key is not None and {part.key for part in parts} == {key_identity(key)}
    return Overlap(parts, key if fits else None)
