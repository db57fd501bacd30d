"""All series of train.csv -> caches and tables: the reading, the tables and the manifest."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from intracranial.artifacts import TEMPORARY_SUFFIX, DataPaths, remove_temporaries
from intracranial.caching.fingerprints import ABSENT, Fingerprints
from intracranial.caching.job import PASSING_REASONS, Job, Outcome
from intracranial.caching.jobs import run_jobs
from intracranial.caching.secret import key_identity, make_key
from intracranial.caching.survey import State, make_request
from intracranial.caching.tables import rejected_row, write_tables
from intracranial.errors import EXIT_DONE
from intracranial.imaging.series import ReadLimits
from intracranial.options.preprocess import PreprocessOptions
from intracranial.processes.team import Team, share_out
from intracranial.provenance import write_manifest
from intracranial.runlog import log, progress
from intracranial.tasks import SERIES_COLUMN

SAVE_SECONDS = 60.0
"""How often fingerprints are saved during a run."""


def replaced_gib(state: State, data: DataPaths) -> float:
    """GiB of old caches that will be replaced, so that their space counts as free."""
    total = 0
    for uid in state.todo:
        old = [data.sequence(uid), *(data.slices / uid).glob("*.npy")]
        total += sum(path.stat().st_size for path in old if path.is_file())
    return total / 2**30


def clear(state: State, data: DataPaths) -> None:
    """Take back what no longer holds, the manifest first, and what a killed run left."""
    if state.stale or state.changed:
        data.preprocess_manifest.unlink(missing_ok=True)
    for uid in state.stale:
        data.sequence_sidecar(uid).unlink(missing_ok=True)
    _remove_leftovers(data)


def _remove_leftovers(data: DataPaths) -> None:
    remove_temporaries(data.sequences)
    remove_temporaries(data.root)
    if data.slices.is_dir():
        for leftover in data.slices.glob(f".*{TEMPORARY_SUFFIX}"):
            shutil.rmtree(leftover, ignore_errors=True)


def make_job(uid: str, options: PreprocessOptions, key: bytes) -> Job:
    """What a worker needs to read one series."""
    return Job(
        uid=uid,
        data=options.data,
        pixels=options.pixels,
        limits=ReadLimits(options.reading.max_series_gib, options.reading.reader, uid),
        slices=options.slices,
        key=key,
    )


def run(
    state: State, options: PreprocessOptions, fingerprints: Fingerprints, team: Team | None
) -> list[dict[str, str]]:
    """Read what is left to read, alone or with the other ranks of a team that this one leads.

    Returns:
        The rows of rejected.csv for all rejected series of this run.

    Raises:
        OSError: a cache could not be written.
        InputError: another rank has stopped.
        Preempted: another rank was lost.
    """
    sizes = {uid: state.sources[uid].size for uid in state.todo}
    if team is None:
        uids = share_out(sizes, [0])[0]
        shutil.rmtree(options.data.ranks, ignore_errors=True)
    else:
        uids = team.hand_out(sizes, options.identity())
    saved = time.monotonic()
    for outcome in _read_all(uids, options):
        _note(outcome, state, fingerprints)
        if time.monotonic() - saved > SAVE_SECONDS:
            fingerprints.save()
            saved = time.monotonic()
    try:
        if team is not None:
            team.collect(
                take=lambda said: _note(Outcome(**said), state, fingerprints),
                is_finished=lambda uid: options.data.sequence_sidecar(uid).is_file(),
            )
    finally:
        fingerprints.save()
    order = {uid: position for position, uid in enumerate(state.uids)}
    return sorted(state.rejected, key=lambda row: order[row[SERIES_COLUMN]])


def help_out(options: PreprocessOptions, team: Team) -> int:
    """Read the share that rank 0 gives this one, and report it.

    Rejected series are in the report; they change the exit code of rank 0 only, since a launcher
    takes any other code than 0 as a reason to end all ranks.
    """
    uids = team.share(options.identity())
    if uids is None:
        return EXIT_DONE
    log.info("rank %d of %d: %d series", team.rank.index, team.rank.count, len(uids))
    outcomes: list[dict[str, Any]] = []
    try:
        outcomes += [asdict(outcome) for outcome in _read_all(uids, options)]
    except Exception as error:
        team.report([], failure=f"{type(error).__name__}: {error}")
        raise
    team.report(outcomes)
    return EXIT_DONE


def _read_all(uids: Sequence[str], options: PreprocessOptions) -> Iterator[Outcome]:
    key = make_key(options.data)
    jobs = [make_job(uid, options, key) for uid in uids]
    outcomes = run_jobs(jobs, options.num_workers, options.reading.max_series_seconds)
    return progress(outcomes, len(jobs), "series")


def _note(outcome: Outcome, state: State, fingerprints: Fingerprints) -> None:
    if outcome.source and outcome.source != ABSENT:
        fingerprints.remember(outcome.uid, outcome.stat, outcome.source)
        state.contents[outcome.uid] = outcome.source
    for words in outcome.said:
        log.warning("%s: a decoder says of %s", outcome.uid, words)
    if outcome.code:
        log.warning("rejected %s (%s): %s", outcome.uid, outcome.code, outcome.message)
        state.rejected.append(rejected_row(outcome.uid, outcome.code, outcome.message))


def finish(
    state: State,
    options: PreprocessOptions,
    rejected: Sequence[dict[str, str]],
    fingerprints: Fingerprints,
) -> dict[str, Any]:
    """Write the tables, and the manifest last; returns the counts that it holds."""
    data = options.data
    unknown = {uid: data.series / uid for uid in state.uids if uid not in state.contents}
    state.contents |= fingerprints.contents(unknown, state.sources)
    fingerprints.save()
    _remove_leftovers(data)  # of workers that died
    key = make_key(data)
    counts = write_tables(data, state.columns, state.rows, rejected, key)
    for group, size in counts.pop("large groups"):
        log.warning(
            "group %s joins %d series: a PatientID or StudyInstanceUID that many patients share? "
            "They all go to one fold",
            group,
            size,
        )
    request = make_request(state, options)
    content = {
        "task": state.task.record(),
        "counts": counts,
        "sources": {uid: state.contents[uid] for uid in state.uids},
        "key": key_identity(key),
    }
    write_manifest(data.preprocess_manifest, request, complete=True, content=content)
    return counts


def summary(rejected: Sequence[dict[str, str]], counts: Mapping[str, Any]) -> list[str]:
    """Lines that say how the series ended, and why some were read in part or rejected."""
    reasons = Counter(row["reason"] for row in rejected)
    lines = [
        f"{counts['read']} series read, {counts['read with notes']} of them with notes and "
        f"{counts['read in part']} in part; {len(rejected)} rejected"
    ]
    lines += [f"  {count:5d}  rejected: {reason}" for reason, count in reasons.most_common()]
    lines += [
        f"  {count:5d}  files left out: {reason}"
        for reason, count in Counter(counts["lost files"]).most_common()
    ]
    if set(reasons) & PASSING_REASONS:
        lines.append(
            "  (the same command tries again those that the machine or its limits stopped)"
        )
    return lines
