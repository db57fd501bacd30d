"""Losses of both stages."""

import torch
from torchvision.ops import sigmoid_focal_loss


def focal_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    weights: torch.Tensor,
    gamma: float,
    count: torch.Tensor,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """Focal loss (Lin et al. 2017) without class weighting, averaged over the known labels.

    Args:
        logits: float (B, L).
        targets: float (B, L), 0..1.
        weights: float (B, L), 0 where a label is unknown.
        gamma: focusing exponent; 0 is plain cross-entropy.
        count: `known_labels` of the whole batch, of which this may be a piece.
        smoothing: share by which targets move towards 0.5.
    """
    if smoothing:
        targets = targets * (1 - smoothing) + 0.5 * smoothing
    # torchvision's alpha defaults to 0.25; -1 switches the class weighting off
    loss = sigmoid_focal_loss(logits.float(), targets, alpha=-1, gamma=gamma, reduction="none")
    return (loss * weights).sum() / count.clamp(min=1.0)


def known_labels(weights: torch.Tensor) -> torch.Tensor:
    """Number of known labels, of which the weights are 1: float32 scalar."""
    return weights.sum()


def known_peaks(targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Number of peaks in heat maps (B, L, h, w) of labels that are known: float32 scalar."""
    return (_centres(targets).sum(dim=(2, 3)) * weights).sum()


def _centres(targets: torch.Tensor) -> torch.Tensor:
    peaks = targets.amax(dim=(2, 3), keepdim=True)
    # The peak cell may lie beside the point, so its target is just below 1.
    return ((targets == peaks) & (targets > 0.5)).float()


def heatmap_loss(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, count: torch.Tensor
) -> torch.Tensor:
    """Penalty-reduced focal loss of key-point maps (CornerNet, Law and Deng 2018, eq. 1).

    Args:
        logits: float (B, L, h, w).
        targets: float (B, L, h, w), Gaussians of height 1.
        weights: float (B, L), 0 where a label is unknown.
        count: `known_peaks` of the whole batch, of which this may be a piece.

    Returns:
        Sum over cells divided by the number of peaks (at least one per batch).
    """
    logits = logits.float()
    centre = _centres(targets)
    probability = torch.sigmoid(logits)
    log_yes = torch.nn.functional.logsigmoid(logits)
    log_no = torch.nn.functional.logsigmoid(-logits)
    hit = centre * (1 - probability) ** 2 * log_yes
    miss = (1 - centre) * (1 - targets) ** 4 * probability**2 * log_no
    loss = -(hit + miss).sum(dim=(2, 3)) * weights
    return loss.sum() / count.clamp(min=1.0)
