"""Script 3 of 8: train the slice classifier (stage 1) at the spots of every fold but one.

Reads:   data/folds.json and its tables, data/npy_sequence/, optionally the hard negatives of the
         other folds of a run.
Writes:  model/<run>/fold-<k>/stage1.safetensors (EMA weights), stage1.json, stage1_log.csv and a
         picture of it, stage1_curves.png; stage1_batches.png, the first batches with their labels;
         its part of membership.json, which series it was trained on; while it runs,
         stage1_last.pt to resume from.
Skips:   a fold that is complete with the same options and inputs. A killed run resumes; changed
         options or inputs end with exit code 5, and --overwrite trains anew. --dry_run says what
         would be done.

Full size:  python train_stage1.py --config configs/convnext_base_dinov3.yaml --fold 0
Four GPUs:  torchrun --nproc_per_node=4 train_stage1.py --config configs/convnext_base_dinov3.yaml
On a CPU:   python train_stage1.py --config configs/demo.yaml --data_dir demo/data
"""

from pathlib import Path
from typing import TYPE_CHECKING

from intracranial.artifacts import FINAL_FOLD
from intracranial.options.stage1 import TrainStage1Options
from intracranial.provenance import Plan, digest, file_digest
from intracranial.runlog import Record, log

if TYPE_CHECKING:
    from intracranial.splits.folds import Split


def main(options: TrainStage1Options, record: Record) -> int:
    """Train every requested fold."""
    from intracranial.models.backbones import check_backbone
    from intracranial.splits.folds import chosen_folds
    from intracranial.splits.split_files import load_split
    from intracranial.training.distributed import processes

    check_backbone(options.network.model)
    split = load_split(options.data, options.folds)
    with processes(options.device):
        for fold in [FINAL_FOLD] if options.train_on_all else chosen_folds(split, options.fold):
            train(options, split, fold, record)
    return 0


def train(options: TrainStage1Options, split: "Split", fold: int | str, record: Record) -> None:
    """Train one fold, unless it is complete."""
    from intracranial.lineage import data_identities
    from intracranial.splits.hard_negatives import hard_negatives
    from intracranial.stages.slice_training import fit_stage1, preview_stage1
    from intracranial.stages.training_files import begun, decide, finish

    paths = options.fold_paths(fold)
    uids = split.training(fold)[: options.trial.limit]
    hard = hard_negatives(options.sampling.hard_negatives, options.model_dir, split, fold, uids)
    inputs = data_identities(options.data, split.identity)
    if hard:
        inputs["hard negatives"] = digest({uid: hard[uid].tolist() for uid in sorted(hard)})
    if options.network.weights not in ("auto", "none"):
        inputs["weights"] = file_digest(Path(options.network.weights), "Give --weights a file.")
    partial = options.partial(split.partial)
    request = options.request("stage1", inputs, partial, fold)
    if options.trial.dry_run:
        todo = decide(paths, "stage1", request, options.overwrite)
        preview_stage1(options, split, fold, uids, hard, request, todo, split.task)
        return
    with begun(paths, "stage1", request, options.overwrite) as todo:
        if todo is Plan.DONE:
            log.info("%s: nothing to do, stage 1 is complete", paths.root)
            return
        with record.timed(f"fold {fold}"):
            made = fit_stage1(options, split, fold, uids, hard, request, split.task)
        finish(paths, "stage1", request, made.to_json())
        log.info("wrote %s", paths.weights("stage1"))
