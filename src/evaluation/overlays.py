"""Figures of images: a slice as cached, with the predicted and the labelled points and its sides.

Points are drawn as open shapes, so that what they point at stays visible, and differ in shape as
well as in colour: a cross with an open centre is predicted, a circle is labelled, a dotted circle
is labelled on another slice.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.patheffects import Normal, Stroke

from src.evaluation.cases import Case
from src.evaluation.plots import ORANGE, SKY

SIDE_MARKS = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "S", "I"),
    "sagittal": ("A", "P", "S", "I"),
}
"""Left edge, right edge, top and bottom of a canonical image per plane (see DESIGN of the cache:
columns run to the patient's left, or to posterior in sagittal images; rows to posterior or
inferior). Right: R and L on the left and right of the picture, the radiological way."""

CACHE_MAXIMUM = 5.0
"""Largest value of a cached slice."""

BRIGHTEST_SHARE = 99.8
"""Percentile of a slice that is shown white; the few brighter pixels are white too."""

LEAST_WINDOW = 0.5
"""Smallest grey-scale range in cache units, so that a blank slice does not show its noise."""

ZOOM_MM = 50.0
"""Side of the zoomed square where the pixel spacing is known."""

ZOOM_SHARE = 0.25
"""Side of the zoomed square as a share of the image where the spacing is unknown."""

RING_MM = 6.0
"""Radius of the circle round a labelled centre; most aneurysms are smaller than 12 mm."""

RING_SHARE = 0.03
"""The same as a share of the image where the spacing is unknown."""

WHOLE_SCALE = 1.7
"""Marks on the whole slice are larger than on the zoom, to stay apart from each other."""

PANEL_INCHES = 3.1
"""Width of one panel."""

OUTLINE = [Stroke(linewidth=3.4, foreground="black", alpha=0.7), Normal()]
"""Dark rim that keeps marks legible over bright vessels and bone."""


def side_marks(plane: str, geometry_known: bool) -> tuple[str, str, str, str] | None:
    """Letters for the left edge, right edge, top and bottom; None where sides are not known."""
    return SIDE_MARKS.get(plane) if geometry_known else None


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """Cache values shown black and white."""
    top = float(np.percentile(image, BRIGHTEST_SHARE)) if image.size else CACHE_MAXIMUM
    return 0.0, min(max(top, LEAST_WINDOW), CACHE_MAXIMUM)


def slice_panels(case: Case) -> Figure:
    """The shown slice whole, zoomed, and under its heat map where there is one.

    The zoom is round the predicted point, else round the first labelled centre on the slice; it
    is left out when there is neither.
    """
    rows, columns = case.image.shape
    centre = case.point or next(
        ((spot.x, spot.y) for spot in case.spots if spot.index == case.slice_index), None
    )
    kinds = ["whole", *["zoom"] * (centre is not None), *["heat"] * (case.heat is not None)]
    figure = Figure(figsize=(PANEL_INCHES * len(kinds), PANEL_INCHES + 0.3), facecolor="white")
    figure.subplots_adjust(left=0.004, right=0.996, bottom=0.004, top=0.92, wspace=0.02)
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    square = _square(case, centre) if centre is not None else None
    for axes, kind in zip(panels, kinds, strict=True):
        _show(axes, case)
        if kind == "zoom" and square is not None:
            left, top, width, height = square
            axes.set(xlim=(left, left + width), ylim=(top + height, top))
            axes.set_title("zoom", fontsize=10, pad=4)
            _points(axes, case)
            _scale_bar(axes, case, 10.0)
        elif kind == "heat" and case.heat is not None:
            _heat(axes, case.heat, (rows, columns))
            axes.set_title("heat map over the same slice", fontsize=10, pad=4)
            _sides(axes, case)
        else:
            axes.set_title(f"slice {case.slice_index}", fontsize=10, pad=4)
            _points(axes, case, WHOLE_SCALE)
            _sides(axes, case)
            _scale_bar(axes, case, 50.0)
            if square is not None:
                axes.add_patch(
                    Rectangle(square[:2], *square[2:], fill=False, edgecolor="white", linewidth=0.7)
                )
    return figure


def _show(axes: Axes, case: Case) -> None:
    low, high = grey_window(case.image)
    row_mm, column_mm = case.pixel_spacing or (1.0, 1.0)
    axes.imshow(
        case.image,
        cmap="gray",
        vmin=low,
        vmax=high,
        interpolation="bilinear",
        aspect=row_mm / column_mm,
    )
    axes.set_axis_off()
    axes.autoscale(False)


def _per_mm(case: Case, mm: float, share: float) -> tuple[float, float]:
    """A length in cache pixels along columns (x) and rows (y)."""
    if case.pixel_spacing is None:
        side = share * max(case.image.shape)
        return side, side
    row_mm, column_mm = case.pixel_spacing
    return mm / column_mm, mm / row_mm


def _square(case: Case, centre: tuple[float, float]) -> tuple[float, float, float, float]:
    """Left, top, width and height of the zoomed part in cache pixels, moved inside the image."""
    rows, columns = case.image.shape
    width, height = _per_mm(case, ZOOM_MM, ZOOM_SHARE)
    width, height = min(width, columns), min(height, rows)
    left = min(max(centre[0] - width / 2, -0.5), columns - 0.5 - width)
    top = min(max(centre[1] - height / 2, -0.5), rows - 0.5 - height)
    return left, top, width, height


def _points(axes: Axes, case: Case, scale: float = 1.0) -> None:
    """Open circles round labelled centres, a cross with an open centre at the prediction."""
    width, height = _per_mm(case, 2 * scale * RING_MM, 2 * scale * RING_SHARE)
    for spot in case.spots:
        here = spot.index == case.slice_index
        ring = Ellipse((spot.x, spot.y), width, height, fill=False, edgecolor=SKY, linewidth=1.7)
        ring.set_linestyle("-" if here else (0, (1, 1.5)))
        ring.set_path_effects(OUTLINE if here else [])
        axes.add_patch(ring)
    if case.point is None:
        return
    x, y = case.point
    for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        axes.plot(
            [x + right * 0.25 * width, x + right * 0.7 * width],
            [y + down * 0.25 * height, y + down * 0.7 * height],
            color=ORANGE,
            linewidth=1.7,
            path_effects=OUTLINE,
        )


def _letter(axes: Axes, x: float, y: float, text: str) -> None:
    """Text inside a panel at a share of its width and height."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        ha="center" if 0.1 < x < 0.9 else ("left" if x < 0.5 else "right"),
        va="center" if 0.1 < y < 0.9 else ("bottom" if y < 0.5 else "top"),
        color="white",
        fontsize=11,
        fontweight="bold",
        path_effects=OUTLINE,
    )


def _sides(axes: Axes, case: Case) -> None:
    marks = side_marks(case.plane, case.geometry_known)
    if marks is None:
        _letter(axes, 0.5, 0.98, "sides not known")
        return
    left, right, top, bottom = marks
    _letter(axes, 0.02, 0.5, left)
    _letter(axes, 0.98, 0.5, right)
    _letter(axes, 0.5, 0.98, top)
    _letter(axes, 0.5, 0.02, bottom)


def _scale_bar(axes: Axes, case: Case, mm: float) -> None:
    """A bar in the lower left corner, only where the spacing is known."""
    if case.pixel_spacing is None:
        return
    left, right = axes.get_xlim()
    share = mm / case.pixel_spacing[1] / (right - left)
    axes.plot(
        [0.03, 0.03 + share],
        [0.035, 0.035],
        transform=axes.transAxes,
        color="white",
        linewidth=2.5,
        solid_capstyle="butt",
        path_effects=OUTLINE,
    )
    axes.text(
        0.03,
        0.055,
        f"{mm:.0f} mm",
        transform=axes.transAxes,
        color="white",
        fontsize=9,
        va="bottom",
        path_effects=OUTLINE,
    )


def _heat(axes: Axes, heat: np.ndarray, shape: tuple[int, int]) -> None:
    """Blend a heat map of any resolution over the image; zero stays clear."""
    rows, columns = shape
    strength = np.clip(np.nan_to_num(heat.astype(np.float64)), 0, None)
    top = float(strength.max(initial=0.0))
    axes.imshow(
        strength,
        cmap="inferno",
        vmin=0,
        vmax=top or 1.0,
        alpha=0.75 * strength / (top or 1.0),
        interpolation="bilinear",
        # Cells cover the image's area: its outer edges lie half a pixel outside of the centres.
        extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),
        aspect=axes.get_aspect(),
    )
