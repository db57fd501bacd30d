"""Stage 1 applied to whole series: features, logits and heat-map peaks of every slice.

Batches are formed within one series at a fixed size with a padded tail, so that the same series
gives the same numbers whether it is read from the caches or from DICOM, alone or among others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from src.artifacts import FoldPaths
from src.compute import Compute
from src.models.slice_classifier import HEATMAP_STRIDE, SliceClassifier, SliceClassifierConfig
from src.provenance import MADE_BY
from src.sampling.stacks import InputSpec, input_to_cache, neighbours, prepare_slices
from src.training.checkpoint import load_weights

ENCODE_BATCH = 16
"""Stacks per forward pass; fixed, because the batch size changes the last bits of the results."""


@dataclass(frozen=True)
class SeriesFeatures:
    """Stage-1 output of one series at one step.

    `features` float16 (n, C); `logits` float32 (n, L); `peaks` float32 (n, L, 3): for each
    label x and y of the heat map's maximum in cache pixels, and its probability.
    """

    features: np.ndarray
    logits: np.ndarray
    peaks: np.ndarray


class Encoder:
    """A trained stage-1 network with all that belongs to it."""

    def __init__(self, paths: FoldPaths, manifest: dict[str, Any], compute: Compute) -> None:
        """Load the weights that the manifest describes.

        Raises:
            MissingArtifact: the weights are gone.
            InputError: they do not fit the manifest.
        """
        config = SliceClassifierConfig(**manifest["model"])
        self.inputs = InputSpec(**manifest["input"])
        self.steps = tuple(int(step) for step in manifest["steps"])
        self.compute = compute
        model = SliceClassifier(config)
        load_weights(paths.weights("stage1"), model, MADE_BY["stage1"])
        model = model.to(memory_format=torch.channels_last)
        self.model = model.to(compute.device).eval()
        self.width = model.width

    def encode(
        self,
        volume: np.ndarray,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> dict[int, SeriesFeatures]:
        """Features of every slice at every step.

        Args:
            volume: float16 (n, size, size), cached values 0..5; a memory map is read slice by
                slice, once for all steps.
            transform: an augmented view: prepared slices float32 (n, S, S) -> the same shape. The
                peaks of a view are in the coordinates of the transformed slices.
        """
        prepared = prepare_slices(volume, self.inputs)
        if transform is not None:
            prepared = transform(prepared)
        slices = torch.from_numpy(prepared)
        return {step: self._encode_step(slices, step, volume.shape[-1]) for step in self.steps}

    def heat_map(self, volume: np.ndarray, index: int, label: int) -> np.ndarray:
        """Where on one slice a label may be, averaged over the steps: for looking at.

        Args:
            volume: (n, size, size), cached values 0..5.
            index: slice, 0..n-1.
            label: its position among the labels.

        Returns:
            float32 (size, size), probability at every cached pixel; zero outside of the crop.
        """
        n, size = len(volume), volume.shape[-1]
        stacks = np.stack(
            [prepare_slices(volume[neighbours(index, s, n)], self.inputs) for s in self.steps]
        )
        with torch.inference_mode(), self.compute.autocast():
            output = self.model(self.compute.place(torch.from_numpy(stacks)))
        heat = output.heatmap[:, label].float().sigmoid().mean(dim=0).cpu().numpy()
        edge, offset = self.inputs.crop_edge(size), self.inputs.offset(size)
        whole = np.zeros((size, size), dtype=np.float32)
        # Cells cover the crop's area, as OpenCV's pixels cover an image's.
        whole[offset : offset + edge, offset : offset + edge] = cv2.resize(heat, (edge, edge))
        return whole

    def _encode_step(self, slices: torch.Tensor, step: int, size: int) -> SeriesFeatures:
        n = len(slices)
        features, logits, peaks = [], [], []
        with torch.inference_mode():
            for start in range(0, n, ENCODE_BATCH):
                # The tail repeats the last slice, so that every batch has the same size.
                centres = [min(i, n - 1) for i in range(start, start + ENCODE_BATCH)]
                index = torch.tensor([neighbours(i, step, n) for i in centres])
                stacks = self.compute.place(slices[index])  # (B, 3, S, S)
                with self.compute.autocast():
                    output = self.model(stacks)
                kept = min(ENCODE_BATCH, n - start)
                features.append(output.features[:kept].to(torch.float16).cpu())
                logits.append(output.logits[:kept].float().cpu())
                peaks.append(heatmap_peaks(output.heatmap[:kept].float().cpu()))
        peak = torch.cat(peaks).numpy()
        cells = peak[..., :2].astype(np.float64)
        pixels = (cells + 0.5) * HEATMAP_STRIDE - 0.5
        peak[..., :2] = input_to_cache(pixels, size, self.inputs)
        return SeriesFeatures(torch.cat(features).numpy(), torch.cat(logits).numpy(), peak)


def heatmap_peaks(logits: torch.Tensor) -> torch.Tensor:
    """Maximum of each heat map with sub-cell precision.

    The place is refined by the parabola through the maximum and its two neighbours along each
    axis, in logits, where the Gaussian of the targets is a parabola.

    Args:
        logits: float32 (B, L, h, w).

    Returns:
        float32 (B, L, 3): x and y in cells, probability at the maximum.
    """
    batch, channels, rows, columns = logits.shape
    value, flat = logits.flatten(2).max(dim=2)
    row, column = flat // columns, flat % columns
    padded = torch.nn.functional.pad(logits, (1, 1, 1, 1), mode="replicate")
    b = torch.arange(batch)[:, None]
    c = torch.arange(channels)[None, :]

    def offset(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        curvature = (2 * value - before - after).clamp(min=1e-6)
        return (0.5 * (after - before) / curvature).clamp(-0.5, 0.5)

    x = column + offset(padded[b, c, row + 1, column], padded[b, c, row + 1, column + 2])
    y = row + offset(padded[b, c, row, column + 1], padded[b, c, row + 2, column + 1])
    x, y = x.clamp(0, columns - 1), y.clamp(0, rows - 1)
    return torch.stack([x, y, value.sigmoid()], dim=-1)
