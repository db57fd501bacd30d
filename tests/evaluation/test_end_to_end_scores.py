"""Scored series that the weights, or what is fitted beside them, have met before are recognised."""

import csv
import shutil
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest

from intracranial.artifacts import ScoredFolderPaths
from intracranial.evaluation.end_to_end_scores import seen_in_training
from intracranial.evaluation.predictions import read_predictions
from intracranial.imaging.linkage import Linkage
from intracranial.membership import Known, Overlap, Part
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.tiny_data import SECRET_ID
from tests.tiny_runs import Place, read

KEY = bytes(range(32))


def scored(uid: str, patient: str, pixels: str = "") -> SimpleNamespace:
    linkage = Linkage(patient=patient * 64, study=None, pixels=pixels or uid)
    return SimpleNamespace(uid=uid, linkage=linkage)


def known(*series: SimpleNamespace) -> Known:
    keys = [key for one in series for key in one.linkage.keyed(KEY).keys()]
    return Known(tuple(one.uid for one in series), tuple(keys))


TRAINED, SELECTED, OTHER = scored("1.1", "a"), scored("1.2", "b"), scored("1.3", "c")
HELD_OUT = {"1.1": known(TRAINED).keys, "1.2": known(SELECTED).keys}
PARTS = (
    Part("", known(TRAINED), known(), HELD_OUT),
    Part("", known(TRAINED), known(SELECTED), {}),
)
OVERLAP = Overlap(PARTS, KEY)
RESULTS = SimpleNamespace(
    scored=[
        *(TRAINED, SELECTED, OTHER, scored("2.1", "a"), scored("2.2", "b")),
        scored("3.1", "d", pixels="1.1"),
    ]
)


def test_series_patients_and_pixels_of_the_training_are_seen():
    assert seen_in_training(RESULTS, OVERLAP, held_out=True) == ["1.1", "2.1", "3.1"]


def test_elsewhere_series_that_selected_the_weights_are_seen_too():
    found = seen_in_training(RESULTS, OVERLAP, held_out=False)
    assert found == ["1.1", "1.2", "2.1", "2.2", "3.1"]


def test_without_the_key_patients_are_not_seen_but_uids_and_pixels_are():
    found = seen_in_training(RESULTS, Overlap(PARTS, None), held_out=False)
    assert found == ["1.1", "1.2", "3.1"]
    assert seen_in_training(RESULTS, Overlap(PARTS, bytes(32)), held_out=False) == found


def test_without_membership_only_held_out_series_are_known_to_be_in_no_training():
    assert seen_in_training(RESULTS, None, held_out=True) == []
    assert seen_in_training(RESULTS, None, held_out=False) is None


def test_held_out_series_are_recognised_by_any_key_that_they_share():
    study = Linkage(None, "5" * 64, None)
    held_out = {**HELD_OUT, "1.4": study.keyed(KEY).keys()}
    overlap = Overlap((Part("", known(), known(), held_out),), KEY)
    assert overlap.held_out_like([Linkage(None, "5" * 64, "1.1")]) == ["1.1", "1.4"]
    assert overlap.held_out_like([Linkage("b" * 64, None, None)]) == ["1.2"]
    assert overlap.held_out_like([OTHER.linkage]) == []


@pytest.fixture
def nameless(tiny: Place, tmp_path: Path) -> Path:
    """The held-out series as others have them: other names, no PatientID, another study."""
    uids = read(tiny.fold().membership)["stage1"]["held_out"]
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
    known = read(tiny.fold().membership)["stage1"]
    held_out = read_predictions(tiny.fold().predictions("stage2"), RSNA_2025, "eval_stage2.py")
    assert set(known["held_out"]) == set(held_out.uids)
    every = {key for found in known["held_out"].values() for key in found}
    assert every and every.isdisjoint(known["training"]["keys"])


def test_thresholds_for_a_folder_are_not_fitted_on_the_same_pixels_under_other_names(
    tiny: Place, tiny_copy: Place, nameless: Path
):
    flags = ["--series_dir", str(nameless / "series"), "--labels", str(nameless / "train.csv")]
    flags += ["--no_report", "--resamples", "0", "--out_dir"]
    tiny_copy.fold().membership.unlink()  # a run that was given away
    found: list[str] = []
    for place in (tiny, tiny_copy):
        out = ScoredFolderPaths(nameless / f"out{len(found)}")
        said = place.call("eval_end_to_end", *flags, str(out.root))
        assert said.code == 0, said.text
        found.append(read(out.metrics)["calibration"]["fitted_on"])
    assert found[0].startswith("other patients among those scored")
    assert found[1] == "held-out predictions of fold-0"
