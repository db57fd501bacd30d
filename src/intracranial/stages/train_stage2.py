"""Script 6 of 8: train the sequence classifier (stage 2) on the features of every fold but one.

Reads:   data/folds.json and its tables, model/<run>/fold-<k>/features/ with features.json.
Writes:  model/<run>/fold-<k>/stage2.safetensors (EMA weights), stage2.json, stage2_log.csv and a
         picture of it, stage2_curves.png; its part of membership.json; while it runs,
         stage2_last.pt to resume from.
Skips:   a fold that is complete with the same options and inputs. A killed run resumes; changed
         options or inputs end with exit code 5, and --overwrite trains anew. --dry_run says what
         would be done.

Full size:  python train_stage2.py --config configs/convnext_base_dinov3.yaml --fold 0
Four GPUs:  torchrun --nproc_per_node=4 train_stage2.py --config configs/convnext_base_dinov3.yaml
On a CPU:   python train_stage2.py --config configs/demo.yaml --data_dir demo/data
"""

from typing import TYPE_CHECKING

from intracranial.artifacts import FINAL_FOLD
from intracranial.options.stage2 import TrainStage2Options
from intracranial.provenance import Plan
from intracranial.runlog import Record, log

if TYPE_CHECKING:
    from intracranial.splits.folds import Split


def main(options: TrainStage2Options, record: Record) -> int:
    """Train every requested fold."""
    from intracranial.splits.folds import chosen_folds
    from intracranial.splits.split_files import load_split
    from intracranial.training.distributed import processes

    split = load_split(options.data, options.folds)
    with processes(options.device):
        for fold in [FINAL_FOLD] if options.train_on_all else chosen_folds(split, options.fold):
            train(options, split, fold, record)
    return 0


def train(options: TrainStage2Options, split: "Split", fold: int | str, record: Record) -> None:
    """Train one fold, unless it is complete."""
    from intracranial.lineage import data_identities, open_features, open_stage1
    from intracranial.stages.run_series import extracted_series
    from intracranial.stages.sequence_training import fit_stage2, preview_stage2
    from intracranial.stages.training_files import begun, decide, finish

    paths = options.fold_paths(fold)
    current = data_identities(options.data, split.identity)
    current["stage1"] = open_stage1(paths, current, split.task).identity
    features = open_features(paths, current, split.task)
    current["features"] = features.identity
    extracted = set(extracted_series(split, features))
    uids = [uid for uid in split.training(fold) if uid in extracted][: options.trial.limit]
    partial = options.partial(features.partial)
    request = options.request("stage2", current, partial, fold)
    if options.trial.dry_run:
        todo = decide(paths, "stage2", request, options.overwrite)
        preview_stage2(options, split, fold, uids, request, todo, split.task)
        return
    with begun(paths, "stage2", request, options.overwrite) as todo:
        if todo is Plan.DONE:
            log.info("%s: nothing to do, stage 2 is complete", paths.root)
            return
        with record.timed(f"fold {fold}"):
            made = fit_stage2(options, split, fold, uids, request, split.task)
        finish(paths, "stage2", request, made.to_json())
        log.info("wrote %s", paths.weights("stage2"))
