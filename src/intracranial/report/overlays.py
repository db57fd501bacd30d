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

from intracranial.report.cases import Case, ShownSlice
from intracranial.report.plots import ORANGE, SKY
from intracranial.report.projections import slice_letters

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

LEAST_SHARE = 0.45
"""Short side of a picture's black frame as a share of the long one: projections of few slices are
thin, and letters and scale bar stay apart from each other and from the title."""

SCALE_MM = (50.0, 20.0, 10.0, 5.0)
"""Lengths of the scale bar; the longest that fits is drawn."""

SCALE_SHARE = 0.35
"""Most of a picture's width that the bar takes: the letters in the middle stay free."""

LETTER_POINTS = 11.0
"""Size of the letters at a picture's edges."""

BACKING = {"boxstyle": "round,pad=0.15", "facecolor": "black", "alpha": 0.55, "edgecolor": "none"}
"""Dark ground that keeps the letters legible over bone and bright brain."""

OUTLINE = [Stroke(linewidth=3.4, foreground="black", alpha=0.7), Normal()]
"""Dark rim that keeps marks legible over bright vessels and bone."""


def grey_window(image: np.ndarray) -> tuple[float, float]:
    """Cache values shown black and white."""
    top = float(np.percentile(image, BRIGHTEST_SHARE)) if image.size else CACHE_MAXIMUM
    return 0.0, min(max(top, LEAST_WINDOW), CACHE_MAXIMUM)


def slice_panels(case: Case, shown: ShownSlice) -> Figure:
    """One slice whole, zoomed, and under its heat map where there is one.

    The zoom is round the predicted point, else round the first labelled centre on the slice, else
    round the heat map's maximum; it is left out when there is none of them.
    """
    centre = _centre(case, shown)
    kinds = ["whole", *["heat"] * (shown.heat is not None), *["zoom"] * (centre is not None)]
    figure = Figure(figsize=(PANEL_INCHES * len(kinds), PANEL_INCHES + 0.3), facecolor="white")
    figure.subplots_adjust(left=0.004, right=0.996, bottom=0.004, top=0.92, wspace=0.02)
    panels = figure.subplots(1, len(kinds), squeeze=False)[0]
    square = _square(case, shown, centre) if centre is not None else None
    marks = slice_letters(case.directions)
    for axes, kind in zip(panels, kinds, strict=True):
        show_slice(axes, shown.image, case.pixel_spacing or (1.0, 1.0))
        mark_sides(axes, marks)
        if kind == "zoom" and square is not None:
            left, top, width, height = square
            axes.set(xlim=(left, left + width), ylim=(top + height, top))
            axes.set_title("zoom", fontsize=10, pad=4)
            _points(axes, case, shown)
            _scale_bar(axes, case.pixel_spacing)
        elif kind == "heat" and shown.heat is not None:
            _heat(axes, shown.heat, shown.image.shape)
            axes.set_title(f"heat map, maximum {np.nanmax(shown.heat):.2f}", fontsize=10, pad=4)
        else:
            place = f", {shown.place}" if shown.place else ""
            axes.set_title(f"slice {shown.index}{place}", fontsize=10, pad=4)
            _points(axes, case, shown, WHOLE_SCALE)
            _scale_bar(axes, case.pixel_spacing)
            if square is not None:
                axes.add_patch(
                    Rectangle(square[:2], *square[2:], fill=False, edgecolor="white", linewidth=0.7)
                )
    return figure


def projection_panels(case: Case) -> Figure:
    """The maximum-intensity projections of a case side by side, with prediction and labels."""
    extents = [_framed_mm(picture.image, picture.pixel_mm) for picture in case.projections]
    tallest = max(min(height / width, 1.0) for height, width in extents)
    size = (PANEL_INCHES * len(extents), PANEL_INCHES * tallest + 0.3)
    figure = Figure(figsize=size, facecolor="white")
    top = 1 - 0.3 / size[1]
    figure.subplots_adjust(left=0.004, right=0.996, bottom=0.004, top=top, wspace=0.02)
    panels = figure.subplots(1, len(extents), squeeze=False)[0]
    for axes, picture in zip(panels, case.projections, strict=True):
        show_slice(axes, picture.image, picture.pixel_mm)
        mark_sides(axes, picture.marks)
        depth = f", {picture.slab_mm:.0f} mm" if picture.slab_mm else ""
        place = f" at {picture.place}" if picture.place else ""
        axes.set_title(f"MIP, {picture.name}{depth}{place}", fontsize=10, pad=4)
        row_mm, column_mm = picture.pixel_mm
        radius = RING_MM if case.pixel_spacing else RING_SHARE * max(map(max, extents))
        width, height = (2 * WHOLE_SCALE * radius / mm for mm in (column_mm, row_mm))
        for spot in picture.spots:
            _ring(axes, spot, width, height, solid=True)
        if picture.point is not None:
            _cross(axes, picture.point, width, height)
        _scale_bar(axes, picture.pixel_mm if case.pixel_spacing else None)
    return figure


def _centre(case: Case, shown: ShownSlice) -> tuple[float, float] | None:
    """What the zoom is round, in cache pixels."""
    if shown.point is not None:
        return shown.point
    here = [(found.x, found.y) for found in case.findings if found.index == shown.index]
    if here:
        return here[0]
    if shown.heat is None or not np.nanmax(shown.heat) > 0:
        return None
    row, column = np.unravel_index(np.nanargmax(shown.heat), shown.heat.shape)
    cells = np.array([column, row]) + 0.5
    x, y = cells * shown.image.shape[::-1] / shown.heat.shape[::-1] - 0.5
    return float(x), float(y)


def show_slice(axes: Axes, image: np.ndarray, pixel_mm: tuple[float, float]) -> None:
    """Draw float32 (H, W) in grey and in true proportion, in a black frame where it is thin.

    `pixel_mm` is between rows, columns.
    """
    low, high = grey_window(image)
    row_mm, column_mm = pixel_mm
    axes.imshow(
        image,
        cmap="gray",
        vmin=low,
        vmax=high,
        interpolation="bilinear",
        aspect=row_mm / column_mm,
    )
    axes.set_anchor("N")  # titles in one line above pictures of different heights
    height_mm, width_mm = _framed_mm(image, pixel_mm)
    rows, columns = image.shape
    beside, above = (width_mm / column_mm - columns) / 2, (height_mm / row_mm - rows) / 2
    axes.set(
        xlim=(-0.5 - beside, columns - 0.5 + beside),
        ylim=(rows - 0.5 + above, -0.5 - above),
        facecolor="black",
        xticks=[],
        yticks=[],
    )
    axes.spines[:].set_visible(False)


def _framed_mm(image: np.ndarray, pixel_mm: tuple[float, float]) -> tuple[float, float]:
    """Height and width of a picture with its frame, see `LEAST_SHARE`."""
    height, width = (count * mm for count, mm in zip(image.shape, pixel_mm, strict=True))
    return max(height, LEAST_SHARE * width), max(width, LEAST_SHARE * height)


def _per_mm(case: Case, shown: ShownSlice, mm: float, share: float) -> tuple[float, float]:
    """A length in cache pixels along columns (x) and rows (y)."""
    if case.pixel_spacing is None:
        side = share * max(shown.image.shape)
        return side, side
    row_mm, column_mm = case.pixel_spacing
    return mm / column_mm, mm / row_mm


def _square(
    case: Case, shown: ShownSlice, centre: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Left, top, width and height of the zoomed part in cache pixels, moved inside the image."""
    rows, columns = shown.image.shape
    width, height = _per_mm(case, shown, ZOOM_MM, ZOOM_SHARE)
    width, height = min(width, columns), min(height, rows)
    left = min(max(centre[0] - width / 2, -0.5), columns - 0.5 - width)
    top = min(max(centre[1] - height / 2, -0.5), rows - 0.5 - height)
    return left, top, width, height


def _points(axes: Axes, case: Case, shown: ShownSlice, scale: float = 1.0) -> None:
    """Open circles round labelled centres, a cross with an open centre at the prediction."""
    width, height = _per_mm(case, shown, 2 * scale * RING_MM, 2 * scale * RING_SHARE)
    for found in case.findings:
        _ring(axes, (found.x, found.y), width, height, solid=found.index == shown.index)
    if shown.point is not None:
        _cross(axes, shown.point, width, height)


def _ring(
    axes: Axes, centre: tuple[float, float], width: float, height: float, solid: bool
) -> None:
    ring = Ellipse(centre, width, height, fill=False, edgecolor=SKY, linewidth=1.7)
    ring.set_linestyle("-" if solid else (0, (1, 1.5)))
    ring.set_path_effects(OUTLINE if solid else [])
    axes.add_patch(ring)


def _cross(axes: Axes, centre: tuple[float, float], width: float, height: float) -> None:
    x, y = centre
    for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        axes.plot(
            [x + right * 0.25 * width, x + right * 0.7 * width],
            [y + down * 0.25 * height, y + down * 0.7 * height],
            color=ORANGE,
            linewidth=1.7,
            path_effects=OUTLINE,
        )


def _letter(axes: Axes, x: float, y: float, text: str, points: float) -> None:
    """Text inside a panel at a share of its width and height, below the marks of points."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        ha="center" if 0.1 < x < 0.9 else ("left" if x < 0.5 else "right"),
        va="center" if 0.1 < y < 0.9 else ("bottom" if y < 0.5 else "top"),
        color="white",
        fontsize=points,
        fontweight="bold",
        bbox=BACKING,
        zorder=0.9,
    )


def mark_sides(
    axes: Axes, marks: tuple[str, str, str, str] | None, points: float = LETTER_POINTS
) -> None:
    """Letters at the left edge, right edge, top and bottom, or that they are not known."""
    if marks is None:
        _letter(axes, 0.5, 0.98, "sides not known", points)
        return
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    for (x, y), text in zip(places, marks, strict=True):
        _letter(axes, x, y, text, points)


def _scale_bar(axes: Axes, pixel_mm: tuple[float, float] | None) -> None:
    """A bar in the lower left corner, only where the spacing is known."""
    if pixel_mm is None:
        return
    left, right = axes.get_xlim()
    width_mm = (right - left) * pixel_mm[1]
    mm = next((mm for mm in SCALE_MM if mm <= SCALE_SHARE * width_mm), SCALE_MM[-1])
    axes.plot(
        [0.03, 0.03 + mm / width_mm],
        [0.035, 0.035],
        transform=axes.transAxes,
        color="white",
        linewidth=2.5,
        solid_capstyle="butt",
        path_effects=OUTLINE,
    )
    axes.annotate(
        f"{mm:.0f} mm",
        (0.03, 0.035),
        (0, 4),  # points above the bar, however low the picture is
        xycoords="axes fraction",
        textcoords="offset points",
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
