"""Over all folds the points are judged at thresholds from the other folds."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from intracranial.artifacts import ALL_FOLDS, ScoredFolderPaths, write_csv
from intracranial.evaluation.all_folds import summarise_folds
from intracranial.evaluation.points import POINT_COLUMNS
from intracranial.evaluation.predictions import GROUP_COLUMN, prediction_rows
from intracranial.evaluation.views import Views, write_views
from intracranial.inference.views import PLAIN_NAME
from intracranial.options.evaluation import EvaluationOptions
from intracranial.splits.split_files import load_split
from intracranial.splits.spots import POSITIVE
from intracranial.tasks import RSNA_2025, SERIES_COLUMN
from tests.challenge import LABELS
from tests.tiny_runs import Place, edit, read

OFF_MM = 3.0
"""Every made-up point lies this far from its aneurysm."""


def all_folds(place: Place) -> EvaluationOptions:
    """Options to score all folds of the tiny run with few resamples."""
    return EvaluationOptions(
        data_dir=place.data.root,
        model_dir=place.model_dir,
        run="tiny",
        fold=ALL_FOLDS,
        resamples=200,
    )


def write_fold(place: Place, split, fold: int) -> None:
    """Predictions that tell positives from negatives, and points beside the aneurysms."""
    paths = place.fold(fold)
    paths.root.mkdir(exist_ok=True)
    if fold:
        shutil.copy(place.fold(0).metrics("end_to_end"), paths.metrics("end_to_end"))
    uids = split.held_out(fold)
    truth = split.series.loc[uids, list(LABELS)].to_numpy()
    rng = np.random.default_rng(fold)
    probabilities = 0.5 * truth + rng.uniform(0, 0.4, truth.shape)
    groups = split.series.loc[uids, "group"]
    keys = [{SERIES_COLUMN: uid, GROUP_COLUMN: groups[uid]} for uid in uids]
    write_csv(
        paths.predictions("end_to_end"), *prediction_rows(RSNA_2025, keys, truth, probabilities)
    )
    spots = split.spots[split.spots["kind"] == POSITIVE].set_index(SERIES_COLUMN)
    rows = []
    for uid in uids:
        x, y, z = spots.loc[uid, ["x_mm", "y_mm", "z_mm"]] if uid in spots.index else (0, 0, 0)
        place_mm = {"x_mm": x + OFF_MM, "y_mm": y, "z_mm": z}
        row = {SERIES_COLUMN: uid, "score": 0.9 if uid in spots.index else 0.1, **place_mm}
        rows += [{**row, "location": name, "rank": None} for name in RSNA_2025.locations]
        rows.insert(-13, {**row, "location": RSNA_2025.overall, "rank": 1})
    write_csv(ScoredFolderPaths(paths.root).points, POINT_COLUMNS, rows)
    by_view = [{PLAIN_NAME: row[None]} for row in probabilities]
    views = Views(probabilities, by_view, (), (1,))
    write_views(ScoredFolderPaths(paths.root).views, RSNA_2025, uids, views)


def leave_one_out(path: Path) -> list[str]:
    """Take a location out of a metrics file, as of one class; the labels that are left."""
    metrics = read(path)
    first, *others = (name for name in LABELS if name not in metrics["left_out"])
    metrics["per_label"][first]["value"] = None
    edit(
        path,
        left_out=[*metrics["left_out"], first],
        per_label=metrics["per_label"],
        score={"value": 0.0, "low": None, "high": None},
    )
    return others


def test_the_table_over_all_folds_judges_the_points_of_each(tiny_copy: Place):
    split = load_split(tiny_copy.data, None)
    for fold in range(split.folds):
        write_fold(tiny_copy, split, fold)
    labels = leave_one_out(tiny_copy.fold(1).metrics("end_to_end"))
    summarise_folds(all_folds(tiny_copy), split, "end_to_end", RSNA_2025)
    table = read(tiny_copy.fold(ALL_FOLDS).metrics("end_to_end"))
    assert table["labels_of_every_fold"] == labels
    # the metrics of the other folds are copies of fold 0's
    (value,) = {row["comparable_score"] for row in table["by_fold"].values()}
    assert table["spread"]["mean"] == pytest.approx(value)
    assert table["by_fold"]["1"]["score"]["value"] == 0.0
    found = table["localisation"]
    assert found["threshold_from"] == "out-of-fold predictions of the other folds"
    assert found["judged"] == int((split.series["localized"] == 1).sum())
    assert found["true_positives"]["left_out"] == [RSNA_2025.overall]  # too few to fix one on
    assert found["froc"]["sensitivity"]["0.125"]["value"] == 1.0
