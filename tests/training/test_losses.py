"""Losses against hand-made values."""

import pytest
import torch
from torch.nn import functional

from src.training.losses import focal_loss, heatmap_loss


def test_gamma_zero_is_cross_entropy() -> None:
    logits, targets = torch.randn(4, 3), torch.rand(4, 3).round()
    found = focal_loss(logits, targets, torch.ones(4, 3), 0.0)
    assert found == pytest.approx(
        functional.binary_cross_entropy_with_logits(logits, targets).item(), rel=1e-5
    )


def test_positives_and_negatives_weigh_the_same() -> None:
    # torchvision's default alpha of 0.25 would make them differ by a factor of three
    logits = torch.tensor([[2.0]])
    yes = focal_loss(logits, torch.tensor([[1.0]]), torch.ones(1, 1), 2.0)
    no = focal_loss(-logits, torch.tensor([[0.0]]), torch.ones(1, 1), 2.0)
    assert yes == pytest.approx(no.item())


def test_unknown_labels_do_not_count() -> None:
    logits, targets = torch.tensor([[0.0, 50.0]]), torch.tensor([[1.0, 0.0]])
    weights = torch.tensor([[1.0, 0.0]])
    assert focal_loss(logits, targets, weights, 0.0) == pytest.approx(0.6931, abs=1e-3)


def test_the_heat_map_loss_prefers_the_right_place() -> None:
    targets = torch.zeros(1, 1, 9, 9)
    targets[0, 0, 4, 4] = 1
    right, wrong = torch.full((1, 1, 9, 9), -6.0), torch.full((1, 1, 9, 9), -6.0)
    right[0, 0, 4, 4] = wrong[0, 0, 0, 0] = 4
    weights = torch.ones(1, 1)
    assert heatmap_loss(right, targets, weights) < 0.1 < heatmap_loss(wrong, targets, weights)
    assert heatmap_loss(wrong, targets, torch.zeros(1, 1)) == 0
