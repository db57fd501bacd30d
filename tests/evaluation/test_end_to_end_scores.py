"""Scored series that the weights, or what is fitted beside them, have met before are recognised."""

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest

from intracranial.artifacts import ScoredFolderPaths
from intracranial.evaluation.end_to_end_scores import Reference, seen_in_training
from intracranial.evaluation.predictions import read_predictions
from intracranial.imaging.linkage import Linkage
from intracranial.provenance import digest
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.tiny_data import SECRET_ID
from tests.tiny_runs import Place, edit, read


def scored(uid: str, patient: str) -> SimpleNamespace:
    return SimpleNamespace(uid=uid, linkage=Linkage(patient=patient, study=None, pixels=uid))


def keys(*series: SimpleNamespace) -> list[str]:
    return [digest(key) for one in series for key in one.linkage.keys()]


TRAINED, SELECTED, OTHER = scored("1.1", "a"), scored("1.2", "b"), scored("1.3", "c")
STAGE1 = {
    "training_series": ["1.1"],
    "training_keys": keys(TRAINED),
    "selecting": {"series": [], "keys": []},
}
STAGE2 = {"training_series": ["1.1"], "selecting": {"series": ["1.2"], "keys": keys(SELECTED)}}
RESULTS = SimpleNamespace(scored=[TRAINED, SELECTED, OTHER, scored("2.1", "a"), scored("2.2", "b")])


def test_series_and_patients_of_the_training_are_seen():
    assert seen_in_training(RESULTS, [STAGE1, STAGE2], held_out=True) == ["1.1", "2.1"]


def test_elsewhere_series_that_selected_the_weights_are_seen_too():
    found = seen_in_training(RESULTS, [STAGE1, STAGE2], held_out=False)
    assert found == ["1.1", "1.2", "2.1", "2.2"]


def test_models_that_do_not_say_what_selected_them_are_taken():
    old = {name: value for name, value in STAGE1.items() if name != "selecting"}
    assert seen_in_training(RESULTS, [old], held_out=False) == ["1.1", "2.1"]


def test_series_of_the_reference_are_recognised_by_any_key_that_they_share():
    scored_elsewhere = SimpleNamespace(
        scored=[SimpleNamespace(linkage=Linkage(patient=None, study="s", pixels="1.1"))]
    )
    held_out = {"1.1": keys(TRAINED), "1.2": keys(SELECTED), "1.4": [digest("study:s")]}
    reference = Reference(Path("x"), "held out", None, held_out)
    assert reference.recognised(scored_elsewhere) == ["1.1", "1.4"]
    assert Reference(Path("x"), "held out", None).recognised(scored_elsewhere) == []


@pytest.fixture
def nameless(tiny: Place, tmp_path: Path) -> Path:
    """The held-out series as others have them: other names, no PatientID, another study."""
    uids = read(tiny.fold().manifest("stage1"))["held_out_keys"]
    with open(tiny.data.train_csv, encoding="utf-8", newline="") as file:
        table = {row[SERIES_COLUMN]: row for row in csv.DictReader(file)}
    with open(tmp_path / "train.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[next(iter(uids))]))
        writer.writeheader()
        for number, uid in enumerate(uids):
            folder = tmp_path / "series" / f"2.25.{number}"
            shutil.copytree(tiny.data.series / uid, folder)
            writer.writerow({**table[uid], SERIES_COLUMN: folder.name})
            for path in folder.iterdir():
                dataset = pydicom.dcmread(path)
                assert dataset.PatientID.startswith(SECRET_ID)
                dataset.PatientID, dataset.StudyInstanceUID = "", f"2.25.9.{number}"
                dataset.save_as(path)
    return tmp_path


def test_the_model_says_by_what_its_held_out_series_are_recognised(tiny: Place):
    manifest = read(tiny.fold().manifest("stage1"))
    held_out = read_predictions(tiny.fold().predictions("stage2"), RSNA_2025, "eval_stage2.py")
    assert set(manifest["held_out_keys"]) == set(held_out.uids)
    every = {key for found in manifest["held_out_keys"].values() for key in found}
    assert every and every.isdisjoint(manifest["training_keys"])


def test_thresholds_for_a_folder_are_not_fitted_on_the_same_pixels_under_other_names(
    tiny: Place, tiny_copy: Place, nameless: Path
):
    flags = ["--series_dir", str(nameless / "series"), "--labels", str(nameless / "train.csv")]
    flags += ["--no_report", "--resamples", "0", "--out_dir"]
    edit(tiny_copy.fold().manifest("stage1"), held_out_keys={})  # a model of before
    found: list[str] = []
    for place in (tiny, tiny_copy):
        out = ScoredFolderPaths(nameless / f"out{len(found)}")
        said = place.call("eval_end_to_end", *flags, str(out.root))
        assert said.code == 0, said.text
        found.append(read(out.metrics)["calibration"]["fitted_on"])
    assert found[0].startswith("other patients among those scored")
    assert found[1] == "held-out predictions of fold-0"
