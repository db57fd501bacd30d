"""Quality of the demo recipe on unseen phantoms, beside two simpler methods.

For each seed: data, split and training are made anew with that seed by the stage scripts, and the
model is scored on further generated series through eval_end_to_end.py --series_dir. In the same
table: the maximum of stage 1 over the slices, and a whole-volume net (benchmarks/whole_volume.py).

    python benchmarks/demo_quality.py --out_dir demo/quality
"""

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TEST_SEED_OFFSET = 1000
"""Test series of seed k are generated with seed k + this."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out_dir: Path
    """Working folder; finished steps are kept, so an interrupted run goes on."""

    config: Path = ROOT / "configs" / "demo.yaml"
    """Recipe of all stages."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of data, split and training together."""

    series: int = 400
    """Series to train and validate on."""

    test_series: int = 200
    """Further series to score on."""

    num_workers: int = 2
    """Processes that generate and read data."""


def stage(script: str, *arguments: object) -> None:
    """Run one script; exit code 4 (rejected series) is accepted."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    print("$", " ".join(command[1:]), flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code not in (0, 4):
        raise SystemExit(f"{script} ended with exit code {code}")


def measure(options: Options, seed: int) -> dict[str, float]:
    """Train with one seed and score on unseen series."""
    folder = options.out_dir / f"seed-{seed}"
    recipe, workers = ("--config", options.config), ("--num_workers", options.num_workers)
    make = "tools/make_demo_data.py"
    data, model, test = folder / "data", folder / "model", folder / "test"
    if not (data / "train.csv").exists():
        stage(make, "--out_dir", data, "--series", options.series, "--seed", seed, *workers)
    if not (test / "train.csv").exists():
        test_seed = seed + TEST_SEED_OFFSET
        count = options.test_series
        stage(make, "--out_dir", test, "--series", count, "--seed", test_seed, *workers)
    here = (*recipe, "--data_dir", data)
    run = (*here, "--model_dir", model, "--num_workers", options.num_workers)
    stage("preprocess_data.py", *here, "--no_slices", *workers)
    stage("create_folds.py", *here, "--seed", seed)
    stage("train_stage1.py", *run, "--seed", seed)
    stage("eval_stage1.py", *run)
    stage("extract_features.py", *run)
    stage("train_stage2.py", *run, "--seed", seed)
    stage("eval_stage2.py", *run)
    labels = ("--labels", test / "train.csv", "--localizers", test / "train_localizers.csv")
    where = ("--series_dir", test / "series", "--out_dir", folder / "scored")
    stage("eval_end_to_end.py", *run, *where, *labels)
    stage("preprocess_data.py", *recipe, "--data_dir", test, "--no_slices", *workers)
    stage("create_folds.py", "--data_dir", test, "--folds", 2, "--seed", seed)
    return {**scores_end_to_end(folder), **scores_beside(options, folder, seed)}


def scores_end_to_end(folder: Path) -> dict[str, float]:
    """End to end, and the maximum of stage 1 over the slices."""
    metrics = json.loads((folder / "scored" / "end_to_end_metrics.json").read_text())
    both = {"end to end": metrics, "maximum of stage 1 over slices": metrics["stage1_maximum"]}
    return {name: table["weighted_auc"]["value"] for name, table in both.items()}


def scores_beside(options: Options, folder: Path, seed: int) -> dict[str, float]:
    """Stage 1 at the spots of the test series, and the whole-volume baseline."""
    from benchmarks.whole_volume import train_and_score
    from src.artifacts import DataPaths, FoldPaths
    from src.compute import choose_compute
    from src.config import parse_options
    from src.inference.encoder import Encoder
    from src.metrics import score_table
    from src.options.stage1 import TrainStage1Options
    from src.provenance import read_manifest
    from src.sampling.folds import load_split
    from src.sampling.series_info import series_infos
    from src.task import RSNA_2025 as TASK
    from src.training.spot_scores import predict_stacks, spot_requests
    from src.training.stage1 import stack_dataset

    arguments = ["--config", str(options.config), "--seed", str(seed)]
    recipe = parse_options(TrainStage1Options, "train_stage1", arguments)
    compute = choose_compute()
    paths = FoldPaths(folder / "model", recipe.run_name, 0)
    stage1 = read_manifest(paths.manifest("stage1"), "stage1")
    encoder = Encoder(paths, stage1, compute)
    test, split = DataPaths(folder / "test"), load_split(DataPaths(folder / "test"), 2)
    infos = series_infos(split, sorted(split.series.index), TASK)
    found = predict_stacks(
        encoder.model,
        stack_dataset(test, infos, TASK, encoder.inputs),
        spot_requests(split, list(infos), encoder.steps),
        recipe.batch_size,
        options.num_workers,
        compute,
    )
    at_spots = score_table(TASK, *found)["weighted_auc"]["value"]
    data = DataPaths(folder / "data")
    training = series_infos(load_split(data, None), stage1["training_series"], TASK)
    rows = paths.log_csv("stage1").read_text().splitlines()
    batches = sum(int(row.split(",")[1]) for row in rows[1:])
    baseline = train_and_score(
        recipe, batches * recipe.batch_size, (data, training), (test, infos), TASK, compute
    )
    return {
        "stage 1 at spots": at_spots,
        "whole volume, 32 slices as channels": baseline["weighted_auc"]["value"],
    }


def main(options: Options) -> None:
    """Measure every seed and print a Markdown table."""
    results = {}
    for seed in options.seeds:
        path = options.out_dir / f"seed-{seed}" / "scores.json"
        if not path.exists():
            scores = measure(options, seed)
            path.write_text(json.dumps(scores, indent=1))
        results[seed] = json.loads(path.read_text())
    print(f"\nWeighted AUC on {options.test_series} unseen series per seed,")
    print(f"{options.series} series to train and validate on, {platform.processor()}\n")
    print("| | " + " | ".join(f"seed {seed}" for seed in results) + " | mean |")
    print("| --- |" + " --- |" * (len(results) + 1))
    for name in next(iter(results.values())):
        values = [results[seed][name] for seed in results]
        cells = [f"{value:.3f}" for value in (*values, sum(values) / len(values))]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
