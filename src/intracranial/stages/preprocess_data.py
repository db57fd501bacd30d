"""Script 1 of 8: read DICOM series and write the caches and tables that all later stages use.

Reads   data/train.csv and data/series/<SeriesInstanceUID>/: single-frame files with any names, or
        enhanced multi-frame files; data/task.yaml, which names other labels than those of the
        RSNA 2025 challenge (docs/own_data.md).

Writes  data/npy_sequence/<uid>.npy: float16 (slices, 512, 512), values 0..5, and <uid>.json;
        data/npy_slice/<uid>/0000.npy and so on: copies per slice, unless --no_slices;
        data/train_meta.csv, data/slices.csv: a row per series and per slice;
        data/rejected.csv: a row per rejected series (`file` empty) and per file that is missing
        from a series read in part, with reason and words;
        data/preprocess.json: what all this was made from, written last;
        data/secret.key: made once, the key of the hashes by which series of one patient are known;
        it stays in data/, and a copy of it belongs where nothing is lost;
        data/fingerprints.json: digests of the source files, only to save time;
        data/report.html: what was read and how it looks, and where the findings of
        data/train_localizers.csv are, if it is there; data/report.json: its figures.

Skips   every series whose cache is finished. When options, train.csv or the files of a series have
        changed it stops with exit code 5; --overwrite rebuilds what has changed, or everything
        when nothing has. A killed run resumes with the same command.

Every series is read (notes say what was noticed), read in part (image data of it could not be used)
or rejected; the run continues. `status` and `notes` in train_meta.csv say which. When series were
rejected the exit code is 4, or 0 with --allow_rejected; series read in part are logged as warnings.
A series whose process dies (worker_died) or takes more than --max_series_seconds (timed_out) is
rejected and tried again by the next run.

On several machines with a common file system, torchrun or srun starts one process or more on each;
they share the series, and rank 0 writes the tables (the exit code is its). When a process is lost
the run ends with code 75 and the same command, with any number of processes, does what is missing.

Full size:  python preprocess_data.py --num_workers 16
            srun --nodes 4 --ntasks-per-node 1 python preprocess_data.py --num_workers 16

CPU-sized:  python preprocess_data.py --config configs/demo.yaml --data_dir demo/data
"""

from collections.abc import Sequence

from intracranial.artifacts import free_gib
from intracranial.caching.estimate import describe
from intracranial.caching.fingerprints import Fingerprints
from intracranial.caching.survey import State, settle, survey
from intracranial.errors import EXIT_DONE, EXIT_REJECTED, Busy
from intracranial.options.preprocess import PreprocessOptions
from intracranial.processes.locks import only_one
from intracranial.processes.team import Team, find_rank
from intracranial.runlog import Record, log
from intracranial.stages.preprocessing import clear, finish, help_out, replaced_gib, run, summary


def main(options: PreprocessOptions, record: Record) -> int:
    """Cache every series that is not cached yet, then write the tables; or help rank 0 with it."""
    rank = find_rank()
    data = options.data
    if rank is not None and rank.index:
        with Team(rank, data.ranks, options.rank_patience) as team:
            return help_out(options, team)
    try:
        # before the team, which clears away the messages of an earlier one
        with only_one(data.lock("preprocess_data"), f"the caches in {data.root}"):
            if rank is None:
                return lead(options, record, None)
            with Team(rank, data.ranks, options.rank_patience) as team:
                return lead(options, record, team)
    except Busy:
        if rank is not None or not data.preprocess_manifest.exists():
            raise
        state = survey(options, Fingerprints(data.fingerprints))
        if options.overwrite or not state.tables_done:
            raise
        return nothing_to_do(state, options)


def lead(options: PreprocessOptions, record: Record, team: Team | None) -> int:
    """Do the whole stage, alone or with the other ranks of a team."""
    data = options.data
    fingerprints = Fingerprints(data.fingerprints)
    with record.timed("survey"):
        state = survey(options, fingerprints)
    settle(state, options)
    if state.tables_done:
        fingerprints.save()
        if not (data.report.exists() and data.report_figures.exists()):
            write_report(options, state)
        return nothing_to_do(state, options)
    log.info("%d series in %s, %d already done", len(state.rows), data.train_csv, state.done)
    sources = [state.sources[uid] for uid in state.todo]
    free = free_gib(data.root) + replaced_gib(state, data)
    if sources:
        workers = options.num_workers * (team.rank.count if team else 1)
        for line in describe(
            sources, options.pixels.size, options.slices, workers, free, len(state.task.labels)
        ):
            log.info("%s", line)
    clear(state, data)
    with record.timed("read"):
        rejected = run(state, options, fingerprints, team)
    with record.timed("tables"):
        counts = finish(state, options, rejected, fingerprints)
    with record.timed("report"):
        write_report(options, state)
    for name, value in counts.items():
        record.count(name, value)
    record.count("rejected series", rejected)
    for line in summary(rejected, counts):
        log.info("%s", line)
    log.info("wrote %s, %s and %s", data.train_meta_csv, data.slices_csv, data.rejected_csv)
    if counts["read in part"]:
        log.warning(
            "%d series were read in part: see %s", counts["read in part"], data.rejected_csv
        )
    if len(state.rows) < state.total:
        log.warning("partial: %d of %d series (--limit)", len(state.rows), state.total)
    return exit_code(rejected, options)


def nothing_to_do(state: State, options: PreprocessOptions) -> int:
    """Say so; the exit code is that of the run that did it."""
    log.info("%s holds all %d series: nothing to do", options.data.sequences, len(state.rows))
    return exit_code(state.rejected, options)


def write_report(options: PreprocessOptions, state: State) -> None:
    """Write the data report; imported late, as workers import this file and draw nothing."""
    from intracranial.report.data_report import write_data_report

    write_data_report(options.data, state.task)
    log.info("wrote %s", options.data.report)


def exit_code(rejected: Sequence[dict[str, str]], options: PreprocessOptions) -> int:
    """4 when series were rejected and that was not allowed, else 0."""
    if not rejected:
        return EXIT_DONE
    log.warning("%d series were rejected: see %s", len(rejected), options.data.rejected_csv)
    return EXIT_DONE if options.allow_rejected else EXIT_REJECTED
