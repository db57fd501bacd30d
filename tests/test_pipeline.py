"""All eight scripts on the tiny data set: what they write, and that the ends meet."""

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from intracranial.artifacts import ScoredFolderPaths
from intracranial.config import STAGES
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.challenge import LABELS, TRAIN_COLUMNS
from tests.schema import assert_documented
from tests.tiny_data import (
    CORONAL,
    EDGE,
    MULTI_FRAME,
    ONE_PATIENT,
    REVERSED,
    RLE,
    SAGITTAL,
    SECRET_ID,
    SECRETS,
    UNLOCALIZED,
    TinySeries,
    make_tiny_data,
    uid_of,
    write_tables,
)
from tests.tiny_runs import MODEL_STAGES, Place, read

METRICS = ("stage1", "stage2", "end_to_end")
KINDS = {"end_to_end": "end_to_end_metrics"}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[TinySeries]:
    """What is in the tiny data set; writing it again tells."""
    return make_tiny_data(tmp_path_factory.mktemp("again"))


def without_groups(path: Path) -> list[dict[str, str]]:
    """A table of predictions; how patients are named hangs on the secret key of the data folder."""
    return [{name: cell for name, cell in row.items() if name != "group"} for row in rows(path)]


def held_out(place: Place) -> list[str]:
    table = rows(place.data.folds_csv(3))
    return sorted(row[SERIES_COLUMN] for row in table if row["fold"] == "0")


def test_every_script_ends_with_exit_code_0_and_says_what_it_wrote(tiny: Place):
    for stage in STAGES:
        assert tiny.said[stage].code == 0
        assert "wrote " in tiny.said[stage].text
        assert "Traceback" not in tiny.said[stage].text


def test_every_file_of_the_contract_exists(tiny: Place):
    data, fold = tiny.data, tiny.fold()
    uid = uid_of(0)
    expected = [
        data.sequence(uid),
        data.sequence_sidecar(uid),
        data.train_meta_csv,
        data.slices_csv,
        data.rejected_csv,
        data.preprocess_manifest,
        data.secret_key,
        data.folds_csv(3),
        data.spots_csv(3),
        data.folds_manifest,
        fold.features_manifest,
        fold.report,
        fold.membership,
        *(fold.feature(uid_of(k)) for k in range(26)),
        *(fold.weights(stage) for stage in ("stage1", "stage2")),
        *(fold.manifest(stage) for stage in ("stage1", "stage2")),
        *(fold.log_csv(stage) for stage in ("stage1", "stage2")),
        *(fold.metrics(stage) for stage in METRICS),
        *(fold.predictions(stage) for stage in METRICS),
    ]
    assert [path for path in expected if not path.is_file()] == []
    assert not fold.checkpoint("stage1").exists()  # only while training runs
    assert not list(tiny.root.rglob("*.partial"))


def test_every_kind_of_series_is_read_and_none_is_rejected(tiny: Place):
    table = {row[SERIES_COLUMN]: row for row in rows(tiny.data.train_meta_csv)}
    assert len(table) == 26
    assert not rows(tiny.data.rejected_csv)
    assert table[uid_of(SAGITTAL)]["plane"] == "sagittal"
    assert table[uid_of(CORONAL)]["plane"] == "coronal"
    assert table[uid_of(MULTI_FRAME)]["dicom_modality"] == "MR"
    for number in (0, RLE, MULTI_FRAME, REVERSED):
        assert table[uid_of(number)]["plane"] == "axial"
    first, second = (table[uid_of(number)] for number in ONE_PATIENT)
    assert first["group"] == second["group"]
    assert len({row["group"] for row in table.values()}) == 25
    folds = {row[SERIES_COLUMN]: row["fold"] for row in rows(tiny.data.folds_csv(3))}
    assert folds[uid_of(ONE_PATIENT[0])] == folds[uid_of(ONE_PATIENT[1])]


def test_every_localizer_is_placed_where_the_aneurysm_is(tiny: Place, made: list[TinySeries]):
    spots = {row[SERIES_COLUMN]: row for row in rows(tiny.data.spots_csv(3)) if row["location"]}
    assert len(spots) == 12
    for series in made:
        if not series.locations or series.uid == uid_of(UNLOCALIZED):
            continue
        spot = spots[series.uid]
        place = (int(spot["index"]), float(spot["y"]), float(spot["x"]))
        assert place == (series.index, series.y, series.x)
        assert (spot["location"],) == series.locations
        volume = np.load(tiny.data.sequence(series.uid)).astype(np.float32)
        brightest = np.unravel_index(volume.argmax(), volume.shape)
        assert volume.shape == (series.n, EDGE, EDGE)
        assert np.abs(np.subtract(brightest, place)).max() <= 2


def test_the_three_metrics_files_have_one_shape(tiny: Place):
    for stage in METRICS:
        metrics = read(tiny.fold().metrics(stage))
        assert {"score", "per_label", "left_out", "selected_on", "complete"} <= set(metrics)
        assert 0 <= metrics["score"]["value"] <= 1
        assert list(metrics["per_label"]) == sorted(LABELS)  # keys of our JSON are sorted
        for label, row in metrics["per_label"].items():
            assert (row["value"] is None) == (label in metrics["left_out"])
        assert metrics["selected_on"] == "last"
        assert_documented(metrics, KINDS.get(stage, "stage_metrics"))
        assert metrics["partial"] is None
        assert metrics["intervals"]["resamples"] == 2000
        assert metrics["intervals"]["optimistic"] is None
        assert list(metrics["subgroups"]) == sorted(
            ("modality", "plane", "sex", "age", "slice_thickness", "slice_distance", "findings")
        )
        assert metrics["subgroups"]["age"].keys() == {"60 to 74"}
        # Eight series are too few to fit on; the file says so.
        assert metrics["calibration"]["fitted_on"].startswith(("nothing: ", "other patients"))
        assert metrics["calibration"]["uncalibrated"] == list(LABELS)
        splits = read(tiny.data.folds_manifest)["splits"]
        assert metrics["split_hash"] == splits["3"]["split_hash"]


def test_predictions_have_a_row_per_series_with_every_probability(tiny: Place):
    for stage in ("stage2", "end_to_end"):
        table = rows(tiny.fold().predictions(stage))
        assert [row[SERIES_COLUMN] for row in table] == held_out(tiny)
        for row in table:
            assert all(0 <= float(row[label]) <= 1 for label in LABELS)
            assert {row[f"true {label}"] for label in LABELS} <= {"0", "1"}
        groups = {row[SERIES_COLUMN]: row["group"] for row in rows(tiny.data.train_meta_csv)}
        assert all(row["group"] == groups[row[SERIES_COLUMN]] for row in table)


def test_the_report_needs_neither_network_nor_script(tiny: Place):
    page = tiny.fold().report.read_text(encoding="utf-8")
    assert "Content-Security-Policy" in page and "<script" not in page.lower()
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']{0,40})""", page)
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"url\(\s*['\"]?https?:", page)


def test_every_run_leaves_a_record_and_a_log(tiny: Place):
    for stage in STAGES:
        folder = tiny.data.records if stage not in MODEL_STAGES else tiny.model_dir / "tiny/runs"
        path = sorted(folder.glob(f"*_{stage}.json"))[0]
        record = read(path)
        assert record["stage"] == stage and record["exit_code"] == 0
        assert Path(record["options"]["data_dir"]).parts[-2:] == ("tiny-made", "data")
        assert record["versions"]["torch"] and record["versions"]["python"]
        assert record["seconds"]["total"] > 0
        assert record["peak_memory_mib"]["this process"] > 10
        assert path.with_suffix(".log").read_text(encoding="utf-8")
        if stage in ("create_folds", "train_stage1", "extract_features", "train_stage2"):
            assert record["options"]["seed"] == 0
        if stage in ("preprocess_data", "create_folds", "extract_features", "eval_end_to_end"):
            assert record["counts"]


def test_nothing_of_the_person_is_written_anywhere(tiny: Place):
    words = [SECRET_ID.encode(), b"Zebedee", b"Quill", *(s.encode() for s in SECRETS.values())]
    read_any = False
    for path in tiny.root.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        found = [word for word in words if word in content]
        if path.is_relative_to(tiny.data.series):
            read_any = read_any or SECRET_ID.encode() in content  # the words are there to be found
        else:
            assert not found, f"{path} holds {found}"
    assert read_any


def test_staged_and_end_to_end_predictions_are_equal(tiny: Place):
    staged = tiny.fold().predictions("stage2").read_bytes()
    assert tiny.fold().predictions("end_to_end").read_bytes() == staged


def test_a_folder_of_series_is_scored_like_the_held_out_fold(
    tiny: Place, made: list[TinySeries], tmp_path: Path
):
    write_tables(tmp_path, [series for series in made if series.uid in held_out(tiny)])
    tables = {path.name: path for path in tmp_path.iterdir()}
    text = sorted(tables["train.csv"].read_text().splitlines()[1:])
    tables["train.csv"].write_text("\n".join([",".join(TRAIN_COLUMNS), *text]))
    before = tiny.content()
    out = ScoredFolderPaths(tmp_path / "out")
    said = tiny.call(
        "eval_end_to_end",
        *("--series_dir", str(tiny.data.series), "--out_dir", str(out.root)),
        *("--labels", str(tables["train.csv"])),
        *("--localizers", str(tables["train_localizers.csv"])),
    )
    assert said.code == 0
    assert "18 folders have no row" in said.text
    assert "in training" not in said.text
    assert out.predictions.read_bytes() == tiny.fold().predictions("stage2").read_bytes()
    own, scored = read(tiny.fold().metrics("end_to_end")), read(out.metrics)
    assert_documented(scored, "end_to_end_metrics")
    for key in ("score", "per_label", "subgroups", "calibration", "stage1_maximum"):
        assert scored[key] == own[key]
    assert scored["localisation"]["froc"] == own["localisation"]["froc"]
    assert "labelled" in out.report.read_text(encoding="utf-8")
    assert tiny.content() == before


def test_the_gain_of_every_view_is_measured_and_views_are_part_of_the_identity(
    tiny: Place, tmp_path: Path
):
    plain = read(tiny.fold().metrics("end_to_end"))
    shutil.copytree(tiny.model_dir, tmp_path / "model")
    place = Place(tmp_path)
    (place.root / "data").symlink_to(tiny.data.root)
    said = place.call("eval_end_to_end", "--views", "flip")
    assert said.code == 5 and "option views: [] -> ['flip']" in said.text
    said = place.call("eval_end_to_end", "--views", "twist", "--overwrite")
    assert said.code == 2 and "'twist': choose from flip, reverse, crop" in said.text
    said = place.call("eval_end_to_end", "--views", "flip", "crop", "--overwrite")
    assert said.code == 0, said.text
    metrics = read(place.fold().metrics("end_to_end"))
    assert_documented(metrics, "end_to_end_metrics")
    table = {row["name"]: row for row in metrics["test_time_augmentation"]}
    names = ["plain", "plain and flip", "plain and crop", "all views"]
    assert [name for name in table if "alone" not in name] == names
    assert table["plain"]["score"] == plain["score"]
    assert table["all views"]["score"] == metrics["score"]
    assert "<h2>Test-time augmentation</h2>" in (place.fold().root / "report.html").read_text()
    said = place.call("eval_end_to_end", "--views", "crop", "flip")
    assert said.code == 0 and "nothing to do" in said.text


def test_scoring_training_series_warns_and_scoring_others_does_not(
    tiny: Place, others: Path, tmp_path: Path
):
    trained = [uid_of(k) for k in range(26) if uid_of(k) not in held_out(tiny)]
    folder = tmp_path / "series"
    for uid in trained[:2]:
        shutil.copytree(tiny.data.series / uid, folder / uid)
    out = ScoredFolderPaths(tmp_path / "out")
    flags = ("--series_dir", str(folder), "--out_dir", str(out.root))
    said = tiny.call("eval_end_to_end", *flags)
    assert said.code == 0 and "2 of 2 scored series were in training" in said.text
    assert sorted(read(out.metrics)["seen_in_training"]) == sorted(trained[:2])
    assert "in training" in out.report.read_text(encoding="utf-8")

    out = ScoredFolderPaths(tmp_path / "other")
    flags = ("--series_dir", str(others / "series"), "--out_dir", str(out.root), "--no_report")
    said = tiny.call("eval_end_to_end", *flags)
    assert said.code == 0 and "in training" not in said.text
    metrics = read(out.metrics)
    assert metrics["seen_in_training"] == []
    assert metrics["score"]["value"] is None  # no labels were given
    assert list(rows(out.predictions)[0]) == [SERIES_COLUMN, *LABELS]
    said = tiny.call("eval_end_to_end", *flags)
    assert said.code == 0 and "nothing to do" in said.text


def test_a_renamed_copy_of_a_training_series_is_recognised_by_its_patient(
    tiny: Place, tmp_path: Path
):
    trained = next(uid_of(k) for k in range(26) if uid_of(k) not in held_out(tiny))
    shutil.copytree(tiny.data.series / trained, tmp_path / "series" / "2.25.99")
    flags = ("--series_dir", str(tmp_path / "series"), "--out_dir", str(tmp_path / "out"))
    said = tiny.call("eval_end_to_end", *flags, "--no_report")
    assert said.code == 0 and "1 of 1 scored series were in training" in said.text


def test_the_model_folder_alone_can_score_series(tiny: Place, others: Path, tmp_path: Path):
    elsewhere = Place(tmp_path / "elsewhere")
    shutil.copytree(tiny.model_dir, elsewhere.model_dir)
    shutil.rmtree(elsewhere.fold().features)
    flags = ["--series_dir", str(others / "series"), "--labels", str(others / "train.csv")]
    said = elsewhere.process("eval_end_to_end", *flags, "--out_dir", str(tmp_path / "there"))
    assert said.code == 0, said.text
    assert not elsewhere.data.root.exists()
    here = ("--out_dir", str(tmp_path / "here"), "--no_report")
    said = tiny.call("eval_end_to_end", *flags, *here)
    assert said.code == 0, said.text
    there, here = ScoredFolderPaths(tmp_path / "there"), ScoredFolderPaths(tmp_path / "here")
    assert without_groups(there.predictions) == without_groups(here.predictions)
    assert there.report.exists()


def test_stage_1_of_every_fold_gives_a_table_over_all_folds(tiny: Place, tmp_path: Path):
    """The slow test below goes through all stages."""
    place = tiny.copy(tmp_path / "copy", "model")
    assert place.call("create_folds", "--folds", "2").code == 0
    fold = ("--folds", "2", "--fold", "all", "--run", "two")
    assert place.call("train_stage1", *fold, "--max_steps", "1").code == 0
    said = place.call("eval_stage1", *fold, "--resamples", "100")
    assert said.code == 0 and "weighted AUC of each fold" in said.text
    metrics = read(place.fold("all", "two").metrics("stage1"))
    assert_documented(metrics, "stage_metrics_of_all_folds")
    assert set(metrics["by_fold"]) == {"0", "1"}
    tables = [rows(place.fold(k, "two").predictions("stage1")) for k in (0, 1)]
    seen = [{row[SERIES_COLUMN] for row in table} for table in tables]
    assert all(seen) and not seen[0] & seen[1]


@pytest.mark.slow
def test_every_fold_in_turn_gives_a_table_over_all_folds(tiny: Place, tmp_path: Path):
    place = tiny.copy(tmp_path / "copy", "model")
    assert place.call("create_folds", "--folds", "2").code == 0
    fold = ("--folds", "2", "--fold", "all", "--run", "two")
    for stage in MODEL_STAGES:
        more = ("--no_report",) if stage == "eval_end_to_end" else ()
        said = place.call(stage, *fold, *more)
        assert said.code == 0, said.text
        if stage.startswith("eval"):
            assert "weighted AUC of each fold" in said.text
    for stage in METRICS:
        metrics = read(place.fold("all", "two").metrics(stage))
        assert_documented(metrics, KINDS.get(stage, "stage_metrics") + "_of_all_folds")
        folds = metrics["by_fold"]
        assert set(folds) == {"0", "1"}
        tables = [read(place.fold(k, "two").metrics(stage)) for k in (0, 1)]
        assert [row["score"] for row in folds.values()] == [one["score"] for one in tables]
        left_out = {name for one in tables for name in one["left_out"]}
        assert metrics["labels_of_every_fold"] == [n for n in LABELS if n not in left_out]
        values = [v for row in folds.values() if (v := row["comparable_score"]) is not None]
        assert (metrics["spread"] or {}).get("max") == max(values, default=None)
        assert metrics["calibration"]["fitted_on"] == "out-of-fold predictions of the other folds"
        overall = metrics["per_label"][RSNA_2025.overall]
        assert 0 <= overall["low"] < overall["value"] < overall["high"] <= 1
        # of so few series every location is rare
        rare = set(metrics["rare"]) >= {*RSNA_2025.locations} - {*metrics["left_out"]}
        assert (metrics["score"]["low"] is None) == rare
        assert set(metrics["per_label"]) == set(LABELS)
    pooled = [row for k in (0, 1) for row in rows(place.fold(k, "two").predictions("stage2"))]
    assert len(pooled) == 26
    gains = [one["test_time_augmentation"][0]["series"] for one in tables]
    assert metrics["test_time_augmentation"][0]["series"] == sum(gains) == 26
    gain = metrics["gain_over_stage1"]["per_label"][RSNA_2025.overall]
    assert gain["difference"]["low"] is not None and gain["second"] == overall["value"]
    assert metrics["rejected"] == [] and set(metrics["suspects"]) == set(tables[0]["suspects"])
    for stage in MODEL_STAGES:
        more = ("--no_report",) if stage == "eval_end_to_end" else ()
        assert place.call(stage, *fold, *more).text.count("nothing to do") == 2
    shutil.copytree(place.model_dir / "two", place.model_dir / "again")
    said = place.call("eval_end_to_end", *fold, "--seed_runs", "again")
    assert said.code == 0, said.text
    metrics = read(place.fold("all", "two").metrics("end_to_end"))
    assert_documented(metrics, "end_to_end_metrics_of_all_folds")
    seeds = metrics["seeds"]
    assert seeds["runs"] == ["two", "again"]
    assert seeds["scores"]["weighted AUC"]["spread"]["standard_deviation"] == 0  # a copy
    page = ScoredFolderPaths(place.fold("all", "two").root).report.read_text(encoding="utf-8")
    assert '<a href="../fold-1/report.html">fold 1</a>' in page
    assert "seeds: all folds, pooled</th><th>two</th><th>again</th>" in page
    assert "<h2>Cases</h2>" not in page and page.count("Not for clinical use.") == 1


def test_the_final_model_is_trained_on_every_series_and_scores_a_folder(
    tiny: Place, others: Path, tmp_path: Path
):
    place = tiny.copy(tmp_path / "copy", "model")
    for stage in ("train_stage1", "extract_features", "train_stage2"):
        said = place.call(stage, "--train_on_all")
        assert said.code == 0, said.text
        said = place.call(stage, "--fold", "final")  # the same in other words
        assert said.code == 0 and "nothing to do" in said.text
    for stage in ("stage1", "stage2"):
        assert read(place.fold("final").manifest(stage))["trained_on"]["series"] == 26
    for stage in ("eval_stage1", "eval_stage2", "eval_end_to_end"):
        said = place.call(stage, "--fold", "final")
        assert said.code == 2 and "held-out" in said.text
    flags = ("--series_dir", str(others / "series"), "--labels", str(others / "train.csv"))
    out = ScoredFolderPaths(tmp_path / "out")
    said = place.call("eval_end_to_end", "--fold", "final", *flags, "--out_dir", str(out.root))
    assert said.code == 0, said.text
    assert len(rows(out.predictions)) == 4 and out.report.exists()


def test_a_limited_stage_is_marked_as_partial_and_later_stages_say_so(tiny: Place, tmp_path: Path):
    place = tiny.copy(tmp_path / "copy", "model")
    assert place.call("train_stage1", "--limit", "12").code == 0
    manifest = read(place.fold().manifest("stage1"))
    assert manifest["partial"] == "--limit 12" and manifest["trained_on"]["series"] == 12
    for stage in MODEL_STAGES[1:]:
        said = place.call(stage)
        assert said.code == 0 and "is partial (--limit 12)" in said.text
    assert "partial" in place.fold().report.read_text(encoding="utf-8")
    for stage in METRICS:
        assert read(place.fold().metrics(stage))["partial"] == "--limit 12"
    said = place.call("eval_end_to_end", "--limit", "2", "--overwrite", "--no_report")
    assert said.code == 0
    assert len(rows(place.fold().predictions("end_to_end"))) == 2
    assert read(place.fold().metrics("end_to_end"))["partial"] == "--limit 2"


def test_views_and_hard_negatives_go_from_one_run_into_the_next(tiny: Place, tmp_path: Path):
    place = tiny.copy(tmp_path / "copy", "model")
    shutil.copytree(tiny.model_dir, place.model_dir)
    for fold in ("1", "2"):
        assert place.call("train_stage1", "--fold", fold).code == 0
        mine = ("--augmented_views", "1", "--mine_hard_negatives", "--hard_threshold", "0")
        said = place.call("extract_features", "--fold", fold, *mine)
        assert said.code == 0 and "hard_negatives.csv" in said.text
    mined = rows(place.fold(1).hard_negatives)
    folds = {row[SERIES_COLUMN]: row["fold"] for row in rows(place.data.folds_csv(3))}
    assert mined and {folds[row[SERIES_COLUMN]] for row in mined} == {"1"}
    spots = [row for row in rows(place.data.spots_csv(3)) if row["kind"] == "positive"]
    near = {(row[SERIES_COLUMN], int(row["index"]) + k) for row in spots for k in range(-5, 6)}
    assert not near & {(row[SERIES_COLUMN], int(row["index"])) for row in mined}
    assert uid_of(UNLOCALIZED) not in {row[SERIES_COLUMN] for row in mined}

    hard = ("--run", "second", "--hard_negatives", "tiny")
    said = place.call("train_stage1", *hard)
    assert said.code == 0, said.text
    inputs = read(place.fold(0, "second").manifest("stage1"))["inputs"]
    assert "hard negatives" in inputs
    said = place.call("train_stage1", *hard, "--fold", "1")
    assert said.code == 3 and "fold-0/hard_negatives.csv is missing" in said.text
    assert "--mine_hard_negatives" in said.text
    assert place.call("train_stage2", "--fold", "1").code == 0

    assert place.call("create_folds", "--seed", "5", "--overwrite").code == 0
    said = place.call("train_stage1", "--run", "third", "--hard_negatives", "tiny")
    assert said.code == 5
    assert "was mined with split" in said.text and "extract_features.py" in said.text
