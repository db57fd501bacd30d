"""The README's figures, drawn from what a run left on disk.

Each function takes arrays and returns a matplotlib `Figure` of 10 inches' width; pictures are
cached pixels (0..5) with the letters of their sides.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from intracranial.report.overlays import mark_sides, show_slice
from intracranial.report.plots import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION
from intracranial.report.projections import slice_letters
from intracranial.tasks import Task

WIDTH_INCHES = 10.0
FONT = 10


@dataclass(frozen=True, eq=False)
class Example:
    """One series and what the run made of it.

    `directions` as `array_directions` gives them; `volume` float32 (n, S, S) as cached; `positive`
    slice, `point` (x, y) and `location` of its labelled finding; `negatives` slices that may be
    negatives; `radius` of the exclusion zone; `stack` float32 (k, s, s) network input plus mean,
    its slices, `step` apart, in their first window; `mirrored` the same flipped, `target` float32
    (h, h) heat map of the location; `input_point` (x, y) in input pixels; `heatmap` float32 (h, h)
    predicted for the overall label; `slice_labels` float (L,) stage 1's probabilities;
    `stage1_curve`, `stage2_curve` float (n,); `features` float (n, C); `series` float (L,) stage
    2's probabilities.
    """

    uid: str
    directions: np.ndarray | None
    volume: np.ndarray
    positive: int
    point: tuple[float, float]
    location: str
    mirrored_location: str
    negatives: np.ndarray
    radius: int
    step: int
    stack: np.ndarray
    mirrored: np.ndarray
    target: np.ndarray
    input_point: tuple[float, float]
    heatmap: np.ndarray
    slice_labels: np.ndarray
    stage1_curve: np.ndarray
    stage2_curve: np.ndarray
    features: np.ndarray
    series: np.ndarray

    @property
    def middle(self) -> int:
        """Position of the stack's own slice in it."""
        return len(self.stack) // 2


def sampling_figure(example: Example, task: Task) -> Figure:
    """Which slices are spots, and what one training sample looks like."""
    figure = Figure(figsize=(WIDTH_INCHES, 4.7), facecolor="white", layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.0, 1.5))
    top, bottom = halves
    axes = top.subplots()
    n = len(example.volume)
    axes.axvspan(
        max(example.positive - example.radius, 0) - 0.5,
        min(example.positive + example.radius, n - 1) + 0.5,
        color=ORANGE,
        alpha=0.25,
        label="no negatives here",
    )
    axes.plot(
        example.negatives,
        np.zeros(len(example.negatives)),
        "s",
        color=BLUE,
        label="may be negative",
    )
    axes.plot(
        [example.positive],
        [0],
        "*",
        color=VERMILLION,
        markersize=17,
        label=f"labelled {task.finding}",
    )
    axes.set_xlim(-1, n)
    axes.set_ylim(-1, 2.2)
    axes.set_yticks([])
    axes.set_xlabel("slice", fontsize=FONT)
    axes.set_title("One series: the slices of which stage 1 learns", fontsize=FONT + 1)
    axes.legend(ncols=3, loc="upper left", fontsize=FONT - 1, frameon=False)
    slices, middle = len(example.stack), example.middle
    panels = bottom.subplots(1, slices + 2)
    for number, (axis, image) in enumerate(zip(panels[:slices], example.stack, strict=True)):
        away = (number - middle) * example.step
        name = f"slice t{away:+d}" if away else "slice t"
        _picture(axis, image, f"{name} (channel)", example.directions)
    _ring(panels[middle], example.input_point)
    edge = example.stack.shape[-1]
    _picture(
        panels[slices],
        example.mirrored[middle],
        f"flipped: label becomes\n{task.short_name(example.mirrored_location)}",
        example.directions,
    )
    _ring(panels[slices], (edge - 1 - example.input_point[0], example.input_point[1]))
    shown = panels[slices + 1]
    _picture(shown, example.stack[middle], "heat-map target\n(Gaussian in mm)", example.directions)
    _heat(shown, example.target, edge)
    return figure


def stage1_figure(example: Example, task: Task) -> Figure:
    """The slice classifier with a real stack, its heat map and its probabilities."""
    figure = Figure(figsize=(WIDTH_INCHES, 4.6), facecolor="white")
    picture = figure.add_axes((0.01, 0.25, 0.2, 0.5))
    middle, slices = example.stack[example.middle], len(example.stack)
    _picture(picture, middle, f"stack of {slices} slices", example.directions)
    _ring(picture, example.input_point)
    canvas = _canvas(figure)
    _box(canvas, 0.24, 0.38, 0.12, 0.24, "encoder\n(timm)\nstrides\n8, 16, 32", SKY)
    _box(canvas, 0.41, 0.68, 0.14, 0.14, "pooled feature\n+ linear", SKY)
    _box(canvas, 0.41, 0.18, 0.14, 0.14, "merge maps\nat stride 8", SKY)
    _arrow(canvas, (0.21, 0.5), (0.24, 0.5))
    _arrow(canvas, (0.36, 0.55), (0.41, 0.72))
    _arrow(canvas, (0.36, 0.45), (0.41, 0.28))
    _arrow(canvas, (0.55, 0.75), (0.585, 0.75))
    _arrow(canvas, (0.55, 0.25), (0.61, 0.25))
    bars = figure.add_axes((0.74, 0.50, 0.24, 0.43))
    _bars(bars, example.slice_labels, task, (example.location, str(task.overall)))
    heat = figure.add_axes((0.62, 0.04, 0.2, 0.4))
    _picture(heat, middle, "", example.directions)
    _heat(heat, example.heatmap, example.stack.shape[-1])
    _ring(heat, example.input_point)
    canvas.text(
        0.84, 0.25, "predicted heat map,\nlabelled centre circled", fontsize=FONT, va="center"
    )
    return figure


def stage2_figure(example: Example, task: Task) -> Figure:
    """The sequence classifier with a real series."""
    figure = Figure(figsize=(WIDTH_INCHES, 4.8), facecolor="white")
    matrix = figure.add_axes((0.06, 0.56, 0.27, 0.34))
    values = example.features - example.features.mean(axis=0)
    values /= values.std(axis=0) + 1e-6
    matrix.imshow(values.T, aspect="auto", cmap="RdBu_r", vmin=-3, vmax=3, interpolation="nearest")
    matrix.set_title("stage 1 of every slice (n x C)", fontsize=FONT)
    matrix.set_yticks([])
    matrix.set_xlabel("slice", fontsize=FONT - 1)
    canvas = _canvas(figure)
    _box(canvas, 0.38, 0.62, 0.13, 0.22, "projection\n+ position\nin mm", SKY)
    _box(canvas, 0.55, 0.62, 0.13, 0.22, "transformer\nlayers", SKY)
    _arrow(canvas, (0.335, 0.73), (0.38, 0.73))
    _arrow(canvas, (0.51, 0.73), (0.55, 0.73))
    _arrow(
        canvas,
        (0.68, 0.78),
        (0.715, 0.78),
    )
    _arrow(canvas, (0.615, 0.62), (0.615, 0.475))
    canvas.text(0.685, 0.90, "CLS + pooled slices", fontsize=FONT - 1, color=GREY, ha="center")
    canvas.text(0.625, 0.55, "per-slice head", fontsize=FONT - 1, color=GREY)
    bars = figure.add_axes((0.855, 0.50, 0.12, 0.43))
    _bars(bars, example.series, task, (example.location, str(task.overall)))
    curve = figure.add_axes((0.06, 0.1, 0.9, 0.3))
    curve.plot(example.stage1_curve, color=GREY, linewidth=1.2, label="stage 1, classifier")
    curve.plot(example.stage2_curve, color=BLUE, linewidth=2, label="stage 2, per slice")
    curve.plot(
        [example.positive] * 2,
        [0, 1],
        color=VERMILLION,
        linestyle="--",
        label=f"labelled {task.finding}",
    )
    curve.set_ylim(0, 1.35)
    curve.set_yticks([0, 0.5, 1])
    curve.set_xlabel("slice", fontsize=FONT)
    curve.set_ylabel("probability", fontsize=FONT)
    curve.legend(fontsize=FONT - 1, frameon=False, loc="upper left", ncols=3)
    return figure


def _picture(axes: Axes, image: np.ndarray, title: str, directions: np.ndarray | None) -> None:
    show_slice(axes, image, (1.0, 1.0))
    axes.set_title(title, fontsize=FONT - 0.5)
    mark_sides(axes, slice_letters(directions), FONT - 1)


def _ring(axes: Axes, point: tuple[float, float]) -> None:
    axes.plot(*point, "o", markersize=16, markerfacecolor="none", color=ORANGE, markeredgewidth=1.8)


def _heat(axes: Axes, heat: np.ndarray, edge: int) -> None:
    extent = (-0.5, edge - 0.5, edge - 0.5, -0.5)
    axes.imshow(
        heat, cmap="inferno", vmin=0, vmax=max(float(heat.max()), 0.05), extent=extent,
        alpha=0.75 * np.clip(heat / max(float(heat.max()), 0.05), 0, 1),
        interpolation="nearest",
    )  # fmt: skip


def _canvas(figure: Figure) -> Axes:
    canvas = figure.add_axes((0, 0, 1, 1), zorder=-1)
    canvas.set_xlim(0, 1)
    canvas.set_ylim(0, 1)
    canvas.set_axis_off()
    return canvas


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str
) -> None:
    style = "round,pad=0.0,rounding_size=0.015"
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle=style, facecolor=colour, alpha=0.35, edgecolor=GREY
        )
    )
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=FONT)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=GREY))


def _bars(axes: Axes, values: np.ndarray, task: Task, true: tuple[str, ...]) -> None:
    rows = np.arange(len(values))
    colours = [GREEN if label in true else SKY for label in task.labels]
    axes.barh(rows, values, color=colours)
    axes.set_yticks(rows, [task.short_name(label) for label in task.labels], fontsize=FONT - 3)
    axes.tick_params(axis="x", labelsize=FONT - 3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_title("probabilities (true: green)", fontsize=FONT - 2)
