"""Stage 1 applied to whole series: features, logits and heat-map peaks of every slice.

Batches are formed within one series and depend, on one device, on its length alone, so that the
same series gives the same numbers whether it is read from the caches or from DICOM, alone or among
others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from intracranial.artifacts import FoldPaths
from intracranial.compute import Compute, compile_network
from intracranial.lineage import Stage1Sidecar
from intracranial.models.slice_classifier import HEATMAP_STRIDE, SliceClassifier
from intracranial.provenance import MADE_BY
from intracranial.sampling.features import FeatureSet
from intracranial.sampling.regions import Region, input_to_cache
from intracranial.sampling.stacks import (
    Images,
    as_channels,
    neighbours,
    prepare_slices,
    resample_slices,
)
from intracranial.sidecar import build
from intracranial.training.checkpoint import load_weights

ENCODE_BATCH = 16
"""Stacks per forward pass at most. It depends on device and input size alone, because the batch
size can change the last bits."""

CPU_PIXELS = 2**19
"""Pixels of a stack's plane, times stacks, per forward pass on a CPU: what a layer hands to the
next one then stays in the cache. In bf16 larger batches are up to a quarter slower (LOG.md)."""

TAIL_MULTIPLE = 4
"""The last batch of a series is filled up to a multiple of this: matrix products of one or two rows
have other last bits in float32, and filling it up to `ENCODE_BATCH` computes 15 stacks in vain."""


@dataclass(frozen=True)
class PreparedSlices:
    """Every slice of a series as the network takes it, before the last, cheap step.

    `values` (n, W, S, S) for W windows, float16 where pixels are as cached, else float32; `mean` is
    still to be subtracted from them, in float32; `region` is what they show.
    """

    values: torch.Tensor
    mean: float
    region: Region


class Encoder:
    """A trained stage-1 network with all that belongs to it."""

    def __init__(
        self, paths: FoldPaths, stage1: Stage1Sidecar, compute: Compute, compiled: bool = False
    ) -> None:
        """Load the weights that the sidecar describes.

        Args:
            paths: the fold's paths.
            stage1: the sidecar.
            compute: device and precision.
            compiled: compile the network, see `compile_network`.

        Raises:
            MissingArtifact: the weights are gone.
            InputError: they do not fit the sidecar, or no network can be built from it.
        """
        self.inputs, self.steps, self.compute = stage1.input, stage1.steps, compute
        model = build(stage1.path, "model", stage1.model, SliceClassifier)
        load_weights(paths.weights("stage1"), model, MADE_BY["stage1"])
        model = model.to(memory_format=torch.channels_last)
        self.model = model.to(compute.device).eval()
        self.width = model.width
        self.batch = batch_size(compute.device, self.inputs.input_size)
        self.multiple = min(TAIL_MULTIPLE, self.batch)
        if compiled:
            compile_network(self.model)
            self.multiple = self.batch  # another shape would be compiled again

    def prepare(
        self,
        volume: Images,
        region: Region,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> PreparedSlices:
        """What can be done ahead, in another thread, while the network computes.

        Args:
            volume: float16 (n, size, size), cached values 0..5, or HU where the input has windows;
                a file is read once for all steps.
            region: what of each slice the network sees.
            transform: an augmented view: prepared slices float32 (n, W, S, S) -> the same shape.
        """
        if transform is None:
            values = torch.from_numpy(resample_slices(volume, self.inputs, region))
            mean = self.inputs.mean
        else:
            seen = transform(prepare_slices(volume, self.inputs, region))
            values, mean = torch.from_numpy(np.ascontiguousarray(seen)), 0.0
        if self.compute.device.type == "cuda":
            values = values.pin_memory()  # or the copy would wait for the device
        return PreparedSlices(values, mean, region)

    def encode(
        self,
        volume: Images,
        region: Region,
        transform: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> dict[int, FeatureSet]:
        """Features of every slice at every step.

        Args:
            volume: see `prepare`.
            region: see `prepare`.
            transform: see `prepare`. The peaks of a view are in the coordinates of the transformed
                slices.
        """
        return self.encode_prepared(self.prepare(volume, region, transform))

    def encode_prepared(self, slices: PreparedSlices) -> dict[int, FeatureSet]:
        """`encode` of prepared slices."""
        # all slices once, so that the steps share the copy and the device can make the stacks
        values = slices.values.to(self.compute.device, non_blocking=True)
        found = {step: self._encode_step(values, slices.mean, step) for step in self.steps}
        return {step: self._on_host(*parts, slices.region) for step, parts in found.items()}

    def heat_map(
        self, volume: np.ndarray, region: Region, index: int, label: int
    ) -> np.ndarray | None:
        """Where on one slice a label may be, averaged over the steps: for looking at.

        Args:
            volume: see `prepare`.
            region: see `prepare`.
            index: slice, 0..n-1.
            label: its position among the labels.

        Returns:
            float32 (size, size), probability at every cached pixel; zero outside of the region.
            None where the network has no heat maps.
        """
        if self.model.heatmap is None:
            return None
        chosen = [neighbours(index, step, len(volume), self.inputs.slices) for step in self.steps]
        stacks = np.stack(
            [as_channels(prepare_slices(volume, self.inputs, region, one)) for one in chosen]
        )
        with torch.inference_mode(), self.compute.autocast():
            output = self.model(self.compute.place(torch.from_numpy(stacks)))
        heat = output.heatmap[:, label].float().sigmoid().mean(dim=0).cpu().numpy()
        whole = np.zeros(volume.shape[1:], dtype=np.float32)
        # Cells cover the region's area, as OpenCV's pixels cover an image's.
        region.of(whole)[...] = cv2.resize(heat, (region.width, region.height))
        return whole

    def _encode_step(
        self, values: torch.Tensor, mean: float, step: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Features, logits and peaks (in cells) on the device; nothing here waits for it."""
        n = len(values)
        filled = -(-n // self.multiple) * self.multiple  # with the last slice
        centres = [min(i, n - 1) for i in range(filled)]
        table = torch.tensor([neighbours(i, step, n, self.inputs.slices) for i in centres])
        table = table.to(values.device, non_blocking=True)
        features, logits, peaks = [], [], []
        with torch.inference_mode():
            for start in range(0, n, self.batch):
                kept = min(self.batch, n - start)
                stacks = values[table[start : start + self.batch]].float() - mean
                stacks = self.compute.place(stacks.flatten(1, 2))  # slice by slice: (B, C, S, S)
                with self.compute.autocast():
                    output = self.model(stacks)
                features.append(output.features[:kept].to(torch.float16))
                logits.append(output.logits[:kept].float())
                if output.heatmap is not None:
                    peaks.append(heatmap_peaks(output.heatmap[:kept].float()))
        return torch.cat(features), torch.cat(logits), torch.cat(peaks) if peaks else None

    def _on_host(
        self,
        features: torch.Tensor,
        logits: torch.Tensor,
        peaks: torch.Tensor | None,
        region: Region,
    ) -> FeatureSet:
        if peaks is None:
            return FeatureSet(features.cpu().numpy(), logits.cpu().numpy(), None)
        peak = peaks.cpu().numpy()
        cells = peak[..., :2].astype(np.float64)
        pixels = (cells + 0.5) * HEATMAP_STRIDE - 0.5
        peak[..., :2] = input_to_cache(pixels, region, self.inputs.input_size)
        return FeatureSet(features.cpu().numpy(), logits.cpu().numpy(), peak)


def batch_size(device: torch.device, input_size: int) -> int:
    """Stacks per forward pass: a power of two, so that batches and `TAIL_MULTIPLE` go together.

    Args:
        device: that computes.
        input_size: edge of the network's input in pixels.
    """
    if device.type != "cpu":
        return ENCODE_BATCH
    fitting = max(1, CPU_PIXELS // input_size**2)
    return min(ENCODE_BATCH, 1 << (fitting.bit_length() - 1))


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
    b = torch.arange(batch, device=logits.device)[:, None]
    c = torch.arange(channels, device=logits.device)[None, :]

    def offset(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        curvature = (2 * value - before - after).clamp(min=1e-6)
        return (0.5 * (after - before) / curvature).clamp(-0.5, 0.5)

    x = column + offset(padded[b, c, row + 1, column], padded[b, c, row + 1, column + 2])
    y = row + offset(padded[b, c, row, column + 1], padded[b, c, row + 2, column + 1])
    x, y = x.clamp(0, columns - 1), y.clamp(0, rows - 1)
    return torch.stack([x, y, value.sigmoid()], dim=-1)
