"""Labels of one's own through all eight scripts: with places and without, known and unknown."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from intracranial.artifacts import DataPaths, FoldPaths
from intracranial.config import STAGES
from intracranial.errors import EXIT_DONE, EXIT_INPUT
from intracranial.sampling.features import load_features
from intracranial.splits.folds import ALWAYS_TRAINS
from intracranial.splits.split_files import load_split
from intracranial.tasks import SERIES_COLUMN
from tests.schema import assert_documented
from tests.tiny_runs import (
    DATA_STAGES,
    MODEL_STAGES,
    RECIPE,
    ROOT,
    Place,
    Said,
    call_stage,
    read,
    run_tool,
)

EXAMPLE = ROOT / "examples" / "own_labels"


def run_stage(stage: str, recipe: Path, data: Path, *flags: str) -> Said:
    where = ["--config", str(recipe), "--data_dir", str(data)]
    if stage not in DATA_STAGES:
        where += ["--model_dir", str(data / "model")]
        where += [] if "--run" in flags else ["--run", "own"]
    return call_stage(stage, *where, *flags)


def run_all(recipe: Path, data: Path) -> FoldPaths:
    for stage in STAGES:
        said = run_stage(stage, recipe, data)
        assert said.code == EXIT_DONE, (stage, said.text)
    return FoldPaths(data / "model", "own", 0)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> FoldPaths:
    folder = tmp_path_factory.mktemp("own") / "data"
    before = sys.argv
    sys.argv = ["make_data.py", str(folder)]
    try:
        runpy.run_path(str(EXAMPLE / "make_data.py"), run_name="__main__")
    finally:
        sys.argv = before
    return run_all(EXAMPLE / "recipe.yaml", folder)


def data_of(paths: FoldPaths) -> DataPaths:
    return DataPaths(paths.model_dir.parent)


def test_the_example_learns_its_labels(example: FoldPaths):
    for stage in ("stage1", "stage2", "end_to_end"):
        metrics = read(example.metrics(stage))
        kind = "end_to_end_metrics" if stage == "end_to_end" else "stage_metrics"
        assert_documented(metrics, kind)
        assert metrics["task"]["labels"] == ["bleed", "fracture"]
        assert metrics["others_mean"] is None and metrics["score_name"] == "mean AUC"
        assert metrics["score"]["value"] > 0.75
    assert read(example.metrics("end_to_end"))["localisation"] is None


@pytest.mark.slow
def test_all_folds_of_labels_without_places_are_one_table(example: FoldPaths):
    data = data_of(example).root
    for stage in MODEL_STAGES:
        flags = ["--fold", "all"]
        flags += ["--epochs", "1", "--overwrite"] if stage.startswith("train") else []
        said = run_stage(stage, EXAMPLE / "recipe.yaml", data, *flags, "--run", "folds")
        assert said.code == EXIT_DONE, (stage, said.text)
    metrics = read(FoldPaths(data / "model", "folds", "all").metrics("end_to_end"))
    assert metrics["localisation"] is None and metrics["series"] == 44


def test_labels_that_nobody_knows_take_no_part(example: FoldPaths):
    split = load_split(data_of(example), None)
    unknown = split.series["fracture"].isna()
    assert unknown.sum() == 4
    held_out = split.series.loc[split.held_out(0)]
    known = int(held_out["fracture"].notna().sum())
    score = read(example.metrics("stage2"))["per_label"]["fracture"]
    assert score["positives"] + score["negatives"] == known < len(held_out)
    with open(example.predictions("stage2"), encoding="utf-8", newline="") as file:
        cells = {row[SERIES_COLUMN]: row["true fracture"] for row in csv.DictReader(file)}
    assert sum(cell == "" for cell in cells.values()) == len(held_out) - known


def test_series_for_training_are_never_held_out(example: FoldPaths):
    split = load_split(data_of(example), None)
    always = split.series.index[split.series["fold"] == ALWAYS_TRAINS]
    assert len(always) == 4
    assert all(set(always) <= set(split.training(fold)) for fold in range(4))
    held_out = {uid for fold in range(4) for uid in split.held_out(fold)}
    assert held_out == set(split.series.index) - set(always)


def test_patients_of_the_table_are_joined_and_written_nowhere(example: FoldPaths):
    data = data_of(example)
    groups = load_split(data, None).series["group"]
    for number in range(0, 8, 2):
        assert groups[f"head-{number:02d}"] == groups[f"head-{number + 1:02d}"]
    assert groups.nunique() == 44
    for path in (data.train_meta_csv, data.folds_csv(4)):
        assert "PatientID" not in path.read_text(encoding="utf-8").splitlines()[0]


def test_without_places_there_is_no_heat_map_and_there_are_no_points(example: FoldPaths):
    assert read(example.manifest("stage1"))["model"]["heatmap"] is False
    assert read(example.manifest("stage2"))["sequence"]["parts"] == ["features", "logits"]
    features = load_features(example.feature("head-00"))
    assert all(one.peaks is None for one in features.values())
    page = example.root / "report.html"
    assert "Lesion detection" in page.read_text(encoding="utf-8")


def test_the_trained_run_predicts_and_compares_without_being_told_the_task(
    example: FoldPaths, tmp_path: Path
):
    run, series = example.root.parent, data_of(example).series / "head-01"
    flags = ["--model", run, "--series", series, "--out_dir", tmp_path / "out", "--report"]
    said = run_tool("predict", *flags, "--device", "cpu", "--precision", "fp32")
    assert said.code == EXIT_DONE, said.text
    result = read(tmp_path / "out" / "series" / "head-01.json")
    assert list(result["probabilities"]) == ["bleed", "fracture"] and result["points"] == []
    where = ["--model_dir", example.model_dir, "--out_file", tmp_path / "pair.json"]
    said = run_tool("compare", "own", "own", *where)
    assert said.code == EXIT_DONE and "mean AUC" in said.text, said.text


TASK = """name: blobs
finding: blob
labels: [artery, vein, either, scanner]
overall: either
locations: [artery, vein]
metric: log_loss
weights: {either: 2/5}
"""


@pytest.fixture(scope="module")
def located(tiny: Place, tmp_path_factory: pytest.TempPathFactory) -> FoldPaths:
    """The tiny data with four labels, two of which have places; log loss; names of one's own."""
    data = tmp_path_factory.mktemp("located") / "data"
    (data / "series").mkdir(parents=True)
    (data / "task.yaml").write_text(TASK, encoding="utf-8")
    with open(tiny.data.train_csv, encoding="utf-8", newline="") as file:
        given = list(csv.DictReader(file))
    with open(tiny.data.localizers_csv, encoding="utf-8", newline="") as file:
        places = list(csv.DictReader(file))
    name_of = {row[SERIES_COLUMN]: f"Case_{k}.v1" for k, row in enumerate(given)}
    arteries: dict[str, str] = {}
    rows = []
    for k, row in enumerate(given):
        uid = row[SERIES_COLUMN]
        (data / "series" / name_of[uid]).symlink_to(tiny.data.series / uid)
        positive = [name for name, cell in row.items() if cell == "1"]
        artery = bool(positive) and hash_of(positive[0]) % 2 == 0
        arteries[uid] = "artery" if artery else "vein"
        vein = "" if k % 5 == 0 and not positive else int(bool(positive) and not artery)
        rows.append([name_of[uid], int(artery), vein, int(bool(positive)), k % 3 % 2])
    with open(data / "train.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[SERIES_COLUMN, *"artery vein either scanner".split()], *rows])
    with open(data / "train_localizers.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*places[0], "width_mm"])
        for k, row in enumerate(places):
            location = "" if k == 0 else arteries[row[SERIES_COLUMN]]
            cells = [name_of[row[SERIES_COLUMN]], row["SOPInstanceUID"], row["coordinates"]]
            writer.writerow([*cells, location, "4.5" if k % 2 else ""])
    return run_all(RECIPE, data)


def hash_of(label: str) -> int:
    return sum(map(ord, label))


def test_a_log_loss_is_scored_with_intervals_and_against_the_prior(located: FoldPaths):
    metrics = read(located.metrics("end_to_end"))
    assert_documented(metrics, "end_to_end_metrics")
    assert metrics["score_name"] == "weighted log loss" and not metrics["higher_is_better"]
    values = {name: one["value"] for name, one in metrics["per_label"].items()}
    others = [values[name] for name in ("artery", "vein", "scanner") if values[name] is not None]
    expected = 0.4 * values["either"] + 0.6 * np.mean(others)
    assert metrics["score"]["value"] == pytest.approx(expected)
    assert metrics["ratio_to_prior"] > 0
    assert metrics["gain_over_stage1"]["score"]["difference"]["value"] is not None
    assert "log loss" in (located.root / "report.html").read_text(encoding="utf-8")


def test_findings_are_one_table_with_places_and_sizes(located: FoldPaths):
    with open(data_of(located).findings_csv, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["location"] for row in rows} == {"", "artery", "vein"}
    assert {row["width_mm"] for row in rows} == {"", "4.5"}
    assert all(float(row["x"]) >= 0 and float(row["z_mm"]) < 1e4 for row in rows if row["z_mm"])
    spots = load_split(data_of(located), None).spots
    assert (spots["kind"] == "positive").sum() == len(rows)


def test_a_label_without_places_is_true_of_every_slice_and_gets_no_point(located: FoldPaths):
    with open(located.root / "end_to_end_points.csv", encoding="utf-8", newline="") as file:
        assert {row["location"] for row in csv.DictReader(file)} == {"artery", "vein", "either"}


def test_everything_that_is_wrong_with_a_table_is_said_at_once(located: FoldPaths, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "task.yaml").write_text(TASK, encoding="utf-8")
    (data / "train.csv").write_text(
        "SeriesInstanceUID,Artery,vein,either,scanner,Use\n"
        "a,1,maybe,0,0,\n"
        "../b,0,0,2,0,training\n"
        "a,0,0,0,0,\n"
        "A,0,0,0,0,\n",
        encoding="utf-8",
    )
    said = run_stage("preprocess_data", RECIPE, data)
    assert said.code == EXIT_INPUT
    for words in (
        "no column artery (nearest: Artery",
        "column vein: line 2: 'maybe' is neither 0 nor 1",
        "column either: line 3: '2'",
        "line 3: '../b' cannot name a series",
        "a (2 times) in lines 2, 4",
        "a, A differ in case alone",
        "line 3: 'training' is neither 'train' nor empty",
        "train.csv has one row per series",
    ):
        assert words in said.text
    assert not (data / "npy_sequence").exists()
