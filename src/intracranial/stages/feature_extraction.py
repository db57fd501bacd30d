"""Feature extraction of a run's folds: what is to be done, by which process, and in which order.

Reading and preparing the next series, computing and writing overlap. Processes on one or many
machines share the series of all folds; rank 0 writes the manifests.
"""

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from intracranial.artifacts import FINAL_FOLD, FoldPaths, free_gib, remove_temporaries
from intracranial.compute import choose_compute, determinism_explained, make_deterministic
from intracranial.config import option_types
from intracranial.inference.encoder import Encoder
from intracranial.inference.extraction import encode_sets, prepare_views
from intracranial.lineage import FeaturesRecord, Stage1Sidecar, data_identities, open_stage1
from intracranial.models.slice_classifier import SliceClassifier
from intracranial.options.common import before
from intracranial.options.features import ExtractFeaturesOptions
from intracranial.options.stage1 import StackAugmentation
from intracranial.processes.team import Team, share_out
from intracranial.provenance import Plan, Request, plan, write_manifest
from intracranial.runlog import log, progress
from intracranial.sampling.features import features_identity, save_features
from intracranial.sampling.series_info import SeriesInfo, series_infos
from intracranial.sidecar import build, damaged, part
from intracranial.splits.folds import Split
from intracranial.tasks import Task

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class FoldWork:
    """The features of one fold: `uids` are its series, `stage1` the sidecar of its encoder."""

    fold: int | str
    paths: FoldPaths
    stage1: Stage1Sidecar
    request: Request
    uids: list[str]

    def item(self, uid: str) -> str:
        """Name of one series of this fold among those of all folds."""
        return f"{self.fold}/{uid}"

    def is_done(self, uid: str) -> bool:
        """Whether the series has features of this very request."""
        return features_identity(self.paths.feature(uid)) == self.request.identity

    def missing(self) -> list[str]:
        """Series that have none."""
        return [uid for uid in self.uids if not self.is_done(uid)]


def fold_work(
    options: ExtractFeaturesOptions, split: Split, fold: int | str, task: Task
) -> FoldWork:
    """What the features of one fold are made from; errors as `open_stage1`."""
    paths = options.fold_paths(fold)
    current = data_identities(options.data, split.identity)
    stage1 = open_stage1(paths, current, task)
    partial = f"--limit {options.trial.limit}" if options.trial.limit else stage1.partial
    inputs = {**current, "stage1": stage1.identity}
    request = options.request("features", inputs, partial, fold)
    return FoldWork(fold, paths, stage1, request, sorted(split.series.index)[: options.trial.limit])


def decide(work: FoldWork, overwrite: bool) -> Plan:
    """Whether the fold is to be made anew, resumed, or done.

    Raises:
        StaleArtifact: its features were made with other options or inputs.
    """
    outputs = (work.paths.feature(uid) for uid in work.uids)
    return plan(work.paths.features_manifest, work.request, overwrite, outputs)


def clear(works: Sequence[tuple[FoldWork, Plan]], options: ExtractFeaturesOptions) -> None:
    """Delete features that are to be made anew, and say on disk that all these are incomplete.

    Raises:
        MissingArtifact, InputError: the weights of a fold cannot be loaded; nothing was deleted.
    """
    fresh = [work for work, todo in works if todo is Plan.FRESH]
    for work in fresh:
        if work.paths.features.exists():
            _encoder(work, options)
    for work in fresh:
        for old in (work.paths.features_manifest, work.paths.hard_negatives):
            old.unlink(missing_ok=True)
        shutil.rmtree(work.paths.features, ignore_errors=True)
    for work, _ in works:
        remove_temporaries(work.paths.features)
        write_manifest(work.paths.features_manifest, work.request, complete=False)


def run(
    works: Sequence[FoldWork],
    options: ExtractFeaturesOptions,
    split: Split,
    task: Task,
    team: Team | None,
) -> None:
    """Encode what is missing, alone or with the other ranks of a team that this one leads.

    Raises:
        OSError: a file could not be written.
        InputError: another rank has stopped.
        Preempted: another rank was lost.
    """
    by_item = {work.item(uid): (work, uid) for work in works for uid in work.missing()}
    slices = split.series["n"]
    sizes = {item: int(slices[uid]) for item, (_, uid) in by_item.items()}
    share = share_out(sizes, [0])[0] if team is None else team.hand_out(sizes, _common(works))
    _extract(works, share, options, split, task)
    if team is not None:
        team.collect(lambda _: None, lambda item: by_item[item][0].is_done(by_item[item][1]))


def help_out(
    works: Sequence[FoldWork],
    options: ExtractFeaturesOptions,
    split: Split,
    task: Task,
    team: Team,
) -> None:
    """Encode the share that rank 0 gives this process, and report it.

    Raises:
        Preempted, UsageError, PipelineError: see `Team.share`.
    """
    share = team.share(_common(works))
    if share is None:
        return
    log.info("rank %d of %d: %d series", team.rank.index, team.rank.count, len(share))
    try:
        _extract(works, share, options, split, task)
    except Exception as error:
        team.report([], failure=f"{type(error).__name__}: {error}")
        raise
    team.report([])


def _common(works: Sequence[FoldWork]) -> dict[str, str]:
    """What all ranks must agree on: the identity of every fold's features."""
    return {str(work.fold): work.request.identity for work in works}


def _encoder(work: FoldWork, options: ExtractFeaturesOptions) -> Encoder:
    compute = choose_compute(options.device, options.computing.precision)
    encoder = Encoder(work.paths, work.stage1, compute, options.computing.compile)
    log.info("%s: %s", work.paths.root, compute.reason)
    return encoder


def _extract(
    works: Sequence[FoldWork],
    items: Sequence[str],
    options: ExtractFeaturesOptions,
    split: Split,
    task: Task,
) -> None:
    """Encode series, fold by fold, in the order of their names."""
    if options.computing.deterministic:
        make_deterministic()
    chosen = set(items)
    for work in works:
        uids = [uid for uid in work.uids if work.item(uid) in chosen]
        if uids:
            infos = series_infos(split, uids, task)
            held_out = set() if work.fold == FINAL_FOLD else set(split.held_out(int(work.fold)))
            with determinism_explained():
                extract_fold(work, _encoder(work, options), infos, held_out, options)


def extract_fold(
    work: FoldWork,
    encoder: Encoder,
    infos: dict[str, SeriesInfo],
    held_out: set[str],
    options: ExtractFeaturesOptions,
) -> None:
    """Encode series of one fold and write their files; views are made of those not held out."""
    augmentation = augmentation_of(work.stage1)

    def prepare(info: SeriesInfo) -> Any:  # noqa: ANN401
        views = 0 if info.uid in held_out else options.augmented_views
        return info, prepare_views(encoder, options.data, info, views, augmentation, options.seed)

    prepared = ahead(prepare, infos.values(), options.readers)
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1) as writer:
        for info, views in progress(prepared, len(infos), "extracting"):
            sets = encode_sets(encoder, views)
            if writing is not None:
                writing.result()
            path = work.paths.feature(info.uid)
            writing = writer.submit(save_features, path, sets, work.request.identity)
        if writing is not None:
            writing.result()


def augmentation_of(stage1: Stage1Sidecar) -> StackAugmentation:
    """The augmentation of a stage-1 training, among its options in the sidecar.

    Raises:
        InputError: they lack a part of it, or it is damaged.
    """
    names = option_types(StackAugmentation)
    options = {**before(StackAugmentation), **stage1.config}
    missing = [name for name in names if name not in options]
    if missing:
        raise damaged(stage1.path, f"`config` lacks {', '.join(map(repr, missing))}")
    augmentation = {name: options[name] for name in names}
    return part(stage1.path, {"config": augmentation}, "config", StackAugmentation)


def ahead(
    function: Callable[[ItemT], ResultT], items: Iterable[ItemT], threads: int
) -> Iterator[ResultT]:
    """Results in the order of the items, computed by threads while earlier ones are used.

    At most `threads` results wait, so memory does not grow with the number of items; with no
    threads each is computed when it is asked for.
    """
    if threads == 0:
        yield from map(function, items)
        return
    waiting: deque[Future[ResultT]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def finish(work: FoldWork) -> None:
    """Write the manifest of a fold whose series are all done."""
    made = FeaturesRecord(series=len(work.uids), steps=work.stage1.steps, task=work.stage1.task)
    write_manifest(work.paths.features_manifest, work.request, True, made.to_json())


def preview(work: FoldWork, todo: Plan, options: ExtractFeaturesOptions, split: Split) -> None:
    """Say what a run would do with one fold; writes nothing."""
    root = work.paths.root
    if todo is Plan.DONE:
        log.info("%s: complete, would be skipped", root)
        return
    old = len(list(work.paths.features.glob("*.safetensors")))
    if todo is Plan.FRESH and old:
        log.info("%s: %d feature files would be deleted", root, old)
    missing = work.uids if todo is Plan.FRESH else work.missing()
    slices = split.series.loc[missing, "n"]
    config, steps = work.stage1.model, work.stage1.steps
    network = build(work.stage1.path, "model", config, SliceClassifier)
    # float16 features; float32 logits, and x, y and probability of the peak
    row = 2 * network.width + 4 * config.labels * (1 + 3)
    sets = len(steps) * (1 + options.augmented_views)
    log.info(
        "%s: %d of %d series would be encoded: %d slices at steps %s, each with up to %d augmented "
        "views; %d forward passes, features of up to %.2f GiB; %.1f GiB are free",
        root,
        len(missing),
        len(work.uids),
        slices.sum(),
        list(steps),
        options.augmented_views,
        slices.sum() * sets,
        slices.sum() * sets * row / 2**30,
        free_gib(root),
    )
    # float32 at most; a prepared series per thread waits, beside the one that is encoded
    pixels = int(slices.max()) * config.input_size**2 if len(slices) else 0
    log.info(
        "memory: up to %.2f GiB for the longest series, of which %d can be there at once",
        pixels * 4 * (1 + options.augmented_views) / 2**30,
        options.readers + 1,
    )
    if work.request.partial:
        log.info("the artifact will be marked as partial: %s", work.request.partial)
