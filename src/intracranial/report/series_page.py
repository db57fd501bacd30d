"""The page of one predicted series: probabilities, points and pictures of the best ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from intracranial.artifacts import atomic_open
from intracranial.inference.fold import Detection
from intracranial.inference.points import APART_MM, Point
from intracranial.inference.run import Predictor
from intracranial.provenance import versions
from intracranial.report.assemble import top_label
from intracranial.report.cases import Case, ShownSlice
from intracranial.report.page import case_view, page_environment
from intracranial.report.projections import array_directions, place_in_words, project
from intracranial.sampling.series_info import pixel_mm
from intracranial.tasks import Task

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
    shown: Sequence[Point | None] = ranked[:PICTURES] or [None]
    cases = [case_view(_case(found, point, task)) for point in shown]
    stage1 = predictor.trained[0].stage1
    page = (
        page_environment()
        .get_template(TEMPLATE)
        .render(
            task=task,
            series=series,
            run=predictor.run,
            folds=predictor.folds,
            overall=float(task.summary(found.probabilities)),
            probabilities=list(zip(task.labels, found.probabilities.tolist(), strict=True)),
            ranked=ranked[:POINTS_SHOWN],
            count=len(ranked),
            apart=APART_MM,
            cases=cases,
            curve=cases[0]["curve"],
            weights=stage1.model.backbone,
            weights_licence=stage1.weights_licence,
            versions=versions(),
        )
    )
    with atomic_open(path) as file:
        file.write(page)


def _case(found: Detection, point: Point | None, task: Task) -> Case:
    """One picture: of a point, or of the most probable slice where there are no points."""
    series = found.series
    geometry, curve = series.geometry, task.summary(found.slice_probabilities)
    x_mm, y_mm = pixel_mm(geometry, series.volume.shape[-1])
    top = top_label(task, found.probabilities)
    directions = array_directions(geometry)
    index = int(curve.argmax()) if point is None else point.index
    image = series.volume[index].astype("float32")
    mm = None if point is None or point.mm is None else np.array(point.mm)
    place = ""
    if directions is not None and mm is not None:
        place = place_in_words(mm, directions[:, 2])
    shown = ShownSlice(index, image, None if point is None else point.cache_xy, place=place)
    why = f"slice {index}, the most probable one: {curve[index]:.3f}"
    if point is not None:
        why = f"point {point.rank}, {point.label}: {point.score:.3f} at slice {index}"
    return Case(
        uid=series.uid,
        task=task,
        why=why,
        modality=series.modality,
        plane=geometry.plane,
        directions=directions,
        truth=None,
        probability=float(task.summary(found.probabilities)),
        top_label=task.labels[top],
        top_probability=float(found.probabilities[top]),
        slices=(shown,),
        stage2_curve=curve,
        stage1_curve=task.summary(found.stage1_probabilities),
        pixel_spacing=(y_mm, x_mm) if geometry.geometry_known else None,
        projections=()
        if point is None
        else project(
            series.volume,
            directions,
            (geometry.spacing[0], y_mm, x_mm),
            (*point.cache_xy, float(point.index)),
            point_mm=mm,
        ),
    )
