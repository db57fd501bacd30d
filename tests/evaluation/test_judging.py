"""Scored series that the weights have met before are named."""

from types import SimpleNamespace

from src.evaluation.judging import seen_in_training
from src.imaging.linkage import Linkage
from src.provenance import digest


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
