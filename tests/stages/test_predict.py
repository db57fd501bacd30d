"""tools/predict.py: a row for every series, results that are kept, and a page on demand."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pydicom
import pytest

import intracranial.deployment
from intracranial.errors import EXIT_DONE, EXIT_INPUT, EXIT_REJECTED, EXIT_USAGE, MissingPackage
from intracranial.options.predict import PredictOptions
from intracranial.provenance import VERSION
from intracranial.runlog import Record, log, run_stage
from intracranial.stages.predict import PredictPaths, main
from tests.challenge import LABELS
from tests.schema import assert_documented
from tests.tiny_data import SECRET_ID, SECRETS, uid_of
from tests.tiny_runs import ROOT, Place, edit, run_process


@pytest.fixture
def incoming(others: Path, tmp_path: Path) -> Path:
    """Four sound series and a folder that holds none."""
    folder = tmp_path / "incoming"
    shutil.copytree(others / "series", folder)
    (folder / "broken").mkdir()
    (folder / "broken" / "note.txt").write_text("no image")
    return folder


@pytest.fixture
def predict(tiny: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the tool's main in this process, with one series reading at a time."""

    def call(*flags: object) -> int:
        model = ["--model", str(tiny.model_dir / "tiny"), "--out_dir", str(tmp_path / "out")]
        some = ["--device", "cpu", "--precision", "fp32", "--num_workers", "0"]
        monkeypatch.setattr(sys, "argv", ["predict.py", *model, *some, *map(str, flags)])
        log.handlers.clear()  # their streams are those of another test
        return run_stage("predict", PredictOptions, main, "")

    return call


@pytest.fixture
def paths(tmp_path: Path) -> PredictPaths:
    return PredictPaths(tmp_path / "out")


def rows(path: Path) -> dict[str, dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return {row["folder"]: row for row in csv.DictReader(file)}


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_every_series_has_a_row_and_a_bad_one_its_reason(predict, paths, incoming):
    assert predict("--series_dir", incoming) == EXIT_REJECTED
    table = rows(paths.predictions)
    assert len(table) == 5
    bad = table.pop("broken")
    assert (bad["status"], bad["reason"], bad["Basilar Tip"]) == ("rejected", "not_dicom", "")
    assert_documented(json.loads(paths.result(bad["folder"]).read_text()), "rejected_prediction")
    assert "broken" in bad["words"]
    for name, row in table.items():
        assert row["status"] == "read" and row["SeriesInstanceUID"] == name
        assert all(0 <= float(row[label]) <= 1 for label in LABELS)
    assert predict("--series_dir", incoming, "--allow_rejected") == EXIT_DONE


def test_points_and_curves_are_of_the_series_slices(predict, paths, others):
    uid = uid_of(100)
    assert predict("--series", others / "series" / uid) == EXIT_DONE
    result = json.loads(paths.result(uid).read_text())
    assert_documented(result, "prediction")
    slices = result["slices"]
    files = len(list((others / "series" / uid).iterdir()))
    assert len(slices["SOPInstanceUID"]) == len(slices["probabilities"]["Basilar Tip"]) == files
    for point in result["points"]:
        assert slices["SOPInstanceUID"][point["slice"]] == point["SOPInstanceUID"]
        curve = slices["probabilities"][point["location"]]
        assert curve[point["slice"]] == pytest.approx(point["score"], abs=1e-5)
    with open(paths.points, encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(result["points"])
    assert float(table[0]["z_mm"]) == result["points"][0]["mm"][2]


def test_a_rerun_does_nothing_and_goes_on_where_it_was_stopped(predict, paths, incoming):
    predict("--series_dir", incoming)
    before, table = stamps(paths.series), paths.predictions.read_bytes()
    paths.result(uid_of(101)).unlink()
    paths.result(uid_of(102)).write_text("{ cut off")
    predict("--series_dir", incoming)
    after = stamps(paths.series)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"{uid_of(101)}.json", f"{uid_of(102)}.json"}
    assert paths.predictions.read_bytes() == table
    assert predict("--series_dir", incoming, "--overwrite") == EXIT_REJECTED
    assert all(after[name] != stamps(paths.series)[name] for name in after)


def test_a_series_whose_files_changed_is_predicted_again(predict, paths, incoming):
    folder = incoming / uid_of(100)
    predict("--series", folder)
    before = json.loads(paths.result(folder.name).read_text())
    sorted(folder.iterdir())[0].unlink()
    predict("--series", folder)
    after = json.loads(paths.result(folder.name).read_text())
    assert len(after["slices"]["frame"]) == len(before["slices"]["frame"]) - 1


def test_a_series_that_a_limit_stopped_is_tried_again(predict, paths, others):
    folder = others / "series" / uid_of(100)
    assert predict("--series", folder, "--max_series_gib", "1e-6") == EXIT_REJECTED
    assert rows(paths.predictions)[folder.name]["reason"] == "too_large"
    assert predict("--series", folder) == EXIT_DONE
    assert rows(paths.predictions)[folder.name]["status"] == "read"


def test_a_page_is_written_on_demand_also_for_what_is_predicted(predict, paths, others):
    folder = others / "series" / uid_of(100)
    predict("--series", folder)
    assert not paths.page(folder.name).exists()
    predict("--series", folder, "--report")
    page = paths.page(folder.name).read_text()
    assert uid_of(100) in page and "Not for clinical use" in page
    assert not re.search(r"(src|href)=.(?!data:)", page) and "<script" not in page


def test_what_was_made_from_another_model_s_result_does_not_outlive_it(predict, paths, others):
    folder = others / "series" / uid_of(100)
    predict("--series", folder, "--report")
    made = (paths.page(folder.name), paths.structured_report(folder.name))
    made[1].parent.mkdir()
    made[1].touch()
    predict("--series", folder)
    assert all(path.exists() for path in made)
    edit(paths.result(folder.name), identity="of another model")
    predict("--series", folder)
    assert not any(path.exists() for path in made)


def test_structured_reports_are_written_on_demand_and_a_failed_one_costs_itself(
    predict, paths, incoming, caplog
):
    pytest.importorskip("highdicom", reason="highdicom is an extra: pip install highdicom")
    shutil.rmtree(incoming / "broken")
    predict("--series_dir", incoming)
    assert not paths.structured_report("x").parent.exists()
    files = list((incoming / uid_of(101)).iterdir())
    for number, path in enumerate(files):  # as some anonymisers write them
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = f"1.2.3.4.{number}"
        dataset.save_as(path)
    assert predict("--series_dir", incoming, "--structured_report") == EXIT_REJECTED
    assert f"not one but {len(files)}" in caplog.text
    folder = paths.structured_report("x").parent
    assert {path.stem for path in folder.iterdir()} == {uid_of(k) for k in (100, 102, 103)}
    report = pydicom.dcmread(paths.structured_report(uid_of(100)))
    result = json.loads(paths.result(uid_of(100)).read_text())
    assert (report.Modality, report.SoftwareVersions) == ("SR", result["algorithm_version"])
    assert result["algorithm_version"].startswith(f"{VERSION} model ")
    before = stamps(folder)
    predict("--series_dir", incoming, "--structured_report", "--allow_rejected")
    assert stamps(folder) == before


def test_without_highdicom_the_package_is_named_before_the_model_is_opened(tmp_path, monkeypatch):
    for name in ("highdicom", "highdicom.sr"):
        monkeypatch.setitem(sys.modules, name, None)  # its import now fails
    monkeypatch.delitem(sys.modules, "intracranial.deployment.structured_report", raising=False)
    monkeypatch.delattr(intracranial.deployment, "structured_report", raising=False)
    options = PredictOptions(
        model=tmp_path / "nothing",
        out_dir=tmp_path / "out",
        series=(tmp_path,),
        structured_report=True,
    )
    words = "^a structured report needs highdicom: pip install highdicom$"
    with pytest.raises(MissingPackage, match=words) as caught:
        main(options, Record("predict", options))
    assert caught.value.exit_code == EXIT_INPUT and not (tmp_path / "out").exists()


def test_nothing_of_the_patient_is_written(predict, paths, others):
    predict("--series", others / "series" / uid_of(100), "--report")
    for path in paths.root.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not any(secret in text for secret in (*SECRETS.values(), SECRET_ID)), path


def test_what_cannot_work_is_said_before_the_networks_are_loaded(predict, tmp_path, capsys):
    assert predict() == EXIT_USAGE
    assert "--series" in capsys.readouterr().err
    assert predict("--series", "a", "--series_dir", "b") == EXIT_USAGE
    assert predict("--series", "one/a", "two/a") == EXIT_USAGE
    assert predict("--series", "a", "--fold", "x") == EXIT_USAGE
    assert predict("--series", "a", "--max_series_gib", "-1") == EXIT_USAGE
    assert predict("--series", "a", "--fold", "9") == EXIT_USAGE
    assert predict("--series_dir", tmp_path / "nowhere") == EXIT_INPUT
    (tmp_path / "empty").mkdir()
    assert predict("--series_dir", tmp_path / "empty") == EXIT_INPUT
    assert predict("--series", tmp_path, "--model", tmp_path / "nothing") == EXIT_INPUT


def test_the_tool_runs_as_a_command(tiny: Place, others: Path, tmp_path: Path):
    flags = ["--model", tiny.model_dir / "tiny", "--out_dir", tmp_path / "out"]
    series = ["--series_dir", others / "series"]
    said = run_process([sys.executable, str(ROOT / "tools/predict.py"), *map(str, flags + series)])
    assert said.code == EXIT_DONE, said.text
    assert "4 series, of which 0 were there already and 0 are rejected" in said.text


def test_help_needs_no_torch():
    code = (
        "import sys, runpy\nsys.argv = ['predict.py', '--help']\n"
        "try:\n    runpy.run_path('tools/predict.py', run_name='__main__')\n"
        "except SystemExit:\n    print('HEAVY', [m for m in ('torch', 'matplotlib') if m in "
        "sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "HEAVY []" in done.stdout and "--series_dir" in done.stdout, done.stderr
