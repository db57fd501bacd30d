"""Figures of the data report: histograms, places of findings, contact sheets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from intracranial.report.overlays import mark_sides, show_slice
from intracranial.report.plots import BLUE, GREY, VERMILLION, plain_axes
from intracranial.report.projections import END_LETTERS, slice_letters

WIDTH_INCHES = 9.7
"""Width of a figure: the page's, so that its type is not made smaller."""

BINS = 40
"""Bars of a histogram."""

OUTER_PERCENTILE = 99.5
"""Right end of a histogram's axis; the few larger values count in its last bar."""

SHEET_COLUMNS = 6
"""Pictures in a row of a contact sheet."""

SHEET_POINTS = 8.0
"""Size of the letters on its pictures, which are half as wide as elsewhere."""

SIDES = (("Left ", "labelled left", BLUE, "o"), ("Right ", "labelled right", VERMILLION, "^"))
"""Beginning of a location's name, words, colour and mark."""

VIEWS = (
    ("from above", ("left", "posterior"), "left", "posterior"),
    ("from the front", ("left", "superior"), "left", "superior"),
    ("from the side", ("posterior", "superior"), "posterior", "superior"),
)
"""Name of a view, coordinates across and along it, and the words of its axes."""


LETTERS = dict(zip(("left", "posterior", "superior"), END_LETTERS, strict=True))
"""Letters of the negative and of the positive end of each coordinate."""

LETTER: dict[str, Any] = {
    "fontsize": 11,
    "fontweight": "bold",
    "color": "#222222",
    "zorder": 0.9,  # below the places, so that it hides none
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5},
}
"""Style of these letters."""


@dataclass(frozen=True)
class Place:
    """A labelled finding, in mm from the middle of its series along the patient's axes."""

    location: str
    left: float
    posterior: float
    superior: float


@dataclass(frozen=True, eq=False)
class ContactPicture:
    """One picture of a contact sheet.

    `image` float32 (H, W), values 0..5; `pixel_mm` between rows and columns; `directions` as
    `array_directions` gives them, or None.
    """

    title: str
    image: np.ndarray
    pixel_mm: tuple[float, float]
    directions: np.ndarray | None


def histograms(panels: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """One row per group and one column per quantity; a column shares its axis.

    Args:
        panels: values (k,) by group and quantity; every group has the same quantities.
    """
    quantities = list(next(iter(panels.values())))
    figure = Figure(
        figsize=(WIDTH_INCHES, 1.5 * len(panels) + 0.5),
        layout="constrained",
        facecolor="white",
    )
    grid = figure.subplots(len(panels), len(quantities), squeeze=False, sharex="col")
    for column, quantity in enumerate(quantities):
        edges = _edges(np.concatenate([values[quantity] for values in panels.values()]))
        for axes, (name, values) in zip(grid[:, column], panels.items(), strict=True):
            plain_axes(axes)
            own = np.clip(values[quantity], edges[0], edges[-1])
            if len(own):
                axes.hist(own, bins=edges, weights=np.full(len(own), 1 / len(own)), color=BLUE)
            else:
                axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", color=GREY)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            if column == 0:
                axes.set_ylabel(name.replace("$", r"\$"), fontsize=9)
        grid[-1, column].set_xlabel(quantity, fontsize=9)
    return figure


def _edges(values: np.ndarray) -> np.ndarray:
    """Borders of the bars over the values but for a few of the largest."""
    if not len(values):
        return np.linspace(0, 1, BINS + 1)
    low, high = float(values.min()), float(np.percentile(values, OUTER_PERCENTILE))
    if np.all(values % 1 == 0):  # counts: bars of as many whole numbers each
        width = max(1, math.ceil((high - low + 1) / BINS))
        return np.arange(low - 0.5, high + 0.5 + width, width)
    if high <= low:
        low, high = low - 0.5, low + 0.5
    return np.linspace(low, high, BINS + 1)


def places_figure(places: Sequence[Place]) -> Figure:
    """Findings of all series from above, the front and the side, by the side of their label.

    Left of the patient is on the right of the picture, the radiological way.
    """
    figure = Figure(figsize=(WIDTH_INCHES, 3.6), layout="constrained", facecolor="white")
    for axes, (name, (across, along), x_words, y_words) in zip(
        figure.subplots(1, len(VIEWS)), VIEWS, strict=True
    ):
        plain_axes(axes)
        for start, words, colour, mark in (*SIDES, ("", "midline or other", GREY, "s")):
            chosen = [place for place in places if _side(place.location) == start]
            axes.scatter(
                [getattr(place, across) for place in chosen],
                [getattr(place, along) for place in chosen],
                s=14,
                alpha=0.65,
                linewidths=0,
                color=colour,
                marker=mark,
                label=words,
            )
        axes.axvline(0, color=GREY, linewidth=0.6)
        axes.set_aspect("equal", adjustable="datalim")
        if along == "posterior":
            axes.invert_yaxis()
        axes.set_title(name, fontsize=10)
        x_letters, y_letters = LETTERS[across], LETTERS[along]
        bottom, top = y_letters[::-1] if along == "posterior" else y_letters
        for x, y, letter in (
            *((0.04, 0.5, x_letters[0]), (0.96, 0.5, x_letters[1])),
            *((0.5, 0.04, bottom), (0.5, 0.96, top)),
        ):
            axes.text(x, y, letter, transform=axes.transAxes, ha="center", va="center", **LETTER)
        axes.set_xlabel(f"mm to {x_words}", fontsize=9)
        axes.set_ylabel(f"mm to {y_words}", fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=3,
        fontsize=9,
        frameon=False,
        markerscale=2,
    )
    return figure


def _side(location: str) -> str:
    """What the location's name begins with, of `SIDES`, or nothing."""
    return next((start for start, *_ in SIDES if location.startswith(start)), "")


def contact_sheet(pictures: Sequence[ContactPicture]) -> Figure:
    """Small pictures in rows, each with its sides."""
    rows = math.ceil(len(pictures) / SHEET_COLUMNS)
    figure = Figure(figsize=(1.55 * SHEET_COLUMNS, 1.75 * rows), facecolor="white")
    figure.subplots_adjust(
        left=0.003, right=0.997, bottom=0.003, top=1 - 0.12 / rows, wspace=0.03, hspace=0.14
    )
    panels: np.ndarray = figure.subplots(rows, SHEET_COLUMNS, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, picture in zip(panels.flat, pictures, strict=False):
        _picture(axes, picture)
    return figure


def _picture(axes: Axes, picture: ContactPicture) -> None:
    show_slice(axes, picture.image, picture.pixel_mm)
    mark_sides(axes, slice_letters(picture.directions), SHEET_POINTS)
    axes.set_title(picture.title, fontsize=8, pad=2)
