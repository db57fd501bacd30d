"""The picture of the first batches, whatever a stack shows."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from intracranial.tasks import RSNA_2025
from intracranial.training.contact_sheet import CAPTION, TILE, draw_batches
from tests.challenge import LABELS


@dataclass
class Pieces:
    """Two batches of five stacks."""

    channels: int
    accumulate: int = 1

    def pieces(self, epoch: int, done: int) -> list[dict[str, torch.Tensor]]:
        stack = torch.zeros(5, self.channels, 32, 32)
        stack += torch.arange(self.channels)[:, None, None]
        targets = torch.zeros(5, len(LABELS))
        return [{"stack": stack, "targets": targets}] * 2


@pytest.mark.parametrize(
    ("channels", "per_row", "rows"), [(1, 12, 1), (3, 4, 3), (5, 2, 5), (9, 1, 10), (15, 1, 10)]
)
def test_a_stack_is_drawn_as_its_channels_side_by_side(
    tmp_path: Path, channels: int, per_row: int, rows: int
) -> None:
    draw_batches(tmp_path / "batches.png", Pieces(channels), RSNA_2025)
    sheet = cv2.imread(str(tmp_path / "batches.png"), cv2.IMREAD_GRAYSCALE)
    width = channels * TILE + 4
    assert sheet.shape == (rows * (CAPTION + TILE), per_row * width)
    centres = 4 + TILE // 2 + TILE * np.arange(channels)
    shown = sheet[CAPTION + TILE // 2, centres]
    assert shown.tolist() == np.minimum(51 * np.arange(channels), 255).tolist()
