"""A run says itself what it predicts: its sidecars are enough, whatever its task is."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intracranial.artifacts import FoldPaths
from intracranial.errors import EXIT_DONE, EXIT_INPUT, InputError
from intracranial.inference.run import Predictor
from intracranial.stages.predict import PredictPaths
from intracranial.tasks import RSNA_2025, Task
from tests.imaging.make_series import store, write_single_frames
from tests.tiny_runs import edit, read, run_tool
from tests.untrained_runs import write_untrained_run

THREE = Task(
    name="three",
    locations=("Left Vertebral Artery", "Right Vertebral Artery"),
    overall="Any",
    labels=("Any", "Left Vertebral Artery", "Right Vertebral Artery"),
    weights=(0.25, 0.375, 0.375),
)


@pytest.fixture
def run(tmp_path: Path) -> FoldPaths:
    return write_untrained_run(tmp_path / "model" / "three", THREE)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    volume = np.random.default_rng(0).normal(1100, 50, (9, 32, 32)).astype(np.int16)
    write_single_frames(tmp_path / "incoming" / "one", store(volume), modality="CT", uid="1.2.3")
    return tmp_path / "incoming" / "one"


def opened(paths: FoldPaths, **flags: object) -> Predictor:
    return Predictor(paths.root.parent, device="cpu", precision="fp32", **flags)


def test_a_run_of_three_labels_predicts_them_without_being_told(run: FoldPaths, series: Path):
    predictor = opened(run)
    assert predictor.task == THREE and predictor.labels == THREE.labels
    found = predictor.predict(series)
    assert found.labels == THREE.labels and found.probabilities.shape == (3,)
    assert found.slice_probabilities.shape == (9, 3)
    assert 0 < found.probability("Any") < 1
    assert {point.label for point in found.points} == set(THREE.labels)


def test_the_command_writes_tables_of_the_run_s_labels(
    run: FoldPaths, series: Path, tmp_path: Path
):
    flags = ["--model", run.root.parent, "--series", series, "--out_dir", tmp_path / "out"]
    some = ["--device", "cpu", "--precision", "fp32", "--num_workers", "0", "--report"]
    said = run_tool("predict", *flags, *some)
    assert said.code == EXIT_DONE, said.text
    paths = PredictPaths(tmp_path / "out")
    with open(paths.predictions, encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert [column for column in row if column in (*THREE.labels, *RSNA_2025.labels)] == [
        *THREE.labels
    ]
    assert read(paths.result("one"))["labels"] == list(THREE.labels)
    said = run_tool("predict", *flags, *some, "--structured_report")
    words = "needs, for 'Any', 'Left Vertebral Artery', 'Right Vertebral Artery'"
    assert said.code == EXIT_INPUT and words in said.text


def test_a_flip_exchanges_the_run_s_own_labels(run: FoldPaths, series: Path, tmp_path: Path):
    found = opened(run, views=["flip"]).predict(series)
    assert found.probabilities.shape == (3,)
    one_sided = replace(THREE, labels=("Any", "Left A", "Basilar"), locations=("Left A", "Basilar"))
    paths = write_untrained_run(tmp_path / "model" / "one_sided", one_sided)
    assert opened(paths).labels == one_sided.labels
    with pytest.raises(InputError, match="'Left A' has no partner 'Right A'"):
        opened(paths, views=["flip"])


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
@pytest.mark.parametrize("lost", ["name", "labels"])
def test_a_sidecar_that_lacks_a_part_of_its_task_is_named(run: FoldPaths, stage: str, lost: str):
    task = THREE.record()
    del task[lost]
    edit(run.manifest(stage), task=task)
    words = rf"{stage}\.json: its task is damaged: it lacks `{lost}`"
    with pytest.raises(InputError, match=words):
        opened(run)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ["Any"]},
        {"labels": ["Any", "Any", "Left Vertebral Artery"]},
        {"overall": "Nothing"},
        {"locations": ["Elsewhere"]},
        {"locations": 3},
        {"weights": ["half", "half", 0]},
    ],
)
def test_a_task_whose_parts_do_not_fit_is_refused(run: FoldPaths, change: dict[str, object]):
    edit(run.manifest("stage1"), task={**THREE.record(), **change})
    with pytest.raises(InputError, match=r"stage1\.json: its task is damaged: "):
        opened(run)


def test_stages_and_folds_of_different_tasks_are_refused(run: FoldPaths):
    other = replace(THREE, name="other", weights=(0.5, 0.25, 0.25))
    write_untrained_run(run.root.parent, other, fold=1)
    with pytest.raises(InputError, match="fold 0 predicts 3 labels of the task 'three', fold 1"):
        opened(run)
    edit(run.manifest("stage2"), task=other.record())
    with pytest.raises(InputError, match=r"stage 1 was trained for the task 'three'.*'other'"):
        opened(run, folds=[0])
