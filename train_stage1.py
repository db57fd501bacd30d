"""Stage 3 of 8: train the slice classifier (stage 1) at the spots of every fold but one.

Reads:   data/folds.json and its tables, data/npy_sequence/, optionally the hard negatives of the
         other folds of a run.
Writes:  model/<run>/fold-<k>/stage1.safetensors (EMA weights), stage1.json, stage1_log.csv; while
         it runs, stage1_last.pt to go on from.
Skips:   a fold that is complete with the same options and inputs. A killed run goes on; changed
         options or inputs end with exit code 5, and --overwrite trains anew.

Full size:  python train_stage1.py --config configs/convnext_base_dinov3.yaml --fold 0
On a CPU:   python train_stage1.py --config configs/demo.yaml --data_dir demo/data
"""

import sys
from pathlib import Path

from src.artifacts import FINAL_FOLD
from src.options.stage1 import TrainStage1Options
from src.provenance import Plan, Request, digest, file_digest, plan, write_manifest
from src.runlog import Record, log, run_stage
from src.task import RSNA_2025


def main(options: TrainStage1Options, record: Record) -> int:
    """Train every requested fold."""
    from src.lineage import data_identities
    from src.models.backbones import check_backbone
    from src.sampling.folds import chosen_folds, load_split
    from src.sampling.hard_negatives import hard_negatives
    from src.training.stage1 import fit_stage1

    check_backbone(options.model)
    split = load_split(options.data, options.folds)
    for fold in [FINAL_FOLD] if options.train_on_all else chosen_folds(split, options.fold):
        paths = options.fold_paths(fold)
        uids = split.training(fold)[: options.limit]
        hard = hard_negatives(options.hard_negatives, options.model_dir, split, fold, uids)
        inputs = data_identities(options.data, split.identity)
        if hard:
            inputs["hard negatives"] = digest({uid: hard[uid].tolist() for uid in sorted(hard)})
        if options.weights not in ("auto", "none"):
            inputs["weights"] = file_digest(Path(options.weights), "Give --weights a file.")
        partial = f"--limit {options.limit}" if options.limit else split.partial
        request = Request("stage1", options.fold_identity(fold), inputs, partial)
        todo = plan(
            paths.manifest("stage1"),
            request,
            options.overwrite,
            outputs=[paths.weights("stage1")],
            progress=[paths.checkpoint("stage1")],
        )
        if todo is Plan.DONE:
            log.info("%s: nothing to do, stage 1 is complete", paths.root)
            continue
        if todo is Plan.FRESH:
            paths.checkpoint("stage1").unlink(missing_ok=True)
            paths.log_csv("stage1").unlink(missing_ok=True)
        with record.timed(f"fold {fold}"):
            content = fit_stage1(options, split, fold, uids, hard, request, RSNA_2025)
        write_manifest(paths.manifest("stage1"), request, complete=True, content=content)
        paths.checkpoint("stage1").unlink(missing_ok=True)
        log.info("wrote %s", paths.weights("stage1"))
    return 0


if __name__ == "__main__":
    sys.exit(run_stage("train_stage1", TrainStage1Options, main, __doc__))
