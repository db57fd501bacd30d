"""Script 5 of 8: apply stage 1 to every slice of every series, for stage 2 to read.

Reads:   model/<run>/fold-<k>/stage1.safetensors and stage1.json, data/npy_sequence/, the split.
Writes:  model/<run>/fold-<k>/features/<uid>.safetensors and features.json; with
         --mine_hard_negatives also hard_negatives.csv of the held-out series.
Skips:   series that are done, and a fold that is complete with the same options and inputs. A
         killed run resumes; changed options or inputs end with exit code 5 until --overwrite.
         --dry_run says what would be done.

Processes that torchrun or srun starts on machines with a common file system share the series; when
one is lost the run ends with code 75, and the same command, with any number of them, resumes.

Full size:  python extract_features.py --config configs/convnext_base_dinov3.yaml --fold all
Four GPUs:  torchrun --nproc_per_node=4 extract_features.py --config … --fold all
On a CPU:   python extract_features.py --config configs/demo.yaml --data_dir demo/data
"""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from intracranial.artifacts import FINAL_FOLD
from intracranial.errors import Busy
from intracranial.options.features import ExtractFeaturesOptions
from intracranial.processes.locks import only_one
from intracranial.processes.team import Team, find_rank
from intracranial.provenance import Plan
from intracranial.runlog import Record, log

if TYPE_CHECKING:
    from intracranial.splits.folds import Split
    from intracranial.stages.feature_extraction import FoldWork


def main(options: ExtractFeaturesOptions, record: Record) -> int:
    """Extract every requested fold, alone or as one of several processes."""
    from intracranial.splits.split_files import load_split

    rank = find_rank()
    if options.trial.dry_run and rank is not None and rank.index:
        return 0
    split = load_split(options.data, options.folds)
    if options.trial.dry_run:
        lead(options, split, record, None)
        return 0
    folds = FINAL_FOLD if options.train_on_all else options.fold
    with ExitStack() as held:
        if rank is None or rank.index == 0:  # before the team, which clears away old messages
            hold(options, split, held)
        if rank is None:
            lead(options, split, record, None)
            return 0
        ranks = options.fold_paths(folds).ranks
        team = held.enter_context(Team(rank, ranks, options.rank_patience))
        if rank.index:
            help_out(options, split, team)
        else:
            lead(options, split, record, team)
    return 0


def folds_of(options: ExtractFeaturesOptions, split: "Split") -> list[int | str]:
    """The folds that are asked for."""
    from intracranial.splits.folds import chosen_folds

    return [FINAL_FOLD] if options.train_on_all else chosen_folds(split, options.fold)


def hold(options: ExtractFeaturesOptions, split: "Split", held: ExitStack) -> None:
    """Let no other command make the features of these folds, unless they are complete."""
    from intracranial.stages.feature_extraction import decide, fold_work

    for fold in folds_of(options, split):
        paths = options.fold_paths(fold)
        if not paths.root.is_dir():  # nothing is trained: there is an error to come
            continue
        try:
            held.enter_context(only_one(paths.lock("features"), f"the features in {paths.root}"))
        except Busy:
            work = fold_work(options, split, fold, split.task)
            if decide(work, options.overwrite) is not Plan.DONE:
                raise


def works_of(options: ExtractFeaturesOptions, split: "Split") -> "list[FoldWork]":
    """The features of these folds."""
    from intracranial.stages.feature_extraction import fold_work

    return [fold_work(options, split, fold, split.task) for fold in folds_of(options, split)]


def help_out(options: ExtractFeaturesOptions, split: "Split", team: Team) -> None:
    """Do this process's share."""
    from intracranial.stages.feature_extraction import help_out

    help_out(works_of(options, split), options, split, split.task, team)


def lead(
    options: ExtractFeaturesOptions, split: "Split", record: Record, team: Team | None
) -> None:
    """Do the whole stage, alone or with the other ranks of a team."""
    from intracranial.stages.feature_extraction import clear, decide, finish, preview, run

    works = works_of(options, split)
    planned = [(work, decide(work, options.overwrite)) for work in works]
    if options.trial.dry_run:
        for work, todo in planned:
            preview(work, todo, options, split)
        return
    open_ones = [(work, todo) for work, todo in planned if todo is not Plan.DONE]
    clear(open_ones, options)
    for work, todo in planned:
        if todo is Plan.DONE:
            log.info("%s: nothing to do, the features are complete", work.paths.root)
            mine(options, split, work.fold)
    works = [work for work, _ in open_ones]
    # alone, a fold is finished before the next one begins; a team has one plan for all of them
    for together in [works] if team and works else [[work] for work in works]:
        with record.timed("encode"):
            run(together, options, split, split.task, team)
        for work in together:
            finish(work)
            record.count(f"series of fold {work.fold}", len(work.uids))
            log.info("wrote %s for %d series", work.paths.features, len(work.uids))
            mine(options, split, work.fold)


def mine(options: ExtractFeaturesOptions, split: "Split", fold: int | str) -> None:
    """Write the hard negatives of the held-out series, if asked to."""
    from intracranial.inference.extraction import mine_hard_negatives

    if options.mining.mine_hard_negatives and fold != FINAL_FOLD:
        paths = options.fold_paths(fold)
        threshold = options.mining.hard_threshold
        count = mine_hard_negatives(paths, split, int(fold), split.task, threshold)
        log.info("wrote %s with %d slices", paths.hard_negatives, count)
