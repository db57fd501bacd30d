"""The first training batches as one picture, to see what the network is shown and told."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from intracranial.artifacts import atomic_open
from intracranial.tasks import Task
from intracranial.training.batches import Batch, TrainingData
from intracranial.training.loaders import deaths_explained

SHOWN_BATCHES = 2
"""Batches of the first epoch that are drawn."""

LARGEST = 64
"""Stacks that are drawn at most."""

TILE = 112
"""Edge of a drawn slice in pixels."""

CAPTION = 16
"""Height of a caption in pixels."""

PICTURES_PER_ROW = 12
"""Channels side by side, of as many whole stacks as that allows: four of three slices."""

VALUE_RANGE = 5.0
"""Cached values run from 0 to 5; the input's mean is subtracted, so the least value is black."""

MARK, TEXT = (0, 200, 255), (255, 255, 255)
"""Blue, green, red."""


def draw_batches(path: Path, data: TrainingData, task: Task) -> None:
    """Write the first augmented batches as PNG.

    Each stack is drawn as its channels, slice by slice, with the labels that it is trained with:
    `+` and the initials of the locations, `-` for none. A ring marks each peak of the heat map.

    Args:
        path: of the picture.
        data: of stage 1.
        task: names the labels.
    """
    with deaths_explained():
        pieces = list(islice(data.pieces(0, 0), SHOWN_BATCHES * data.accumulate))
    tiles = [tile for piece in pieces for tile in _tiles(piece, task)][:LARGEST]
    per_row = max(1, PICTURES_PER_ROW // pieces[0]["stack"].shape[1])
    while len(tiles) % per_row:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.concatenate(tiles[i : i + per_row], axis=1) for i in range(0, len(tiles), per_row)]
    _, encoded = cv2.imencode(".png", np.concatenate(rows))
    with atomic_open(path, "wb") as file:
        file.write(encoded.tobytes())


def _tiles(piece: Batch, task: Task) -> list[np.ndarray]:
    stack, targets = piece["stack"], piece["targets"]
    heatmaps = piece.get("heatmap", [None] * len(stack))
    return [_tile(*one, task) for one in zip(stack, targets, heatmaps, strict=True)]


def _tile(
    stack: torch.Tensor, targets: torch.Tensor, heatmap: torch.Tensor | None, task: Task
) -> np.ndarray:
    """One stack of C channels: uint8 (CAPTION + TILE, C * TILE + 4, 3)."""
    values = stack.numpy()
    grey = np.clip((values - values.min()) * (255 / VALUE_RANGE), 0, 255).astype(np.uint8)
    pictures = [
        cv2.cvtColor(cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_AREA), 8)
        for image in grey
    ]
    for centre in [] if heatmap is None else _centres(heatmap.numpy(), task):
        for image in pictures:
            cv2.circle(image, centre, 9, MARK, 1, cv2.LINE_AA)
    joined = np.concatenate(pictures, axis=1)
    framed = cv2.copyMakeBorder(joined, CAPTION, 0, 0, 4, cv2.BORDER_CONSTANT)
    words = caption(targets, task)
    cv2.putText(framed, words, (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, TEXT, 1, cv2.LINE_AA)
    return framed


def caption(targets: torch.Tensor, task: Task) -> str:
    """Labels of a stack in few characters."""
    if not targets.any():
        return "-"
    initials = [
        "".join(word[0] for word in label.split())
        for label, target in zip(task.labels, targets.tolist(), strict=True)
        if target and label != task.overall
    ]
    return " ".join(["+", *initials])


def _centres(heatmap: np.ndarray, task: Task) -> list[list[int]]:
    """Pixels x, y of the labelled centres in a tile, from heat maps (L, h, w)."""
    shown = heatmap.max(axis=0)
    if task.overall is not None:
        shown = heatmap[task.labels.index(task.overall)]
    cells = peak_cells(shown)[:, ::-1] + 0.5
    return np.round(cells * TILE / len(shown)).astype(int).tolist()


def peak_cells(heatmap: np.ndarray) -> np.ndarray:
    """Rows and columns (m, 2) of the maxima of a heat map of Gaussians."""
    highest = cv2.dilate(heatmap, np.ones((3, 3), np.uint8))
    return np.argwhere((heatmap == highest) & (heatmap > 0.5))
