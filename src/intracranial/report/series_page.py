"""The page of one predicted series: probabilities, points and pictures of the best ones."""

from pathlib import Path

import numpy as np

from intracranial.artifacts import atomic_open
from intracranial.inference.fold import Detection
from intracranial.inference.points import APART_MM, Point
from intracranial.inference.run import Predictor
from intracranial.provenance import versions
from intracranial.report.cases import Case, ShownSlice
from intracranial.report.page import case_view, page_environment
from intracranial.report.projections import array_directions, place_in_words, project
from intracranial.sampling.series_info import pixel_mm
from intracranial.task import Task

TEMPLATE = "series.html.jinja"

POINTS_SHOWN = 6
"""Points in the table."""

PICTURES = 3
"""Points that are shown in pictures."""


def write_series_page(path: Path, found: Detection, predictor: Predictor) -> None:
    """Write one page, self-contained like the report: neither network nor script.

    Args:
        path: of the page.
        found: the result with its pixels.
        predictor: that found it.
    """
    task, series = predictor.task, found.series
    ranked = [point for point in found.points if point.rank is not None]
    cases = [case_view(_case(found, point, task)) for point in ranked[:PICTURES]]
    stage1, _ = next(iter(predictor.manifests.values()))
    page = (
        page_environment()
        .get_template(TEMPLATE)
        .render(
            task=task,
            series=series,
            run=predictor.run,
            folds=predictor.folds,
            overall=float(found.probabilities[task.overall_index]),
            probabilities=list(zip(task.labels, found.probabilities.tolist(), strict=True)),
            ranked=ranked[:POINTS_SHOWN],
            count=len(ranked),
            apart=APART_MM,
            cases=cases,
            curve=cases[0]["curve"],
            weights=stage1["model"]["backbone"],
            weights_licence=stage1["weights_licence"],
            versions=versions(),
        )
    )
    with atomic_open(path) as file:
        file.write(page)


def _case(found: Detection, point: Point, task: Task) -> Case:
    series = found.series
    geometry, overall = series.geometry, task.overall_index
    x_mm, y_mm = pixel_mm(geometry, series.volume.shape[-1])
    locations = task.label_of_location()
    top = locations[found.probabilities[locations].argmax()]
    directions = array_directions(geometry)
    image = series.volume[point.index].astype("float32")
    mm = None if point.mm is None else np.array(point.mm)
    place = ""
    if directions is not None and mm is not None:
        place = place_in_words(mm, directions[:, 2])
    shown = ShownSlice(point.index, image, point.cache_xy, place=place)
    return Case(
        uid=series.uid,
        why=f"point {point.rank}, {point.label}: {point.score:.3f} at slice {point.index}",
        modality=series.modality,
        plane=geometry.plane,
        directions=directions,
        truth=None,
        probability=float(found.probabilities[overall]),
        top_location=task.labels[top],
        top_probability=float(found.probabilities[top]),
        slices=(shown,),
        stage2_curve=found.slice_probabilities[:, overall],
        stage1_curve=found.stage1_probabilities[:, overall],
        pixel_spacing=(y_mm, x_mm) if geometry.geometry_known else None,
        projections=project(
            series.volume,
            directions,
            (geometry.spacing[0], y_mm, x_mm),
            (*point.cache_xy, float(point.index)),
            point_mm=mm,
        ),
    )
