"""Read DICOM series and write the caches and tables that all later stages use.

Reads   data/train.csv and data/series/<SeriesInstanceUID>/: single-frame files with any names, or
        enhanced multi-frame files.

Writes  data/npy_sequence/<uid>.npy: float16 (slices, 512, 512), values 0..5, and <uid>.json;
        data/npy_slice/<uid>/0000.npy and so on: copies per slice, unless --no_slices;
        data/train_meta.csv, data/slices.csv: a row per series and per slice;
        data/rejected.csv: series that could not be used, with the reason;
        data/preprocess.json: what all this was made from, written last;
        data/fingerprints.json: digests of the source files, only to save time.

Skips   every series whose cache is finished. When options, train.csv or the files of a series have
        changed it stops with exit code 5; --overwrite rebuilds what has changed, or everything
        when nothing has. A killed run goes on with the same command. A bad series is rejected and
        the run goes on; the exit code is then 4, or 0 with --allow_rejected.

Full size:  python preprocess_data.py --num_workers 16

CPU-sized:  python preprocess_data.py --config configs/demo.yaml --data_dir demo/data
"""

import sys
from collections.abc import Sequence

from src.artifacts import free_gib
from src.errors import EXIT_DONE, EXIT_REJECTED
from src.imaging.estimate import describe
from src.imaging.preprocess import clear, finish, replaced_gib, run, settle, summary, survey
from src.imaging.sources import Fingerprints
from src.options.preprocess import PreprocessOptions
from src.runlog import Record, log, run_stage


def main(options: PreprocessOptions, record: Record) -> int:
    """Cache every series that is not cached yet, then write the tables."""
    data = options.data
    fingerprints = Fingerprints(data.fingerprints)
    with record.timed("survey"):
        state = survey(options, fingerprints)
    settle(state, options)
    if state.tables_done:
        fingerprints.save()
        log.info("%s holds all %d series: nothing to do", data.sequences, len(state.rows))
        return exit_code(state.rejected, options)
    log.info("%d series in %s, %d already done", len(state.rows), data.train_csv, state.done)
    sources = [state.sources[uid] for uid in state.todo]
    free = free_gib(data.root) + replaced_gib(state, data)
    if sources:
        for line in describe(sources, options.size, options.slices, options.num_workers, free):
            log.info("%s", line)
    clear(state, data)
    with record.timed("read"):
        rejected = run(state, options, fingerprints)
    with record.timed("tables"):
        counts = finish(state, options, rejected)
    for name, value in counts.items():
        record.count(name, value)
    record.count("rejected series", rejected)
    for line in summary(rejected, counts):
        log.info("%s", line)
    log.info("wrote %s, %s and %s", data.train_meta_csv, data.slices_csv, data.rejected_csv)
    if len(state.rows) < state.total:
        log.warning("partial: %d of %d series (--limit)", len(state.rows), state.total)
    return exit_code(rejected, options)


def exit_code(rejected: Sequence[dict[str, str]], options: PreprocessOptions) -> int:
    """4 when series were rejected and that was not allowed, else 0."""
    if not rejected:
        return EXIT_DONE
    log.warning("%d series were rejected: see %s", len(rejected), options.data.rejected_csv)
    return EXIT_DONE if options.allow_rejected else EXIT_REJECTED


if __name__ == "__main__":
    sys.exit(run_stage("preprocess_data", PreprocessOptions, main, __doc__))
