"""Figures of numbers: ROC curves, learning curves, probability along the slices.

Every function returns a matplotlib `Figure` of its own or None when there is nothing to draw;
pyplot and its global state are not used, so that figures can be drawn in any process. Colours are
Okabe and Ito's, which colour-blind readers tell apart, and every curve also differs in its dashes
or marks, so that a grey print keeps the meaning.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from intracranial.report.cases import Case
from intracranial.statistics.calibration import CalibrationTable
from intracranial.statistics.intervals import TableWithIntervals
from intracranial.statistics.localisation import Froc
from intracranial.tasks import Task

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#666666"
"""The palette of Okabe and Ito (2008), and a grey for what is no data."""

GROUP_STYLES = ((VERMILLION, "--"), (GREEN, "-."), (PURPLE, ":"), (ORANGE, (0, (5, 1, 1, 1, 1, 1))))
"""Colour and dashes of the curves by modality, in the order of their names."""

MIN_GROUP_CLASS = 5
"""A modality gets a curve of its own from this many series of either class on; below, steps of a
fifth or more of the axis say little."""

PANEL_COLUMNS = 6
"""Panels in a row of labels without a side."""

RELIABILITY_COLUMNS = 4
"""Panels in a row of the reliability diagrams."""

SLICE_AXIS = {
    "axial": "inferior to superior",
    "coronal": "anterior to posterior",
    "sagittal": "right to left",
}
"""What slice 0 and the last slice are, per plane in canonical order."""


def roc_overall(
    task: Task, targets: np.ndarray, probabilities: np.ndarray, modalities: Sequence[str]
) -> Figure:
    """Large ROC curve of the overall label, with thin ones by modality where there are enough.

    Args:
        task: names the overall label.
        targets: (N, L) of 0 and 1.
        probabilities: (N, L) float.
        modalities: N names.
    """
    figure = _figure(4.25, 4.35)
    axes = figure.subplots()
    assert task.overall is not None
    column = task.labels.index(task.overall)
    known = ~np.isnan(np.asarray(targets, dtype=np.float64)[:, column])
    truth, scores = targets[known, column], probabilities[known, column]
    _roc_axes(axes, task.overall, truth)
    names = np.asarray(modalities, dtype=str)[known]
    for name, (colour, dashes) in zip(np.unique(names), GROUP_STYLES, strict=False):
        chosen = names == name
        positives = int(truth[chosen].sum())
        if min(positives, int(chosen.sum()) - positives) >= MIN_GROUP_CLASS:
            x, y, _ = roc_curve(truth[chosen], scores[chosen])
            # A dollar sign in a name from a table would start a formula.
            label = f"{name} ({chosen.sum()})".replace("$", r"\$")
            axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.3, label=label)
    if 0 < truth.sum() < len(truth):
        x, y, _ = roc_curve(truth, scores)
        axes.plot(x, y, color=BLUE, linewidth=2.4, label=f"all ({len(truth)} series)", zorder=4)
        axes.legend(loc="lower right", fontsize=9, frameon=True, framealpha=0.9, edgecolor="none")
    axes.set_xlabel("1 - specificity (false positive rate)")
    axes.set_ylabel("sensitivity (true positive rate)")
    axes.set_title(task.overall, fontsize=11)
    return figure


def roc_locations(
    task: Task, targets: np.ndarray, probabilities: np.ndarray, table: TableWithIntervals
) -> Figure:
    """ROC curve of every label but the overall one: left ones above their right partners first.

    Args:
        task: gives labels and their partners.
        targets: (N, L) of 0 and 1.
        probabilities: (N, L) float.
        table: the score table of these rows; the AUC in a panel is the table's.
    """
    figure, panels = _location_panels(task)
    for name, axes in panels.items():
        column = task.labels.index(name)
        known = ~np.isnan(np.asarray(targets, dtype=np.float64)[:, column])
        truth, score = targets[known, column], table.per_label[name]
        _roc_axes(axes, name, truth, small=True)
        auc = score if task.metric == "auc" else score.auc
        if score.positives and score.negatives and auc is not None:
            x, y, _ = roc_curve(truth, probabilities[known, column])
            axes.plot(x, y, color=BLUE, linewidth=1.8)
            _title_words(axes, f"AUC {auc.value:.3f}, {score.positives} of {len(truth)}")
    figure.supxlabel("1 - specificity", fontsize=10)
    figure.supylabel("sensitivity", fontsize=10)
    return figure


def precision_recall_locations(
    task: Task, targets: np.ndarray, probabilities: np.ndarray, table: TableWithIntervals
) -> Figure:
    """Precision against recall of every label but the overall one, placed as in `roc_locations`.

    Arguments as there; the table has the average precisions. The dashed line is the share of
    positives: what calling series at random reaches.
    """
    figure, panels = _location_panels(task)
    for name, axes in panels.items():
        column = task.labels.index(name)
        known = ~np.isnan(np.asarray(targets, dtype=np.float64)[:, column])
        truth, score = targets[known, column], table.per_label[name]
        _roc_axes(axes, name, truth, small=True, chance=False)
        if score.positives and score.negatives and score.average_precision is not None:
            axes.step(
                *_precision_steps(truth, probabilities[known, column]),
                where="pre",
                color=BLUE,
                linewidth=1.8,
            )
            axes.axhline(truth.mean(), color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
            _title_words(axes, f"AP {score.average_precision.value:.3f}")
    figure.supxlabel("recall (sensitivity)", fontsize=10)
    figure.supylabel("precision", fontsize=10)
    return figure


def _precision_steps(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall, ascending from 0, and precision of the steps that the average precision sums up.

    Of the thresholds of one recall only the highest counts, so there are no spikes at a recall;
    scikit-learn's precision of 1 at a recall of 0 is a convention and is left out.
    """
    precision, recall, _ = precision_recall_curve(truth, scores)
    precision, recall = precision[-2::-1], recall[-2::-1]
    rises = np.diff(recall, prepend=0) > 0
    first = precision[rises][:1]
    return np.append(0, recall[rises]), np.append(first, precision[rises])


def reliability(task: Task, table: CalibrationTable) -> Figure | None:
    """Observed share against predicted probability of every label that was corrected.

    Args:
        task: names the labels.
        table: what `statistics.calibration.calibration_table` returned.

    Returns:
        The figure, or None where no label was corrected.
    """
    pairs = [
        (name, (one.before, one.after))
        for name in reversed(task.labels)
        for one in [table.per_label[name]]
        if one.before is not None and one.after is not None
    ]
    if not pairs:
        return None
    columns = min(len(pairs), RELIABILITY_COLUMNS)
    figure = _figure(2.75 * columns, 2.9 * -(-len(pairs) // columns))
    for place, (name, pair) in enumerate(pairs, start=1):
        axes = figure.add_subplot(-(-len(pairs) // columns), columns, place)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        words = []
        for part, (when, colour, marker, dashes) in zip(
            pair, (("before", VERMILLION, "s", "--"), ("after", BLUE, "o", "-")), strict=True
        ):
            words.append(f"error {when} {part.error.value:.3f}")
            x = [one.predicted for one in part.bins]
            y = [one.observed for one in part.bins]
            style: dict[str, Any] = {
                "color": colour,
                "marker": marker,
                "linestyle": dashes,
                "label": when,
            }
            axes.plot(x, y, **style, linewidth=1.3, markersize=4.5)
        # A rare label's bins all lie near 0: its axes end at the last of them.
        top = max(max(one.predicted, one.observed) for part in pair for one in part.bins)
        top = min(1.02, max(0.1, 1.1 * top))
        axes.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top), aspect="equal")
        plain_axes(axes)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.set_title("\n".join([*textwrap.wrap(name, 26), *words]), fontsize=9)
    lines, times = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, times, loc="outside upper center", ncols=2, fontsize=9, frameon=False)
    figure.supxlabel("mean probability of a bin", fontsize=9)
    figure.supylabel("share with the finding", fontsize=9)
    return figure


def _location_panels(task: Task) -> tuple[Figure, dict[str, Axes]]:
    """A figure with one panel per location: left above right, then the others."""
    rows = _panel_rows(task)
    columns = max(len(row) for row in rows)
    figure = _figure(1.93 * columns, 2.45 * len(rows))
    panels = {}
    for number, names in enumerate(rows):
        for position, name in enumerate(names, start=1):
            panels[name] = figure.add_subplot(len(rows), columns, number * columns + position)
            panels[name].set_title("\n".join(textwrap.wrap(name, 24)), fontsize=9)
    return figure, panels


def _title_words(axes: Axes, words: str) -> None:
    """Figures of a small panel under its title, where they hide no curve."""
    axes.set_title(f"{axes.get_title()}\n{words}", fontsize=9)


def froc(table: Froc) -> Figure:
    """Sensitivity against false points per series, with its 95 % band where there is one.

    Args:
        table: as `statistics.localisation.froc_table` returned it.
    """
    figure = _figure(4.25, 3.4)
    axes = figure.subplots()
    plain_axes(axes)
    rates = [one.false_points for one in table.curve]
    banded = [one for one in table.curve if one.low is not None]
    if banded:
        axes.fill_between(
            [one.false_points for one in banded],
            np.array([one.low for one in banded], dtype=np.float64),
            np.array([one.high for one in banded], dtype=np.float64),
            color=BLUE,
            alpha=0.18,
            linewidth=0,
            label="95 % by patients",
        )
        axes.legend(loc="lower right", fontsize=9, frameon=False)
    axes.plot(
        rates,
        np.array([one.value for one in table.curve], dtype=np.float64),
        color=BLUE,
        linewidth=2.4,
    )
    axes.set_xscale("log", base=2)
    axes.set_xlim(rates[0], rates[-1])
    axes.set_xticks([float(rate) for rate in table.sensitivity])
    axes.set_xticklabels(list(table.sensitivity))
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("false points per series")
    axes.set_ylabel("share of centres found")
    axes.set_title(f"FROC, within {table.right_mm} mm", fontsize=11)
    return figure


def learning_curves(logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure | None:
    """Loss, learning rate and, where they were logged, scores by epoch; one row per stage.

    Args:
        logs: per stage the rows of its log: `epoch`, `loss`, `lr`; further columns are drawn when
            their name contains "loss" or says that they are scores. Cells may be text, empty ones
            are gaps.
    """
    logs = {name: rows for name, rows in logs.items() if rows}
    if not logs:
        return None
    scored = {name: _score_columns(rows) for name, rows in logs.items()}
    width = 3 if any(scored.values()) else 2
    figure = _figure(3.2 * width, 2.4 * len(logs))
    grid = figure.subplots(len(logs), width, squeeze=False)
    for panels, (name, rows) in zip(grid, logs.items(), strict=True):
        epochs = _epochs(rows)
        _curve_panel(panels[0], f"{name}: loss", epochs, rows, ["loss", *_columns(rows, "loss")])
        panels[0].set_ylim(bottom=0)
        _curve_panel(panels[1], f"{name}: learning rate", epochs, rows, ["lr"])
        panels[1].set_ylim(bottom=0)
        # An offset such as 1e-5 above the axis would run into the title.
        panels[1].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        if width == 3:
            _curve_panel(panels[2], f"{name}: score", epochs, rows, scored[name])
            panels[2].set_ylim(0, max(1, panels[2].get_ylim()[1]))
    return figure


def slice_curve(case: Case) -> Figure:
    """Probability along the slices of one series, its labelled centres and the shown slices."""
    figure = _figure(5.2, 2.7)
    axes = figure.subplots()
    slices = np.arange(len(case.stage2_curve))
    marker = "o" if len(slices) == 1 else None
    if case.stage1_curve is not None:
        first = np.asarray(case.stage1_curve, dtype=np.float64)
        axes.plot(
            np.arange(len(first)),
            first,
            color=ORANGE,
            linewidth=1,
            marker=marker,
            label="stage 1",
        )
    second = np.asarray(case.stage2_curve, dtype=np.float64)
    axes.plot(slices, second, color=BLUE, linewidth=2, marker=marker, label="stage 2")
    for number, shown in enumerate(case.slices):
        label = "_" if number else f"shown slice{'s' if len(case.slices) > 1 else ''}"
        axes.axvline(shown.index, color=GREY, linewidth=1, linestyle=":", label=label)
    indices = sorted({finding.index for finding in case.findings})
    for index in indices:
        axes.axvline(index, color=VERMILLION, linewidth=0.8, alpha=0.6, zorder=1)
    if indices:
        axes.plot(
            indices,
            [1.03] * len(indices),
            linestyle="none",
            marker="v",
            markersize=9,
            color=VERMILLION,
            clip_on=False,
            label=f"labelled {case.task.finding}",
        )
    else:
        located = case.truth_in_words() if not case.truth else "labelled, but without a centre"
        axes.set_title(located, fontsize=10, color=GREY)
    axes.set_ylim(0, 1)
    axes.set_xlim(-0.5, max(len(slices) - 0.5, 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    course = SLICE_AXIS.get(case.plane) if case.geometry_known else None
    axes.set_xlabel(f"slice, {course}" if course else "slice")
    axes.set_ylabel("probability")
    plain_axes(axes)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return figure


def _figure(width: float, height: float) -> Figure:
    """An empty figure in inches, with room made for labels."""
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def plain_axes(axes: Axes) -> None:
    """A light grid and no frame."""
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=9)


def _roc_axes(
    axes: Axes, name: str, truth: np.ndarray, small: bool = False, chance: bool = True
) -> None:
    """Square axes 0..1 with the diagonal of chance, or with the reason why there is no curve."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    ticks = [0, 0.5, 1] if small else [0, 0.2, 0.4, 0.6, 0.8, 1]
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    plain_axes(axes)
    positives = int(truth.sum())
    if 0 < positives < len(truth):
        if chance:
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        return
    missing = "positive" if positives == 0 else "negative"
    axes.set_facecolor("#f2f2f2")
    axes.grid(False)
    axes.text(
        0.5,
        0.5,
        f"left out:\nno {missing} series",
        ha="center",
        va="center",
        fontsize=9 if small else 11,
        color="#444444",
    )


def _panel_rows(task: Task) -> list[list[str]]:
    """Labels with a left and a right in two rows, one above the other; the rest in further ones."""
    mirrored = task.mirrored() if task.flips else range(len(task.labels))
    partner = {name: task.labels[i] for name, i in zip(task.labels, mirrored, strict=True)}
    pairs = [(name, partner[name]) for name in task.others if partner[name] != name]
    left = [name for name, other in pairs if task.labels.index(name) < task.labels.index(other)]
    rest = [name for name in task.others if partner[name] == name]
    right = [partner[name] for name in left]
    rows = [left, right, *(rest[i : i + PANEL_COLUMNS] for i in range(0, len(rest), PANEL_COLUMNS))]
    return [row for row in rows if row]


def _columns(rows: Sequence[Mapping[str, Any]], part: str) -> list[str]:
    """Columns besides `loss` whose name contains `part` and that hold a number."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [
        name
        for name in names
        if part in name and name != "loss" and np.isfinite(_numbers(rows, name)).any()
    ]


def _score_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of the overall label where the task has one, else of the score."""
    found = (_columns(rows, name) for name in ("auc", "overall", "score"))
    return next((columns for columns in found if columns), [])


def _numbers(rows: Sequence[Mapping[str, Any]], column: str) -> np.ndarray:
    """Float64 (rows,); NaN where a cell is absent, empty or no number."""
    return np.array([_number(row.get(column)) for row in rows])


def _epochs(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Float64 (rows,): the epoch column, or 1, 2, ... where it has a gap."""
    epochs = _numbers(rows, "epoch")
    return epochs if np.isfinite(epochs).all() else np.arange(1.0, len(rows) + 1)


def _number(cell: object) -> float:
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def _curve_panel(
    axes: Axes,
    title: str,
    epochs: np.ndarray,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
) -> None:
    styles = ((BLUE, "-", "o"), (VERMILLION, "--", "s"), (GREEN, "-.", "^"), (PURPLE, ":", "D"))
    # Marks show single epochs of a short run; on a long one they would hide the line.
    marked = len(epochs) <= 30
    for column, (colour, dashes, marker) in zip(columns, styles, strict=False):
        values = _numbers(rows, column)
        known = np.isfinite(values)  # scores may be logged every few epochs only
        axes.plot(
            epochs[known],
            values[known],
            color=colour,
            linestyle=dashes,
            linewidth=1.6,
            marker=marker if marked else None,
            markersize=4,
            label=_spelled(column),
        )
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("epoch", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    plain_axes(axes)
    if columns and columns[-1] not in ("loss", "lr"):
        axes.legend(fontsize=9, frameon=False)
    if not columns:
        axes.grid(False)
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color=GREY)


def _spelled(column: str) -> str:
    return "training" if column == "loss" else column.replace("_", " ").replace("auc", "AUC")
