"""The report: one HTML page that needs neither network nor script.

The page holds its style and its figures (PNG as data URIs), forbids everything else by a content
security policy, and has no dates in it, so that equal results give equal pages. Of the patient it
shows pixels and SeriesInstanceUIDs only.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from intracranial.artifacts import atomic_open
from intracranial.evaluation.metrics_files import EndToEndMetrics, Evaluation, StageMetrics
from intracranial.metrics import Cell, ScoreTable, ends
from intracranial.metrics import figure as three_decimals
from intracranial.report import plots
from intracranial.report.cases import Case, ShownSlice, select_cases
from intracranial.report.overlays import grey_window, projection_panels, slice_panels
from intracranial.statistics.comparison import Paired
from intracranial.statistics.intervals import LabelWithInterval, TableWithIntervals
from intracranial.tasks import Task

__all__ = ["Case", "ReportData", "ShownSlice", "select_cases", "write_report"]

FIGURE_DPI = 110
"""Pixels per inch: sharp at the size at which the page shows the figures."""

PHOTO_QUALITY = 80
"""JPEG quality of slices: no artefact shows at the size at which the page shows them."""

MAX_CASES = 12
"""Cases that a page takes: each weighs about half a megabyte, and a page stays below 10."""

NO_FIGURE = "\N{EN DASH}"
"""What a table shows where there is no figure."""

TEMPLATE = "report.html.jinja"

TRAIT_NAMES = {
    "modality": "Modality",
    "plane": "Plane",
    "sex": "Sex",
    "age": "Age in years",
    "slice_thickness": "Slice thickness",
    "slice_distance": "Distance between slices",
    "findings": "Number of findings",
}
"""Headings of the subgroups, see `evaluation.subgroups.describe`."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportData:
    """Everything a report shows.

    Attributes:
        title: the page's heading.
        run: name of the run.
        fold: "0", "all", or the folder that was scored.
        other_series: whether a folder of other series was scored, not the held-out ones.
        task: labels, their order and the metric's weight.
        summary: sentences under the heading.
        warnings: sentences in a box, such as "selected on this fold".
        metrics: end-to-end scores; None where no labels were given.
        subgroups: end-to-end scores by trait and its value.
        stage1_held_out: scores of stage 1 at the held-out spots, or None; likewise the next three.
        stage1_training: stage 1 at the training spots.
        stage2_held_out: stage 2 on the held-out series, from stored features.
        stage2_training: stage 2 on the training series.
        targets: (N, L) of 0 and 1 in `task.labels` order, or None where no labels were given.
        probabilities: (N, L) float, end to end.
        modalities: N names.
        stage1_log: rows of the training log: epoch, loss, lr and any "…loss…" or "…auc…" columns.
        stage2_log: likewise.
        fold_pages: of a page over all folds: where the page of each fold lies, relative to it.
        cases: the gallery, at most `MAX_CASES`.
        versions: of Python and packages.
        split_hash: identity of the split; empty where there is none.
        weights: name of the pretrained weights that training began from.
        weights_licence: their licence.
    """

    title: str
    run: str
    fold: str
    task: Task
    targets: np.ndarray | None
    probabilities: np.ndarray
    modalities: Sequence[str]
    summary: Sequence[str] = ()
    warnings: Sequence[str] = ()
    other_series: bool = False
    metrics: EndToEndMetrics | None = None
    subgroups: Mapping[str, Mapping[str, TableWithIntervals]] = field(default_factory=dict)
    stage1_held_out: Evaluation | None = None
    stage1_training: ScoreTable | None = None
    stage2_held_out: Evaluation | None = None
    stage2_training: ScoreTable | None = None
    stage1_log: Sequence[Mapping[str, Any]] = ()
    stage2_log: Sequence[Mapping[str, Any]] = ()
    fold_pages: Mapping[str, str] = field(default_factory=dict)
    cases: Sequence[Case] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    split_hash: str = ""
    weights: str = ""
    weights_licence: str = ""


def write_report(path: Path, data: ReportData) -> None:
    """Write the page atomically; equal data gives equal bytes on the same machine.

    Raises:
        ValueError: more than `MAX_CASES` cases, or rows that do not belong together.
    """
    if len(data.cases) > MAX_CASES:
        raise ValueError(f"{len(data.cases)} cases; a report shows at most {MAX_CASES}")
    rows = len(data.probabilities)
    if len(data.modalities) != rows or (data.targets is not None and len(data.targets) != rows):
        raise ValueError(f"{rows} rows of probabilities need as many modalities and targets")
    page = render(data)
    with atomic_open(path) as file:
        file.write(page)


def page_environment() -> jinja2.Environment:
    """The environment of every page: templates of this folder, escaped, nothing undefined."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(data: ReportData) -> str:
    """The page as text."""
    environment = page_environment()
    environment.filters["score"] = _score
    environment.filters["number"] = three_decimals
    environment.filters["ends"] = ends
    environment.filters["span"] = _span
    environment.filters["listed"] = _listed
    environment.filters["sentence"] = _sentence
    environment.filters["signed"] = _signed_value
    environment.filters["signed_ends"] = _signed_ends
    return environment.get_template(TEMPLATE).render(
        data=data,
        series=len(data.probabilities),
        stages=_stages(data),
        gains=_gains(data),
        figures=_figures(data),
        trait_names=TRAIT_NAMES,
        cases=[case_view(case) for case in data.cases],
    )


def _sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def _score(cell: Cell | None) -> str:
    """A score cell with three decimals, or a dash."""
    return NO_FIGURE if cell is None or cell.value is None else three_decimals(cell.value)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _signed_value(cell: Cell | None) -> str:
    """The value of a difference with its sign, or a dash."""
    return NO_FIGURE if cell is None or cell.value is None else _signed(cell.value)


def _signed_ends(cell: Cell | None) -> str:
    """The interval of a difference, or nothing."""
    if cell is None or cell.low is None or cell.high is None:
        return ""
    return f"{_signed(cell.low)} to {_signed(cell.high)}"


def _span(score: Cell, reason: str | None = None) -> str:
    """The interval of a cell, or in a few words why there is none.

    Args:
        score: the cell; those of labels bring their own reason.
        reason: why a cell that has no reason of its own has no interval.
    """
    own = score.no_interval if isinstance(score, LabelWithInterval) else None
    why = own or reason or ""
    return ends(score) or ("too few patients" if why.startswith("fewer than") else why)


def _listed(names: Sequence[str], task: Task) -> str:
    """Labels in words; all of them, or all locations, are not listed one by one."""
    if len(names) == len(task.labels):
        return "every label"
    if task.others and set(names) == set(task.others):
        return f"every one of the {task.others_noun}"
    return ", ".join(names)


def _stages(data: ReportData) -> list[dict[str, Any]]:
    """Rows of the table of stages, without stages that have no score at all.

    `scores` holds training, held-out and gap cells (None where there is none) of the score and of
    the overall label.
    """
    whose = "other" if data.other_series else "held-out"
    rows: tuple[tuple[str, str, str, str, ScoreTable | None, ScoreTable | None], ...] = (
        (
            "Stage 1",
            "one stack of slices",
            "held-out",
            "spots",
            data.stage1_training,
            data.stage1_held_out,
        ),
        (
            "Stage 2",
            "stored features of a series",
            "held-out",
            "series",
            data.stage2_training,
            data.stage2_held_out,
        ),
        (
            "Stage 1, maximum",
            "DICOM folder of a series, its highest slice",
            whose,
            "series",
            None,
            data.metrics and data.metrics.stage1_maximum,
        ),
        ("End to end", "DICOM folder of a series", whose, "series", None, data.metrics),
    )
    return [
        {
            "name": name,
            "input": seen,
            "whose": one,
            "unit": unit,
            "training": training,
            "held_out": held_out,
            "scores": _stage_scores(data.task, training, held_out),
        }
        for name, seen, one, unit, training, held_out in rows
        if training or held_out
    ]


def _stage_scores(
    task: Task, training: ScoreTable | None, held_out: ScoreTable | None
) -> list[tuple[Cell | None, ...]]:
    """Cells of training, held-out and gap: of the score and, if there is one, the overall label."""
    gap = held_out.gap if isinstance(held_out, StageMetrics) else None
    gaps: Mapping[str, Cell] = {} if gap is None else gap.figures
    pair = (training, held_out)
    cells: list[tuple[Cell | None, ...]] = [
        (*(None if one is None else one.score for one in pair), gaps.get("score"))
    ]
    if task.overall is not None:
        overall = [None if one is None else one.per_label[task.overall] for one in pair]
        cells.append((*overall, gaps.get(task.overall)))
    return cells


def _gains(data: ReportData) -> list[dict[str, Any]]:
    """Stage 1's maximum and both stages on the same series, with their paired difference."""
    both = data.metrics
    if both is None or both.gain_over_stage1 is None:
        return []
    task, alone, gain = data.task, both.stage1_maximum, both.gain_over_stage1
    rows: list[tuple[str, Cell | None, Cell | None, Paired | None]] = [
        (task.score_name, alone.score, both.score, gain.score)
    ]
    if both.others_mean is not None:
        rows.append((task.others_name, alone.others_mean, both.others_mean, gain.others_mean))
    for label in [task.overall] if task.overall is not None else task.labels:
        if len(task.labels) > 1:
            of_label = (alone.per_label[label], both.per_label[label], gain.per_label[label])
            rows.append((f"{task.value_name}, {label}", *of_label))
    return [
        {"name": name, "alone": first, "both": second, "gain": gain.difference, "p": gain.p}
        for name, first, second, gain in rows
        if gain is not None
    ]


def _figures(data: ReportData) -> dict[str, str | None]:
    """Data URIs of the figures, None for those that cannot be drawn."""
    logs = {"Stage 1": data.stage1_log, "Stage 2": data.stage2_log}
    of_scores = ("roc", "roc_locations", "precision_recall", "reliability")
    drawn: dict[str, Figure | None] = dict.fromkeys(of_scores)
    drawn["learning"] = plots.learning_curves(logs)
    where = None if data.metrics is None else data.metrics.localisation
    drawn["froc"] = plots.froc(where.froc) if where and where.froc else None
    if data.targets is not None and data.metrics is not None and len(data.targets):
        scored = (data.task, data.targets, data.probabilities)
        if data.task.overall is not None:
            drawn["roc"] = plots.roc_overall(*scored, data.modalities)
        if data.task.others:
            drawn["roc_locations"] = plots.roc_locations(*scored, data.metrics)
            drawn["precision_recall"] = plots.precision_recall_locations(*scored, data.metrics)
        drawn["reliability"] = plots.reliability(data.task, data.metrics.calibration)
    return {name: data_uri(figure) if figure else None for name, figure in drawn.items()}


def case_view(case: Case) -> dict[str, Any]:
    """What the template shows of one case."""
    legend = []
    if any(shown.point is not None for shown in case.slices):
        legend.append("orange cross: predicted point")
    if case.findings:
        legend.append("blue circle: labelled centre, dotted where it is on another slice")
    if any(shown.heat is not None for shown in case.slices):
        legend.append("heat map: stage 1's probability of the finding there, yellow at its maximum")
    if case.projections:
        slab = f"a slab round the point of slice {case.slices[0].index}"
        projected = slab if case.geometry_known else "the whole series"
        legend.append(f"MIP: maximum-intensity projection of {projected}")
    low, high = grey_window(case.slices[0].image)
    legend.append(
        f"grey scale of slice {case.slices[0].index}: cached values {low:.1f} to {high:.1f}, "
        "of 0 to 5"
    )
    if case.slices[0].place:
        legend.append("L or R, P or A, S or I and mm: the patient's coordinate, the scanner's zero")
    if not case.geometry_known:
        legend.append("geometry not known: left and right may be exchanged, so no side is marked")
    return {
        "case": case,
        "slices": len(case.stage2_curve),
        "findings": sorted(case.findings, key=lambda found: (found.index, found.location)),
        "legend": _sentence("; ".join(legend)),
        "why": _sentence(case.why),
        "panels": [
            {"index": shown.index, "image": photo_uri(slice_panels(case, shown))}
            for shown in case.slices
        ],
        "projections": photo_uri(projection_panels(case)) if case.projections else None,
        "curve": data_uri(plots.slice_curve(case)),
    }


def data_uri(figure: Figure) -> str:
    """A figure as a PNG data URI.

    Reduced to 256 colours: figures are grey images with a few coloured lines, and the page
    shrinks to a third.
    """
    small = io.BytesIO()
    image = _drawn(figure).quantize(256, dither=Image.Dither.NONE)
    image.save(small, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode("ascii")


def photo_uri(figure: Figure) -> str:
    """A figure of slices as a JPEG data URI: a quarter of a PNG's size.

    Without chroma subsampling, which would blur the coloured marks.
    """
    small = io.BytesIO()
    _drawn(figure).save(small, format="JPEG", quality=PHOTO_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(small.getvalue()).decode("ascii")


def _drawn(figure: Figure) -> Image.Image:
    """The figure's pixels in RGB."""
    figure.set_dpi(FIGURE_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
