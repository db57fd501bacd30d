"""Task files: what a task may be, and what is said of one that does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest

from intracranial.errors import InputError
from intracranial.tasks import RSNA_2025, Task, built_in, read_task, task_from, task_of_folder


def write(folder: Path, text: str) -> Path:
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    return folder / "task.yaml"


def test_the_built_in_tasks_are_the_challenges(tmp_path: Path):
    assert len(RSNA_2025.labels) == 14 and RSNA_2025.locations == RSNA_2025.labels[:13]
    assert RSNA_2025.overall_weight == 0.5 and sum(RSNA_2025.weights) == pytest.approx(1)
    assert (RSNA_2025.score_name, RSNA_2025.others_name) == ("weighted AUC", "mean of locations")
    assert set(RSNA_2025.sites) == set(RSNA_2025.labels)
    hemorrhage = built_in("rsna_2019_hemorrhage")
    assert hemorrhage.score_name == "weighted log loss" and not hemorrhage.higher_is_better
    assert hemorrhage.weights == pytest.approx((1 / 7,) * 5 + (2 / 7,))
    assert task_of_folder(tmp_path / "task.yaml") == RSNA_2025


def test_two_lines_are_a_task(tmp_path: Path):
    task = read_task(write(tmp_path, "name: mine\nlabels: [bleed, fracture]\n"))
    assert task == Task("mine", ("bleed", "fracture"))
    assert task.weights == (0.5, 0.5) and task.score_name == "mean AUC"
    assert not task.locations and task.overall is None
    assert task.with_finding == "with a finding"


@pytest.mark.parametrize("task", [RSNA_2025, built_in("rsna_2019_hemorrhage"), Task("a", ("b",))])
def test_a_task_is_the_same_after_a_sidecar(task: Task):
    assert task_from(json.loads(json.dumps(task.record()))) == task


def test_labels_that_are_not_named_share_the_rest_of_the_weight(tmp_path: Path):
    text = "name: a\nlabels: [x, y, any]\noverall: any\nweights: {any: 1/2}\n"
    task = read_task(write(tmp_path, text))
    assert task.weights == (0.25, 0.25, 0.5)
    assert task.score_of({"x": 0.6, "y": 0.8, "any": 0.9}) == pytest.approx(0.8)
    assert task.score_of({"y": 0.8, "any": 0.9}) == pytest.approx(0.85)  # x leaves its weight
    assert task.score_of({"x": 0.6, "y": 0.8}) is None


def test_weights_among_the_others_count(tmp_path: Path):
    task = read_task(write(tmp_path, "name: a\nlabels: [x, y]\nweights: [0.75, 0.25]\n"))
    assert task.score_of({"x": 1.0, "y": 0.0}) == pytest.approx(0.75)
    assert task.of_labels(["y"]).weights == (1.0,)


def test_sides_are_told_by_words_or_by_pairs(tmp_path: Path):
    text = "name: a\nlabels: [left lung, RIGHT lung, heart, Right Lung, Left Lung, LEFT lung]\n"
    with pytest.raises(InputError, match=r"'left lung' has no partner 'right lung'.*flips: false"):
        read_task(write(tmp_path, text))
    task = read_task(write(tmp_path, "name: a\nlabels: [left_lung, heart, right_lung]\n"))
    assert task.mirrored() == (2, 1, 0)
    text = "name: a\nlabels: [port, heart, starboard]\npairs: [[port, starboard]]\n"
    assert read_task(write(tmp_path, text)).mirrored() == (2, 1, 0)
    assert not read_task(write(tmp_path, "name: a\nlabels: [left]\nflips: false\n")).flips


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "the least that a task needs"),
        ("name: a\n", "it lacks `labels`"),
        ("name: a\nlabels: [x, x]\n", "different names"),
        ("name: a\nlabels: []\n", "one or more"),
        ("name: a\nlabels: [yes, no]\n", "True is no text; put it in quotes"),
        ("name: a\nlabels: ['a,b']\n", "label 'a,b'"),
        ("name: a\nlabels: [fold]\n", "label 'fold'"),
        ("name: a\nlabels: [x]\noveral: x\n", "`overal` is no key of a task"),
        ("name: a\nlabels: [x]\noverall: y\n", "`overall` 'y' is none of the labels"),
        ("name: a\nlabels: [x, y]\noverall: y\nlocations: [y]\n", "`locations`"),
        ("name: a\nlabels: [x]\nmetric: f1\n", "give auc or log_loss"),
        ("name: a\nlabels: [x, y]\nweights: [1, 1]\n", "of sum 1"),
        ("name: a\nlabels: [x, y]\nweights: {z: 1}\n", "'z', which is none of the labels"),
        ("name: a\nlabels: [x, y]\nweights: {x: 2}\n", "above 1"),
        ("name: a\nlabels: [x, y]\nweights: {x: much}\n", "'much' is no number"),
        ("name: a\nlabels: [x, y]\npairs: [[x]]\n", "pairs of labels"),
        ("name: a\nlabels: [x]\nsites: {x: [1, SCT, there]}\n", "value, scheme, meaning"),
        ("name: a\nlabels: [x]\nshort: {y: z}\n", "'y', which is none"),
        ("name: [a\n", "not a readable task file"),
    ],
)
def test_a_task_that_does_not_fit_is_refused_with_the_file_and_the_key(
    tmp_path: Path, text: str, words: str
):
    with pytest.raises(InputError) as refused:
        read_task(write(tmp_path, text))
    assert str(refused.value).startswith(str(tmp_path / "task.yaml"))
    assert words in str(refused.value)


def test_what_cannot_be_trained_on_yet_is_said(tmp_path: Path):
    path = write(tmp_path, "name: a\nlabels: [x]\nunit: slice\n")
    with pytest.raises(InputError, match="unit: slice"):
        task_of_folder(path)


def test_who_has_the_finding_is_told_by_what_is_known():
    task = Task("a", ("x", "y", "any"), "any")
    rows = np.array(
        [[0, 1, 1], [0, 0, 0], [1, 0, 0], [1, np.nan, np.nan], [0, np.nan, np.nan]], dtype=float
    )
    assert task.has_finding(rows).tolist() == [True, False, False, True, False]
    assert Task("a", ("x", "y")).has_finding(rows[:, :2]).tolist() == [
        True,
        False,
        True,
        True,
        False,
    ]
