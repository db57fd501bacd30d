"""Stage 2: a transformer over the stage-1 output of all slices of a series."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from intracranial.models.pooling import MaskedPool

RARE_LOGIT = -3.0
"""Initial bias of the outputs: most labels are rare."""

POSITION_PERIODS_MM = (2.0, 400.0)
"""Shortest and longest period of the sinusoidal position code, in mm."""


@dataclass(frozen=True)
class SequenceClassifierConfig:
    """All that is needed to build the network again from its sidecar.

    `inputs` numbers per slice; `labels` outputs of the series head and of the per-slice head;
    `width`, `feed_forward`, `layers`, `heads` of the transformer; `pool` see `MaskedPool`;
    `dropout` inside the transformer, `head_dropout` before the output layers. `skip` is the first
    of `labels` inputs that are logits of stage 1, or -1 where there are none among the inputs.
    """

    inputs: int
    labels: int
    width: int
    feed_forward: int
    layers: int
    heads: int
    pool: str
    dropout: float
    head_dropout: float
    skip: int = -1


@dataclass(frozen=True)
class SequenceOutput:
    """Logits of the series (B, L) and of its slices (B, n, L)."""

    logits: torch.Tensor
    slice_logits: torch.Tensor


class SequenceClassifier(nn.Module):
    """Projection, position in mm, transformer encoder, CLS token joined to pooled slices, heads.

    Where stage 1's logits are among the inputs, the heads correct them: their maximum over the
    slices is added to the series' logits, and each slice's own to that slice's. Training then
    begins at the maximum of stage 1, which few series alone would not teach.
    """

    def __init__(self, config: SequenceClassifierConfig) -> None:
        """Build the network."""
        super().__init__()
        self.config = config
        width = config.width
        self.project = nn.Sequential(nn.LayerNorm(config.inputs), nn.Linear(config.inputs, width))
        self.position = nn.Linear(width, width)
        self.spacing_known = nn.Embedding(2, width)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width,
            config.heads,
            config.feed_forward,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        # nested tensors would give other last bits for padded than for single series
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.pool = MaskedPool(config.pool, width)
        self.head = nn.Sequential(
            nn.Linear(2 * width, width),
            nn.GELU(),
            nn.Dropout(config.head_dropout),
            nn.Linear(width, config.labels),
        )
        self.slice_head = nn.Sequential(
            nn.Dropout(config.head_dropout), nn.Linear(width, config.labels)
        )
        for last in (self.head[-1], self.slice_head[-1]):
            nn.init.normal_(last.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.constant_(last.bias, RARE_LOGIT if config.skip < 0 else 0.0)  # type: ignore[arg-type]
        self.skip_scale = nn.Parameter(torch.ones(2, config.labels))
        low, high = POSITION_PERIODS_MM
        periods = torch.exp(torch.linspace(math.log(low), math.log(high), width // 2))
        self.frequencies: torch.Tensor
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)

    def forward(
        self,
        tokens: torch.Tensor,
        position_mm: torch.Tensor,
        mask: torch.Tensor,
        spacing_known: torch.Tensor,
    ) -> SequenceOutput:
        """Classify padded series.

        Args:
            tokens: float32 (B, n, inputs).
            position_mm: float32 (B, n), along the slice normal from the series' centre.
            mask: bool (B, n), True where there is a slice.
            spacing_known: bool (B,), False where the position is nominal.
        """
        angle = position_mm.unsqueeze(-1) * self.frequencies  # (B, n, width / 2)
        code = torch.cat([angle.sin(), angle.cos()], dim=-1)
        x = self.project(tokens) + self.position(code)
        x = x + self.spacing_known(spacing_known.long()).unsqueeze(1)
        # shape[0], since len(x) would fix the batch size of an exported network
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + n, width)
        padding = torch.cat([torch.zeros_like(mask[:, :1]), ~mask], dim=1)
        x = self.norm(self.encoder(x, src_key_padding_mask=padding))
        summary, slices = x[:, 0], x[:, 1:]
        pooled = self.pool(slices, mask)
        logits = self.head(torch.cat([summary, pooled], dim=-1))
        slice_logits = self.slice_head(slices)
        if self.config.skip >= 0:
            first = tokens[..., self.config.skip : self.config.skip + self.config.labels]
            highest = first.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(dim=1)
            logits = logits + self.skip_scale[0] * highest
            slice_logits = slice_logits + self.skip_scale[1] * first
        return SequenceOutput(logits, slice_logits)
