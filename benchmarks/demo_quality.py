"""Quality of the demo recipe on unseen phantoms, beside two simpler methods.

For each seed: data, split and training are made anew with that seed by the stage scripts, and the
model is scored on further generated series through eval_end_to_end.py --series_dir. In the same
table: the maximum of stage 1 over the slices, a whole-volume net (benchmarks/whole_volume.py), how
often the first-ranked point of a series that is rightly called lies near an aneurysm, and how many
aneurysms have a point at one false point per series.

Seeds that were trained and scored before are not trained again: their figures are read.

    python -m benchmarks.demo_quality --out_dir demo/quality
"""

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from intracranial.artifacts import DataPaths, FoldPaths
    from intracranial.lineage import Stage1Sidecar
    from intracranial.options.stage1 import TrainStage1Options
    from intracranial.splits.folds import Split

ROOT = Path(__file__).resolve().parent.parent
REQUIRED_WITHIN_10_MM = 0.85
"""Share of the true positives whose first-ranked point must lie within 10 mm of an aneurysm."""

FALSE_POINTS = "1"
"""False points per series at which the aneurysms found are counted."""

TEST_SEED_OFFSET = 1000
"""Test series of seed k are generated with seed k + this."""


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out_dir: Path
    """Working folder; finished steps are kept, so an interrupted run resumes."""

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

    baseline: bool = True
    """Train the whole-volume net too; it takes longer than all the rest."""


def stage(script: str, *arguments: object) -> None:
    """Run one script; exit code 4 (rejected series) is accepted."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    print("$", " ".join(command[1:]), flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code not in (0, 4):
        raise SystemExit(f"{script} ended with exit code {code}")


def measure(options: Options, seed: int) -> dict[str, float | None]:
    """Train with one seed and score on unseen series; returns what no metrics file has."""
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
    run = (*here, "--model_dir", model)  # the recipe knows best how to load for training
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
    return score_at_spots(options, folder, seed)


def score_baseline(options: Options, seed: int) -> dict[str, float | None]:
    """The simpler method trained on the same series."""
    return score_whole_volume(options, options.out_dir / f"seed-{seed}", seed)


def scores_end_to_end(folder: Path) -> dict[str, float | None]:
    """End to end, the maximum of stage 1 over the slices, and how often the place is right.

    None for what the metrics do not have: those written before points were scored.
    """
    path = folder / "scored" / "end_to_end_metrics.json"
    metrics = json.loads(path.read_text())
    both = {"end to end": metrics, "maximum of stage 1 over slices": metrics["stage1_maximum"]}
    scores = {name: table["score"]["value"] for name, table in both.items()}
    where = metrics.get("localisation") or {}
    if not where:
        print(f"{path} judges no points: run eval_end_to_end.py --overwrite with --localizers")
    within = where.get("true_positives", {}).get("within_mm", {}).get("10")
    found = (where.get("froc") or {}).get("sensitivity", {}).get(FALSE_POINTS)
    return {
        **scores,
        f"true positives within 10 mm (share, required {REQUIRED_WITHIN_10_MM})": value_of(within),
        f"aneurysms found at {FALSE_POINTS} false point per series (share)": value_of(found),
    }


def value_of(cell: dict[str, float | None] | None) -> float | None:
    """The figure of a cell of a metrics file, None where there is none."""
    return None if cell is None else cell["value"]


@dataclass(frozen=True)
class Trained:
    """What one seed left: recipe, stage 1, and the series it was trained and is scored on."""

    recipe: "TrainStage1Options"
    paths: "FoldPaths"
    stage1: "Stage1Sidecar"
    data: "DataPaths"
    test: "DataPaths"
    test_split: "Split"


def trained(options: Options, folder: Path, seed: int) -> Trained:
    """Open what the stage scripts wrote."""
    from intracranial.artifacts import DataPaths, FoldPaths
    from intracranial.config import parse_options
    from intracranial.lineage import open_stage1
    from intracranial.options.stage1 import TrainStage1Options
    from intracranial.splits.split_files import load_split

    arguments = ["--config", str(options.config), "--seed", str(seed)]
    recipe = parse_options(TrainStage1Options, "train_stage1", arguments)
    paths = FoldPaths(folder / "model", recipe.run_name, 0)
    stage1 = open_stage1(paths, {})
    test = DataPaths(folder / "test")
    return Trained(recipe, paths, stage1, DataPaths(folder / "data"), test, load_split(test, 2))


def score_at_spots(options: Options, folder: Path, seed: int) -> dict[str, float | None]:
    """Stage 1 at the spots of the test series."""
    from intracranial.compute import choose_compute
    from intracranial.inference.encoder import Encoder
    from intracranial.inference.stack_prediction import predict_stacks, spot_requests
    from intracranial.metrics import score_table
    from intracranial.sampling.series_info import series_infos
    from intracranial.stages.slice_training import stack_dataset
    from intracranial.tasks import RSNA_2025 as TASK

    made, compute = trained(options, folder, seed), choose_compute()
    encoder = Encoder(made.paths, made.stage1, compute)
    infos = series_infos(made.test_split, sorted(made.test_split.series.index), TASK)
    found = predict_stacks(
        encoder.model,
        stack_dataset(made.test, infos, TASK, encoder.inputs),
        spot_requests(made.test_split, list(infos), encoder.steps),
        made.recipe.optimization.batch_size,
        options.num_workers,
        compute,
    )
    return {"stage 1 at spots": score_table(TASK, *found).score.value}


def score_whole_volume(options: Options, folder: Path, seed: int) -> dict[str, float | None]:
    """The whole-volume baseline, with as many passes as stage 1 had stacks."""
    from benchmarks.whole_volume import train_and_score
    from intracranial.compute import choose_compute
    from intracranial.sampling.series_info import series_infos
    from intracranial.splits.split_files import load_split
    from intracranial.stages.run_series import training_series
    from intracranial.tasks import RSNA_2025 as TASK

    made = trained(options, folder, seed)
    infos = series_infos(made.test_split, sorted(made.test_split.series.index), TASK)
    split = load_split(made.data, None)
    training = series_infos(split, training_series(made.paths, made.stage1, split), TASK)
    rows = made.paths.log_csv("stage1").read_text().splitlines()
    batches = int(rows[-1].split(",")[rows[0].split(",").index("step")])
    table = train_and_score(
        made.recipe,
        batches * made.recipe.optimization.batch_size,
        (made.data, training),
        (made.test, infos),
        TASK,
        choose_compute(),
    )
    return {"whole volume, 32 slices as channels": table.score.value}


def main(options: Options) -> None:
    """Measure every seed and print a Markdown table."""
    results: dict[int, dict[str, float | None]] = {seed: {} for seed in options.seeds}
    for name, how in (("scores", measure), ("baseline", score_baseline)):
        for seed in options.seeds:
            path = options.out_dir / f"seed-{seed}" / f"{name}.json"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(how(options, seed), indent=1))
            if name == "scores":
                results[seed] |= scores_end_to_end(path.parent)
            results[seed] |= json.loads(path.read_text())
        if not options.baseline:
            break
    print(f"\nWeighted AUC on {options.test_series} unseen series per seed,")
    print(f"{options.series} series to train and validate on, {platform.processor()}\n")
    print("| | " + " | ".join(f"seed {seed}" for seed in results) + " | mean |")
    print("| --- |" + " --- |" * (len(results) + 1))
    for name in next(iter(results.values())):
        values = [results[seed][name] for seed in results]
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known) if len(known) == len(values) else None
        cells = ["-" if value is None else f"{value:.3f}" for value in (*values, mean)]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(tyro.cli(Options, use_underscores=True))
