"""Losses against hand-made values."""

import pytest
import torch
from torch.nn import functional

from intracranial.training import losses
from intracranial.training.losses import known_labels, known_peaks


def focal_loss(logits, targets, weights, gamma, smoothing=0.0) -> torch.Tensor:
    return losses.focal_loss(logits, targets, weights, gamma, known_labels(weights), smoothing)


def heatmap_loss(logits, targets, weights) -> torch.Tensor:
    return losses.heatmap_loss(logits, targets, weights, known_peaks(targets, weights))


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


def test_smoothing_moves_the_targets_towards_one_half() -> None:
    logits, targets = torch.randn(4, 3), torch.rand(4, 3).round()
    found = focal_loss(logits, targets, torch.ones(4, 3), 0.0, smoothing=0.2)
    assert found == pytest.approx(
        functional.binary_cross_entropy_with_logits(logits, targets * 0.8 + 0.1).item(), rel=1e-5
    )


def test_pieces_with_the_count_of_the_batch_add_up_to_its_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, heat = torch.randn(8, 3, generator=generator), torch.randn(8, 3, 4, 4)
    targets, weights = torch.rand(8, 3).round(), torch.rand(8, 3).round()
    maps = torch.zeros(8, 3, 4, 4)
    maps[::3, :, 1, 2] = 1
    labels, peaks = known_labels(weights), known_peaks(maps, weights)
    pieces = [slice(0, 3), slice(3, 4), slice(4, 8)]
    parts = [
        losses.focal_loss(logits[p], targets[p], weights[p], 2.0, labels)
        + losses.heatmap_loss(heat[p], maps[p], weights[p], peaks)
        for p in pieces
    ]
    whole = focal_loss(logits, targets, weights, 2.0) + heatmap_loss(heat, maps, weights)
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-6)
    means = [focal_loss(logits[p], targets[p], weights[p], 2.0) for p in pieces]
    assert sum(means).item() / 3 != pytest.approx(
        focal_loss(logits, targets, weights, 2.0).item(), rel=1e-3
    )
