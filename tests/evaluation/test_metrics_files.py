"""A metrics file is read as it was written, and what does not fit is named with its key."""

from dataclasses import replace

import numpy as np
import pytest

from intracranial.artifacts import ALL_FOLDS, FoldPaths, write_json
from intracranial.errors import InputError
from intracranial.evaluation.metrics_files import (
    EndToEndMetrics,
    Gap,
    UnlabelledMetrics,
    read_end_to_end_metrics,
    read_metrics_of_all_folds,
    read_stage_metrics,
)
from intracranial.jsonable import to_json
from intracranial.metrics import Cell
from intracranial.provenance import MANIFEST_KEYS, Request, write_manifest
from intracranial.statistics.intervals import Settings, table_with_intervals
from intracranial.statistics.sample import Sample
from intracranial.tasks import RSNA_2025
from tests.evaluation.samples import (
    metrics_of,
    metrics_of_all_folds,
    results,
    stage_metrics_of,
)
from tests.schema import assert_documented
from tests.tiny_runs import Place, read


def write(path, metrics, kind="stage2_metrics"):
    write_manifest(path, Request(kind, {}, {}), complete=True, content=to_json(metrics))


@pytest.fixture(scope="module")
def metrics():
    return metrics_of(*results(60))


@pytest.fixture
def paths(tmp_path):
    return FoldPaths(tmp_path, "a", 0)


def test_the_files_of_a_run_are_read_as_they_were_written(tiny: Place):
    for stage in ("stage1", "stage2", "end_to_end"):
        path = tiny.fold().metrics(stage)
        both = stage == "end_to_end"
        found = read_end_to_end_metrics(path) if both else read_stage_metrics(path, stage)
        content = read(path)
        assert to_json(found) == {k: one for k, one in content.items() if k not in MANIFEST_KEYS}


def test_a_gap_and_the_label_of_a_log_loss_keep_their_keys(paths, metrics):
    gap = Gap(labels=RSNA_2025.labels, figures={"score": Cell(0.1, None, None)})
    label = replace(metrics.per_label["Basilar Tip"], ratio_to_prior=None, auc=Cell(0.5, 0.4, 0.6))
    stage = stage_metrics_of(replace(metrics, per_label={"Basilar Tip": label}), gap=gap)
    write(paths.metrics("stage2"), replace(stage, split_hash="s"))
    content = read(paths.metrics("stage2"))
    assert set(content["gap"]) == {"score", "labels"}
    assert content["per_label"]["Basilar Tip"]["ratio_to_prior"] is None
    assert "ratio_to_prior" not in content and "seen_in_training" not in content
    assert_documented(content, "stage_metrics")
    assert read_stage_metrics(paths.metrics("stage2"), "stage2") == replace(stage, split_hash="s")


def test_a_trial_says_why_it_is_one(paths, metrics):
    request = Request("stage2_metrics", {}, {}, "--limit 12")
    content = to_json(stage_metrics_of(metrics))
    write_manifest(paths.metrics("stage2"), request, complete=True, content=content)
    assert read_stage_metrics(paths.metrics("stage2"), "stage2").partial == "--limit 12"


def test_series_without_labels_have_a_file_without_figures(paths, metrics):
    unlabelled = UnlabelledMetrics(
        selected_on="last",
        series=3,
        score=Cell(None, None, None),
        per_label={},
        left_out=(),
        rejected=(),
        seen_in_training=None,
    )
    path = paths.metrics("end_to_end")
    for found in (unlabelled, metrics):
        write(path, found, "end_to_end_metrics")
        assert read_end_to_end_metrics(path) == found
    write(path, unlabelled, "end_to_end_metrics")
    assert_documented(read(path), "unlabelled_metrics")


def test_the_table_over_all_folds_is_read_as_it_was_written(tmp_path, metrics):
    path = FoldPaths(tmp_path, "a", ALL_FOLDS).metrics("stage1")
    table = metrics_of_all_folds(metrics, count=3)
    write_json(path, to_json(table))
    assert_documented(read(path), "stage_metrics_of_all_folds")
    assert read_metrics_of_all_folds(path, "stage1") == table
    write_json(path, {**to_json(table), "folds": "3"})
    with pytest.raises(
        InputError, match=r"`folds` is '3', not a whole number.*eval_stage1\.py --fold all$"
    ):
        read_metrics_of_all_folds(path, "stage1")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.update(gap=0.1), r"`gap` is 0\.1, not an object"),
        (lambda found: found["score"].update(value="x"), r"`score\.value` is 'x', not a finite"),
        (lambda found: found["score"].pop("low"), "`score` lacks 'low'"),
        (
            lambda found: found["per_label"]["Basilar Tip"].update(positives=1.5),
            r"`per_label\.Basilar Tip\.positives` is 1\.5, not a whole number",
        ),
        (
            lambda found: found["subgroups"]["modality"]["CTA"].update(colour=1),
            r"`subgroups\.modality\.CTA` has 'colour' \(1\), which this version does not know",
        ),
        (
            lambda found: (
                found["calibration"]["per_label"]["Aneurysm Present"]["after"]["bins"]
                .__getitem__(0)
                .update(rows=None)
            ),
            r"`calibration\.per_label\.Aneurysm Present\.after\.bins\[0\]\.rows` is None",
        ),
        (lambda found: found.update(metric="accuracy"), "`metric` is 'accuracy', not one of"),
        (lambda found: found.pop("per_label"), r"stage2_metrics\.json: lacks 'per_label'"),
        (lambda found: found.update(extra=1), r"stage2_metrics\.json: has 'extra' \(1\)"),
    ],
)
def test_what_does_not_fit_is_named_with_file_key_value_and_script(paths, change, words):
    content = to_json(stage_metrics_of(metrics_of(*results(200))))
    change(content)
    path = paths.metrics("stage2")
    write_manifest(path, Request("stage2_metrics", {}, {}), complete=True, content=content)
    with pytest.raises(InputError, match=words) as caught:
        read_stage_metrics(path, "stage2")
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("eval_stage2.py --overwrite")


def test_the_further_figures_are_absent_where_they_were_not_asked_for():
    targets, probabilities, _ = results()
    names = np.array([f"1.2.{row}" for row in range(len(targets))])
    sample = Sample(targets, probabilities, names, names)
    plain, _ = table_with_intervals(RSNA_2025, sample, Settings(0))
    label = to_json(plain.per_label["Aneurysm Present"])
    assert label["delong"] is None and not {"auc", "sensitivity"} & set(label)


def test_the_scores_of_both_stages_are_told_from_those_of_one(paths, metrics):
    assert isinstance(metrics, EndToEndMetrics)
    write(paths.metrics("end_to_end"), metrics, "stage2_metrics")
    with pytest.raises(InputError, match="is not a end_to_end_metrics manifest"):
        read_end_to_end_metrics(paths.metrics("end_to_end"))
