"""Script 2 of 8: divide the training series into folds by patient and choose the spots of stage 1.

Reads   data/train_meta.csv, data/slices.csv and data/rejected.csv (preprocess_data.py) and
        data/train_localizers.csv, the centres of findings. Without that table no label has a place,
        and every slice has the labels of its series.

Writes  data/train_{FOLDS}_folds.csv: train_meta.csv with `fold` and `localized`;
        data/train_stage1_{FOLDS}_folds.csv: the spots, one per usable localizer and the fixed
        evaluation negatives; data/findings.csv: the localizers in pixels and mm, with their sizes;
        data/folds.json: every split made so far, and the task.

Skips   everything, when the same split was made from the same tables. When options or tables have
        changed it stops with exit code 5; --overwrite rebuilds this split. Splits with other
        numbers of folds stay. Localizers that cannot be placed are left out and reported by line.

Full size:  python create_folds.py --folds 10

CPU-sized:  python create_folds.py --config configs/demo.yaml --data_dir demo/data
"""

from intracranial.caching.manifest import open_preprocess
from intracranial.errors import EXIT_DONE
from intracranial.options.folds import CreateFoldsOptions
from intracranial.processes.locks import only_one
from intracranial.provenance import file_digest
from intracranial.runlog import Record, log
from intracranial.splits.folds import ALWAYS_TRAINS
from intracranial.splits.localizers import ABSENT, LeftOut, count_reasons, log_left_out
from intracranial.splits.make_split import make_split
from intracranial.splits.split_files import cache_inputs, needs_work, save_split
from intracranial.splits.summary import fold_table, rare_labels


def main(options: CreateFoldsOptions, record: Record) -> int:
    """Make the split unless it is there already."""
    data, folds = options.data, options.folds
    preprocess = open_preprocess(data)
    task = preprocess.task
    inputs = cache_inputs(data)
    if task.locations and (data.localizers_csv.exists() or not data.task.exists()):
        inputs[data.localizers_csv.name] = file_digest(
            data.localizers_csv, f"{ABSENT[:1].upper()}{ABSENT[1:]}."
        )
    request = options.request("folds", inputs, preprocess.partial)
    if not needs_work(data, folds, request, options.overwrite):
        log.info("%s is up to date: nothing to do", data.folds_csv(folds))
        return EXIT_DONE
    with only_one(data.lock("create_folds"), f"the splits in {data.root}"), record.timed("make"):
        made = make_split(data, folds, options.seed, options.negatives_per_positive, task)
        manifest = save_split(data, folds, options.seed, made, request)
    for name, value in manifest.counts.items():
        record.count(name, value)
    record.count("split hash", manifest.split_hash)
    report_left_out(options, made.left_out, record)
    if task.locations and not made.task.locations:
        log.warning(
            "%s is not there: no label has a place, and every slice has the labels of its series",
            data.localizers_csv,
        )
    for warning in rare_labels(made.series, folds, task):
        log.warning("%s", warning)
    always = int((made.series["fold"] == ALWAYS_TRAINS).sum())
    if always:
        log.info("%d series train in every fold and are never held out (Use)", always)
    if request.partial:
        log.warning("partial: made from caches of only some series (%s)", request.partial)
    log.info("%s", fold_table(made.series, made.spots, folds, task))
    log.info("wrote %s and %s", data.folds_csv(folds), data.spots_csv(folds))
    return EXIT_DONE


def report_left_out(options: CreateFoldsOptions, left_out: list[LeftOut], record: Record) -> None:
    """Say which localizer rows were not used and why; the record keeps all of them."""
    record.count("localizers left out by reason", count_reasons(left_out))
    record.count(
        "left out localizers",
        [{"line": row.line, "reason": row.reason, "detail": row.detail} for row in left_out],
    )
    log_left_out(options.data.localizers_csv, left_out)
