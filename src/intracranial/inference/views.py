"""Test-time augmentation: a series seen in other ways, and the results brought back.

- flip: left and right exchanged, as `imaging.geometry.mirror_axis` says: columns of axial and
  coronal series, the slice order of sagittal ones. Labels with a side are swapped back. Series of
  which left cannot be told have no such view.
- reverse: axial and coronal slices in the other order; in sagittal series that is the flip.
- crop, crop90: the central three quarters or nine tenths of the region's edges, enlarged.

Probabilities are averaged over the plain view and the others; the heat maps' maxima of all of them
vote for the points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from intracranial.errors import UsageError
from intracranial.sampling.regions import Region
from intracranial.tasks import Task

VIEWS = ("flip", "reverse", "crop", "crop90")

PLAIN_NAME = "plain"
"""Name of the view that changes nothing; it always takes part."""

CROPS = {"crop": 0.75, "crop90": 0.9}
"""Share of the region's edges that each crop keeps."""


@dataclass(frozen=True)
class View:
    """One way to see a series; the default is the plain one.

    `columns` are reversed, `slices` are in the other order, `mirrored` says that left and right are
    exchanged by that; `crop` is the share of the region's edges that is kept.
    """

    columns: bool = False
    slices: bool = False
    mirrored: bool = False
    crop: float = 1.0

    def transform(self, prepared: np.ndarray) -> np.ndarray:
        """Slices as the network takes them, float32 (n, W, S, S), in this view."""
        if self.columns:
            prepared = prepared[..., ::-1]
        if self.slices:
            prepared = prepared[::-1]
        if self.crop < 1:
            shape, input_size = prepared.shape, prepared.shape[-1]
            edge, offset = self._crop(input_size)
            kept = prepared[..., offset : offset + edge, offset : offset + edge]
            prepared = np.stack(
                [
                    cv2.resize(image, (input_size, input_size))
                    for image in kept.reshape(-1, edge, edge)
                ]
            ).reshape(shape)
        return np.ascontiguousarray(prepared)

    def restore_labels(self, values: np.ndarray, task: Task) -> np.ndarray:
        """Values (L,) of the series or (n, L) of its slices, as of the plain view."""
        if self.mirrored:
            values = values[..., list(task.mirrored())]
        return values[::-1] if self.slices and values.ndim > 1 else values

    def restore_peaks(
        self, peaks: np.ndarray, task: Task, region: Region, input_size: int
    ) -> np.ndarray:
        """Heat-map maxima (n, L, 3), x and y in cache pixels, as of the plain view.

        Args:
            peaks: as the encoder gave them for the transformed slices.
            task: the labels.
            region: what the network saw of the slices.
            input_size: edge of its input in pixels.
        """
        found = peaks.astype(np.float64)
        if self.crop < 1:
            kept, start = self._crop(input_size)
            share, shift = kept / input_size, start / region.scale(input_size)
            origin = region.origin
            found[..., :2] = (found[..., :2] + 0.5 - origin) * share + origin + shift - 0.5
        if self.columns:
            found[..., 0] = region.x0 + region.x1 - 1 - found[..., 0]
        if self.slices:
            found = found[::-1]
        return found[:, list(task.mirrored())] if self.mirrored else found

    def _crop(self, size: int) -> tuple[int, int]:
        """Edge of the kept square and its first row and column, in pixels of the input."""
        edge = round(size * self.crop)
        return edge, (size - edge) // 2


PLAIN = View()


def check_views(names: Sequence[str]) -> None:
    """Refuse names of views that do not exist.

    Raises:
        UsageError: one does not.
    """
    for name in names:
        if name not in VIEWS:
            raise UsageError(f"view {name!r}: choose from {', '.join(VIEWS)}")


def views_of(names: Sequence[str], axis: str | None) -> dict[str, View]:
    """The plain view and those of `names` that a series has, by name.

    Args:
        names: of `VIEWS`.
        axis: what a left-right flip of the series reverses, "columns", "slices" or None.
    """
    made = {
        PLAIN_NAME: PLAIN,
        "flip": {
            "columns": View(columns=True, mirrored=True),
            "slices": View(slices=True, mirrored=True),
        }.get(axis or ""),
        "reverse": View(slices=True) if axis == "columns" else None,
        **{name: View(crop=share) for name, share in CROPS.items()},
    }
    return {name: view for name in (PLAIN_NAME, *names) if (view := made[name]) is not None}
