"""Poolings over the slices of a series that ignore padding."""

import torch
from torch import nn

POOLINGS = ("gem", "mean", "max", "attention")


class MaskedPool(nn.Module):
    """One vector per series from its slices: generalised mean, mean, max or attention."""

    def __init__(self, kind: str, width: int) -> None:
        """Choose the pooling.

        Args:
            kind: one of `POOLINGS`. `gem` (Radenovic et al. 2019) learns its exponent, 3 at first,
                over softplus activations, which keeps them positive.
            width: channels C.
        """
        super().__init__()
        if kind not in POOLINGS:
            raise ValueError(f"unknown pooling {kind!r}: choose from {', '.join(POOLINGS)}")
        self.kind = kind
        if kind == "gem":
            self.exponent = nn.Parameter(torch.tensor(3.0))
        if kind == "attention":
            self.score = nn.Linear(width, 1)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool (B, n, C) over n where `mask` (B, n) is True -> (B, C)."""
        kept = mask.unsqueeze(-1)
        count = kept.sum(dim=1).clamp(min=1)
        if self.kind == "max":
            return tokens.masked_fill(~kept, float("-inf")).amax(dim=1)
        if self.kind == "attention":
            score = self.score(tokens).masked_fill(~kept, float("-inf"))
            return (tokens * score.softmax(dim=1)).sum(dim=1)
        if self.kind == "mean":
            return (tokens * kept).sum(dim=1) / count
        exponent = self.exponent.clamp(1.0, 8.0)
        positive = nn.functional.softplus(tokens.float()).clamp(min=1e-6)
        mean = (positive.pow(exponent) * kept).sum(dim=1) / count
        return mean.pow(1 / exponent).to(tokens.dtype)
