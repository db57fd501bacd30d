"""Stage 6 of 8: train the sequence classifier (stage 2) on the features of every fold but one.

Reads:   data/folds.json and its tables, model/<run>/fold-<k>/features/ with features.json.
Writes:  model/<run>/fold-<k>/stage2.safetensors (EMA weights), stage2.json, stage2_log.csv; while
         it runs, stage2_last.pt to go on from.
Skips:   a fold that is complete with the same options and inputs. A killed run goes on; changed
         options or inputs end with exit code 5, and --overwrite trains anew.

Full size:  python train_stage2.py --config configs/convnext_base_dinov3.yaml --fold 0
On a CPU:   python train_stage2.py --config configs/demo.yaml --data_dir demo/data
"""

import sys

from src.artifacts import FINAL_FOLD
from src.options.stage2 import TrainStage2Options
from src.provenance import Plan, Request, plan, write_manifest
from src.runlog import Record, log, run_stage
from src.task import RSNA_2025


def main(options: TrainStage2Options, record: Record) -> int:
    """Train every requested fold."""
    from src.lineage import data_identities, open_stage
    from src.sampling.folds import chosen_folds, load_split
    from src.training.stage2 import fit_stage2

    split = load_split(options.data, options.folds)
    for fold in [FINAL_FOLD] if options.train_on_all else chosen_folds(split, options.fold):
        paths = options.fold_paths(fold)
        current = data_identities(options.data, split.identity)
        current["stage1"] = open_stage(paths, "stage1", current, RSNA_2025)["identity"]
        features = open_stage(paths, "features", current, RSNA_2025)
        current["features"] = features["identity"]
        extracted = set(features["series"])
        uids = [uid for uid in split.training(fold) if uid in extracted][: options.limit]
        partial = f"--limit {options.limit}" if options.limit else features["partial"]
        request = Request("stage2", options.fold_identity(fold), current, partial)
        todo = plan(
            paths.manifest("stage2"),
            request,
            options.overwrite,
            outputs=[paths.weights("stage2")],
            progress=[paths.checkpoint("stage2")],
        )
        if todo is Plan.DONE:
            log.info("%s: nothing to do, stage 2 is complete", paths.root)
            continue
        if todo is Plan.FRESH:
            paths.checkpoint("stage2").unlink(missing_ok=True)
            paths.log_csv("stage2").unlink(missing_ok=True)
        with record.timed(f"fold {fold}"):
            content = fit_stage2(options, split, fold, uids, request, RSNA_2025)
        write_manifest(paths.manifest("stage2"), request, complete=True, content=content)
        paths.checkpoint("stage2").unlink(missing_ok=True)
        log.info("wrote %s", paths.weights("stage2"))
    return 0


if __name__ == "__main__":
    sys.exit(run_stage("train_stage2", TrainStage2Options, main, __doc__))
