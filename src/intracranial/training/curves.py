"""Learning curves as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from intracranial.artifacts import atomic_path

PANELS = {
    "loss": lambda name: name == "loss" or name.endswith("_loss"),
    "score": lambda name: name in ("score", "auc_overall", "overall"),
    "learning rate": lambda name: name == "lr",
}
"""Title of each panel, and which columns of the log it shows."""

STYLES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", ":"))
"""Colours of Okabe and Ito and dashes, so that colour is never the only difference."""


def draw_curves(path: Path, rows: list[dict[str, Any]]) -> None:
    """Draw the log of a training, one panel per kind of figure, as PNG.

    Args:
        path: of the picture.
        rows: of the log; values that are None are left out.
    """
    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    for axes, (title, belongs) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        _draw_panel(axes, title, rows, [name for name in rows[0] if belongs(name)])
    with atomic_path(path) as temporary:
        # without the version of matplotlib, so that equal logs give equal bytes
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})


def _draw_panel(axes: Axes, title: str, rows: list[dict[str, Any]], names: list[str]) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    for name, (colour, dashes) in zip(names, STYLES, strict=False):
        points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), dashes, color=colour, marker=".", label=name)
    if axes.lines:
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color="#666666")
    if title == "score":
        axes.set_ylim(0, max(1.02, axes.get_ylim()[1]))
