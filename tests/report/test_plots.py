"""Figures of numbers: what they draw and what they say when there is nothing to draw."""

import warnings

import numpy as np
import pytest

from intracranial.metrics import score_table
from intracranial.report.plots import (
    learning_curves,
    precision_recall_locations,
    reliability,
    roc_locations,
    roc_overall,
    slice_curve,
)
from intracranial.tasks import RSNA_2025
from tests.evaluation.samples import a_case, metrics_of, results


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def words(axes):
    return [text.get_text() for text in axes.texts]


def name_of(axes):
    """The location of a small panel: its title without the last line, which is a figure."""
    return axes.get_title().rpartition("\n")[0].replace("\n", " ")


def labels(axes):
    return [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]


def test_left_locations_stand_above_their_right_partners():
    targets, probabilities, _ = results()
    targets[0], targets[1] = 0, 1
    table = score_table(RSNA_2025, targets, probabilities)
    figure = roc_locations(RSNA_2025, targets, probabilities, table)
    titles = [name_of(axes) for axes in figure.axes]
    assert len(titles) == 13
    for left, right in zip(titles[:5], titles[5:10], strict=True):
        assert left.replace("Left", "Right") == right


def test_every_panel_shows_the_auc_of_the_score_table_on_axes_from_0_to_1():
    targets, probabilities, _ = results(rows=200)
    table = score_table(RSNA_2025, targets, probabilities)
    for axes in roc_locations(RSNA_2025, targets, probabilities, table).axes:
        score = table.per_label[name_of(axes)]
        figures = f"AUC {score.value:.3f}, {score.positives} of 200"
        assert axes.get_title().endswith(f"\n{figures}") and not words(axes)
        assert axes.get_xlim() == axes.get_ylim() == (-0.02, 1.02)


@pytest.mark.parametrize(("only", "word"), [(0, "positive"), (1, "negative")])
def test_a_location_of_one_class_says_why_it_has_no_curve(only, word):
    targets, probabilities, _ = results()
    targets[:, 11] = only
    table = score_table(RSNA_2025, targets, probabilities)
    figure = roc_locations(RSNA_2025, targets, probabilities, table)
    (axes,) = (axes for axes in figure.axes if axes.get_title() == "Basilar Tip")
    assert words(axes) == [f"left out:\nno {word} series"]
    assert not axes.lines


def test_the_area_under_each_precision_recall_curve_is_the_average_precision():
    targets, probabilities, modalities = results(rows=200)
    targets[:, 11] = 0
    table = metrics_of(targets, probabilities, modalities)
    panels = precision_recall_locations(RSNA_2025, targets, probabilities, table).axes
    assert len(panels) == 13
    for axes in panels:
        if axes.get_title() == "Basilar Tip":
            assert words(axes) == ["left out:\nno positive series"] and not axes.lines
            continue
        score = table.per_label[name_of(axes)].average_precision.value
        recall, precision = axes.lines[0].get_data()
        assert (np.diff(recall) > 0).all() and (recall[0], recall[-1]) == (0, 1)
        assert np.sum(np.diff(recall) * np.array(precision)[1:]) == pytest.approx(score)
        assert axes.get_title().endswith(f"\nAP {score:.3f}")


def test_a_reliability_diagram_shows_the_bins_of_every_label_that_was_corrected():
    targets, probabilities, modalities = results(rows=200)
    table = metrics_of(targets, probabilities, modalities).calibration
    figure = reliability(RSNA_2025, table)
    names = [axes.get_title().partition("\nerror")[0].replace("\n", " ") for axes in figure.axes]
    assert names == [name for name in reversed(RSNA_2025.labels) if name not in table.uncalibrated]
    for axes, name in zip(figure.axes, names, strict=True):
        after = table.per_label[name].after
        assert axes.lines[2].get_ydata().tolist() == [one.observed for one in after.bins]
        assert f"error after {after.error.value:.3f}" in axes.get_title()
        top = axes.get_xlim()[1]
        assert all(max(line.get_ydata()) <= max(top, 1) for line in axes.lines)
    figure.canvas.draw()


def test_there_is_no_reliability_diagram_where_nothing_was_corrected():
    targets, probabilities, modalities = results(rows=8)
    assert (
        reliability(RSNA_2025, metrics_of(targets, probabilities, modalities).calibration) is None
    )


def test_the_large_roc_has_a_curve_for_each_modality_with_enough_series():
    targets, probabilities, _ = results(rows=60)
    targets[:, 13] = np.arange(60) % 2
    names = ["CTA"] * 28 + ["MRA"] * 28 + ["MRI T2"] * 4
    figure = roc_overall(RSNA_2025, targets, probabilities, names)
    assert labels(figure.axes[0]) == ["CTA (28)", "MRA (28)", "all (60 series)"]


def test_a_modality_name_is_never_read_as_a_formula():
    targets, probabilities, _ = results(rows=60)
    targets[:, 13] = np.arange(60) % 2
    figure = roc_overall(RSNA_2025, targets, probabilities, [r"$\nonsense$"] * 60)
    figure.canvas.draw()


def test_the_large_roc_of_one_class_says_so():
    targets, probabilities, names = results()
    targets[:, 13] = 1
    figure = roc_overall(RSNA_2025, targets, probabilities, names)
    assert words(figure.axes[0]) == ["left out:\nno negative series"]


def test_learning_curves_show_loss_and_rate_of_both_stages():
    log = [{"epoch": 1, "loss": 0.5, "lr": 1e-5}, {"epoch": 2, "loss": 0.4, "lr": 1e-5}]
    figure = learning_curves({"Stage 1": log, "Stage 2": log})
    assert [axes.get_title() for axes in figure.axes] == [
        "Stage 1: loss",
        "Stage 1: learning rate",
        "Stage 2: loss",
        "Stage 2: learning rate",
    ]


def test_held_out_columns_are_drawn_where_they_were_logged():
    log = [
        {"epoch": "1", "loss": "0.5", "lr": "1e-05", "held_out_loss": "", "held_out_auc": ""},
        {"epoch": "2", "loss": "0.4", "lr": "1e-05", "held_out_loss": "0.6", "held_out_auc": "0.7"},
    ]
    loss, _, score = learning_curves({"Stage 1": log}).axes
    assert labels(loss) == ["training", "held out loss"]
    assert loss.lines[1].get_xydata().tolist() == [[2.0, 0.6]]
    assert labels(score) == ["held out AUC"]
    assert score.get_ylim() == (0, 1)


def test_without_logs_there_are_no_learning_curves():
    assert learning_curves({"Stage 1": [], "Stage 2": ()}) is None


def test_a_log_without_the_known_columns_is_drawn_empty():
    figure = learning_curves({"Stage 1": [{"seconds": 3}, {"seconds": 4}]})
    assert not np.concatenate([line.get_xdata() for line in figure.axes[0].lines]).size


def test_the_slice_curve_marks_labelled_centres_and_the_shown_slice():
    (axes,) = slice_curve(a_case()).axes
    assert set(labels(axes)) == {"stage 1", "stage 2", "shown slice", "labelled aneurysm"}
    (marks,) = (line for line in axes.lines if line.get_label() == "labelled aneurysm")
    assert list(marks.get_xdata()) == [4]
    assert marks.get_marker() == "v"
    assert axes.get_ylim() == (0, 1)
    assert axes.get_xlabel() == "slice, inferior to superior"


@pytest.mark.parametrize(
    ("truth", "title"),
    [
        ((), "no aneurysm labelled"),
        (None, "no labels given"),
        (("Basilar Tip", "Aneurysm Present"), "labelled, but without a centre"),
    ],
)
def test_the_slice_curve_says_why_no_centre_is_marked(truth, title):
    (axes,) = slice_curve(a_case(truth=truth, findings=())).axes
    assert axes.get_title() == title
    assert "labelled aneurysm" not in labels(axes)


def test_the_slice_axis_has_no_direction_when_the_geometry_is_not_known():
    (axes,) = slice_curve(a_case(directions=None)).axes
    assert axes.get_xlabel() == "slice"


def test_a_series_of_one_slice_is_drawn_as_a_point():
    case = a_case(stage2_curve=np.array([0.3]), stage1_curve=None, findings=(), slice_index=0)
    assert slice_curve(case).axes[0].lines[0].get_marker() == "o"
