"""Small made-up results for the tests of figures and reports."""

from dataclasses import fields, replace

import numpy as np

from intracranial.evaluation.metrics_files import (
    EndToEndMetrics,
    Evaluation,
    FoldScore,
    SelectedTable,
    StageMetrics,
    StageMetricsOfAllFolds,
)
from intracranial.evaluation.tables import evaluate
from intracranial.imaging.geometry import CANONICAL_AXES
from intracranial.report.page import Case, ReportData, ShownSlice
from intracranial.splits.findings import Finding
from intracranial.statistics.crossfit import over_patients
from intracranial.statistics.intervals import Settings, table_with_intervals
from intracranial.statistics.sample import Sample
from intracranial.statistics.spread import spread
from intracranial.statistics.suspects import SuspectsTable
from intracranial.tasks import RSNA_2025


def canonical_directions(plane="axial"):
    """What `array_directions` gives of a canonical series of a plane."""
    return np.stack([sign * np.eye(3)[axis] for axis, sign in CANONICAL_AXES[plane]], axis=1)


def a_case(slice_index=4, image=None, point=(22.0, 25.0), heat=None, **changes):
    """An axial case of 9 slices of 48 x 48 with one labelled centre on the shown slice.

    The first arguments are those of its `ShownSlice`.
    """
    generator = np.random.default_rng(1)
    values = {
        "uid": "1.2.3.4",
        "task": RSNA_2025,
        "why": "false negative: 3 of 20 series without an aneurysm score as high",
        "modality": "MRA",
        "plane": "axial",
        "directions": canonical_directions(),
        "truth": ("Basilar Tip", "Aneurysm Present"),
        "probability": 0.25,
        "top_label": "Basilar Tip",
        "top_probability": 0.2,
        "stage2_curve": np.linspace(0, 1, 9),
        "stage1_curve": np.linspace(1, 0, 9),
        "findings": (Finding("1.2.3.4", 4, 20.0, 24.0, "Basilar Tip"),),
        "pixel_spacing": (4.0, 4.0),
    }
    if image is None:
        image = generator.random((48, 48), dtype=np.float32) * 5
    values["slices"] = (ShownSlice(slice_index, image, point, heat),)
    return Case(**{**values, **changes})


def results(rows=40, seed=0):
    """Targets int (rows, 14), probabilities float (rows, 14) and a modality per row."""
    generator = np.random.default_rng(seed)
    targets = (generator.random((rows, 14)) < 0.15).astype(int)
    targets[:, 13] = targets[:, :13].any(axis=1)
    probabilities = np.clip(generator.normal(0.3 + 0.2 * targets, 0.2), 0, 1)
    return targets, probabilities, ["CTA" if row % 2 else "MRA" for row in range(rows)]


def metrics_of(targets, probabilities, modalities, selected="last"):
    """What an evaluation says of them, with few resamples; stage 1 has the reverse scores."""
    names = np.array([f"1.2.{row}" for row in range(len(targets))])
    sample = Sample(targets, probabilities, names, names, {"modality": np.array(modalities)})
    crossfit = over_patients(sample, targets[:, 13], 0)
    alone, _ = table_with_intervals(
        RSNA_2025, replace(sample, probabilities=1 - probabilities), Settings(0)
    )
    return EndToEndMetrics(
        **vars(evaluate(RSNA_2025, sample, Settings(100), crossfit, selected)),
        stage1_maximum=SelectedTable(**vars(alone), selected_on=selected),
        gain_over_stage1=None,
        localisation=None,
        test_time_augmentation=None,
        suspects=SuspectsTable((), ()),
        rejected=(),
        seen_in_training=(),
    )


def stage_metrics_of(metrics, training=None, gap=None):
    """The same figures as those of one stage."""
    own = {one.name: getattr(metrics, one.name) for one in fields(Evaluation)}
    return StageMetrics(**own, training=training, gap=gap)


def metrics_of_all_folds(metrics, count):
    """The same figures as those of a stage over all folds, each fold with the score of all."""
    own = {one.name: getattr(metrics, one.name) for one in fields(Evaluation)}
    by_fold = {
        str(fold): FoldScore(
            series=metrics.series,
            score=metrics.score,
            overall=None,
            comparable_score=metrics.score.value,
            selected_on=metrics.selected_on,
        )
        for fold in range(count)
    }
    return StageMetricsOfAllFolds(
        **{**own, "split_hash": "s"},
        by_fold=by_fold,
        labels_of_every_fold=RSNA_2025.labels,
        spread=spread([metrics.score.value] * count),
        folds=count,
        partial_folds={},
        seeds=None,
    )


def a_report(**changes):
    """A report of 40 series without cases."""
    targets, probabilities, modalities = results()
    table = metrics_of(targets, probabilities, modalities)
    log = [{"epoch": epoch, "loss": 1 / epoch, "lr": 1e-4} for epoch in (1, 2, 3)]
    values = {
        "title": "Held-out fold 0",
        "run": "demo",
        "fold": "0",
        "task": RSNA_2025,
        "targets": targets,
        "probabilities": probabilities,
        "modalities": modalities,
        "metrics": table,
        "subgroups": table.subgroups,
        "stage1_held_out": table,
        "stage1_training": table,
        "stage1_log": log,
        "stage2_log": log,
        "split_hash": "0123456789abcdef",
        "versions": {"python": "3.11.9"},
        "weights": "resnet18.a1_in1k",
        "weights_licence": "Apache-2.0",
    }
    return ReportData(**{**values, **changes})
