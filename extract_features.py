"""Stage 5 of 8: apply stage 1 to every slice of every series, for stage 2 to read.

Reads:   model/<run>/fold-<k>/stage1.safetensors and stage1.json, data/npy_sequence/, the split.
Writes:  model/<run>/fold-<k>/features/<uid>.safetensors and features.json; with
         --mine_hard_negatives also hard_negatives.csv of the held-out series.
Skips:   series that are done, and a fold that is complete with the same options and inputs. A
         killed run goes on; changed options or inputs end with exit code 5 until --overwrite.

Full size:  python extract_features.py --config configs/convnext_base_dinov3.yaml --fold all
On a CPU:   python extract_features.py --config configs/demo.yaml --data_dir demo/data
"""

import shutil
import sys
from typing import TYPE_CHECKING, Any

from src.artifacts import FINAL_FOLD, remove_temporaries
from src.options.features import ExtractFeaturesOptions
from src.provenance import Plan, Request, plan, write_manifest
from src.runlog import Record, log, progress, run_stage
from src.task import RSNA_2025

if TYPE_CHECKING:
    from src.sampling.folds import Split


def main(options: ExtractFeaturesOptions, record: Record) -> int:
    """Extract every requested fold."""
    from src.lineage import data_identities, open_stage
    from src.sampling.folds import chosen_folds, load_split

    split = load_split(options.data, options.folds)
    for fold in [FINAL_FOLD] if options.train_on_all else chosen_folds(split, options.fold):
        paths = options.fold_paths(fold)
        current = data_identities(options.data, split.identity)
        stage1 = open_stage(paths, "stage1", current, RSNA_2025)
        inputs = {**current, "stage1": stage1["identity"]}
        partial = f"--limit {options.limit}" if options.limit else stage1["partial"]
        request = Request("features", options.fold_identity(fold), inputs, partial)
        uids = sorted(split.series.index)[: options.limit]
        outputs = (paths.feature(uid) for uid in uids)
        todo = plan(paths.features_manifest, request, options.overwrite, outputs)
        if todo is Plan.DONE:
            log.info("%s: nothing to do, the features are complete", paths.root)
            mine(options, split, fold)
            continue
        with record.timed(f"fold {fold}"):
            extract_fold(options, split, fold, uids, stage1, request, todo is Plan.FRESH)
        content = {"series": uids, "steps": stage1["steps"], "task": stage1["task"]}
        write_manifest(paths.features_manifest, request, complete=True, content=content)
        record.count(f"series of fold {fold}", len(uids))
        log.info("wrote %s for %d series", paths.features, len(uids))
        mine(options, split, fold)
    return 0


def extract_fold(
    options: ExtractFeaturesOptions,
    split: "Split",
    fold: int | str,
    uids: list[str],
    stage1: dict[str, Any],
    request: Request,
    fresh: bool,
) -> None:
    """Encode the series that are not done yet; `fresh` deletes what is there first."""
    from src.compute import choose_compute
    from src.inference.encoder import Encoder
    from src.inference.extraction import extract_series
    from src.sampling.augment import AugmentSpec
    from src.sampling.features import features_identity
    from src.sampling.series_info import series_infos

    paths = options.fold_paths(fold)
    compute = choose_compute(options.device, options.precision)
    log.info("%s: %s", paths.root, compute.reason)
    encoder = Encoder(paths, stage1, compute)
    if fresh:  # only now that stage 1 has loaded
        for old in (paths.features_manifest, paths.hard_negatives):
            old.unlink(missing_ok=True)
        shutil.rmtree(paths.features, ignore_errors=True)
    remove_temporaries(paths.features)
    write_manifest(paths.features_manifest, request, complete=False)
    names = AugmentSpec.__dataclass_fields__
    augmentation = AugmentSpec(**{name: stage1["config"][name] for name in names})
    held_out = set() if fold == FINAL_FOLD else set(split.held_out(int(fold)))
    for uid, info in progress(
        series_infos(split, uids, RSNA_2025).items(), len(uids), "extracting"
    ):
        if features_identity(paths.feature(uid)) != request.identity:
            views = 0 if uid in held_out else options.views
            where = (options.data, paths, info)
            extract_series(encoder, *where, views, augmentation, options.seed, request.identity)


def mine(options: ExtractFeaturesOptions, split: "Split", fold: int | str) -> None:
    """Write the hard negatives of the held-out series, if asked to."""
    from src.inference.extraction import mine_hard_negatives

    if options.mine_hard_negatives and fold != FINAL_FOLD:
        paths = options.fold_paths(fold)
        count = mine_hard_negatives(paths, split, int(fold), RSNA_2025, options.hard_threshold)
        log.info("wrote %s with %d slices", paths.hard_negatives, count)


if __name__ == "__main__":
    sys.exit(run_stage("extract_features", ExtractFeaturesOptions, main, __doc__))
