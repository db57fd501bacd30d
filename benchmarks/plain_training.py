"""Stage-1 training as one would write it first, to compare with.

float32, channels first, whole 512-pixel slices converted to float32, then cropped, resized and
augmented sample by sample in loader processes; torch's AdamW. Precision, layout and loading can be
exchanged one at a time. Stacks, loss and weight average are the program's.
"""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.steps import Watch, Window
from intracranial.artifacts import DataPaths
from intracranial.compute import Compute
from intracranial.options.stage1 import StackAugmentation
from intracranial.options.training import Optimization
from intracranial.sampling.augment import augment
from intracranial.sampling.series_info import SeriesInfo
from intracranial.sampling.slice_samples import StackRequest
from intracranial.sampling.stacks import StackSpec, neighbours
from intracranial.training.batches import Batch
from intracranial.training.loop import Loss

CLIP = 1.0  # gradient norm


class PlainStacks(Dataset[torch.Tensor]):
    """Stacks by request, float32 (3, S, S), the same as those of the program's data set."""

    def __init__(
        self,
        data: DataPaths,
        infos: dict[str, SeriesInfo],
        inputs: StackSpec,
        augmentation: StackAugmentation,
        seed: int,
    ) -> None:
        """Keep what is needed; the arguments are those of `StackDataset`."""
        self.data, self.infos, self.inputs = data, infos, inputs
        self.augmentation, self.seed = augmentation, seed

    def __getitem__(self, request: StackRequest) -> torch.Tensor:
        """One augmented stack."""
        info, spec = self.infos[request.uid], self.inputs
        volume = np.load(self.data.sequence(request.uid), mmap_mode="r")
        chosen = neighbours(request.index, request.step, info.n, spec.slices)
        region = spec.region(info.size)
        cropped = region.of(volume[chosen].astype(np.float32))
        size = (spec.input_size, spec.input_size)
        method = cv2.INTER_AREA if spec.input_size < region.width else cv2.INTER_LINEAR
        resized = np.stack([cv2.resize(image, size, interpolation=method) for image in cropped])
        rng = np.random.default_rng([self.seed, 2, request.epoch, request.position])
        none = np.zeros((0, 2))
        made = augment(resized - np.float32(spec.mean), none, info.axis, self.augmentation, rng)
        return torch.from_numpy(np.ascontiguousarray(made.stack))


def plain_batches(
    dataset: PlainStacks,
    requests: list[list[StackRequest]],
    targets: list[Batch],
    num_workers: int,
) -> Iterator[Batch]:
    """Stacks from the plain loader, with targets that are ready: making them costs nothing here."""
    loader = DataLoader(
        dataset,
        batch_sampler=requests,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
    )
    for stack, ready in zip(loader, targets, strict=True):
        yield {**ready, "stack": stack}


@dataclass(frozen=True)
class Layout:
    """Precision (by the compute's dtype), memory layout and optimizer of a plain training."""

    compute: Compute
    channels_last: bool = False
    fused: bool = False

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        """Move a tensor to the device in this layout."""
        if self.channels_last:
            return self.compute.place(tensor)
        return tensor.to(self.compute.device, non_blocking=True)


def watched_plain(
    model: nn.Module,
    loss: Loss,
    spec: Optimization,
    layout: Layout,
    batches: Iterable[Batch],
    window: Window,
) -> tuple[Watch, float]:
    """Train a copy of the network by a plain loop.

    Returns:
        The watch, and the mean loss of all steps.
    """
    compute = layout.compute
    network = copy.deepcopy(model).to(compute.device).train()
    if layout.channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=spec.lr, weight_decay=spec.weight_decay, fused=layout.fused
    )
    average = ModelEmaV3(network, decay=spec.ema_decay, use_warmup=True)
    watch, losses = Watch(window, compute.device), []
    for number, batch in enumerate(watch.over(batches)):
        placed = {name: layout.place(tensor) for name, tensor in batch.items()}
        optimizer.zero_grad()
        with compute.autocast():
            parts = loss(network, placed, loss.counts(placed))
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        if number % spec.ema_every == 0:
            average.update(network, step=number // spec.ema_every + 1)
        losses.append(parts["loss"].detach())
    return watch, float(torch.stack(losses).mean())
