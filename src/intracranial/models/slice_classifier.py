"""Stage 1: a 2-D classifier of slice stacks with a localisation head beside it.

The classifier is a timm encoder, dropout and one linear layer. The localisation head merges the
encoder's maps at strides 8, 16 and 32 into one heat map per label at stride 8, because one cell at
stride 32 covers about 14 mm and cannot place an aneurysm of 5 mm. The overall label has a heat map
of its own: every finding teaches it, however rare its location. Without places to learn from there
is no such head.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn
from torch.nn import functional

from intracranial.marks import Before
from intracranial.models.backbones import (
    WEIGHTS_AUTO,
    WEIGHTS_NONE,
    create_backbone,
    dry_run_shapes,
)
from intracranial.models.initial_weights import load_encoder, load_head, read_initial_weights

HEATMAP_STRIDE = 8
"""Input pixels per heat-map cell."""

MAP_STRIDES = (8, 16, 32)
"""Encoder strides that feed the heat map, where the encoder has them."""

RARE_LOGIT = -4.0
"""Initial bias of the outputs: findings are rare, so training starts near 2 %."""


@dataclass(frozen=True)
class SliceClassifierConfig:
    """All that is needed to build the network again from its sidecar.

    `labels` outputs of the classifier and channels of the heat map, `input_size` the edge of the
    square input in pixels, `pool` timm's global pooling ('' for the model's own), `dropout` before
    the linear layer, `heatmap_width` channels of the localisation head, `heatmap` whether there is
    one, `channels` of the input: those of the stacks.
    """

    backbone: str
    labels: int
    input_size: int
    pool: str = ""
    dropout: float = 0.0
    heatmap_width: int = 64
    heatmap: bool = True
    channels: Annotated[int, Before(3)] = 3


@dataclass(frozen=True)
class SliceOutput:
    """Network output for B stacks: (B, C) features, (B, L) logits, (B, L, H/8, W/8) heat map.

    The heat map is None where the network has no localisation head.
    """

    features: torch.Tensor
    logits: torch.Tensor
    heatmap: torch.Tensor | None


class HeatmapHead(nn.Module):
    """Maps at several strides -> one logit map per label at stride 8."""

    def __init__(
        self, maps: list[tuple[int, int, int, int]], width: int, labels: int, cells: int
    ) -> None:
        """Choose one map per stride; `cells` is the edge of the heat map."""
        super().__init__()
        self.cells = cells
        chosen: dict[int, tuple[int, int]] = {}
        for index, channels, rows, _ in maps:
            if rows <= cells:  # later maps of one stride see more of the network
                chosen[rows] = (index, channels)
        self.indices = [index for index, _ in chosen.values()]
        self.laterals = nn.ModuleList()
        for rows, (_, channels) in chosen.items():
            # A plain transformer has no map at stride 8: pixel shuffle makes one from its channels.
            shuffled = rows < cells and len(chosen) == 1
            convolution = nn.Conv2d(channels, width * 4 if shuffled else width, 1)
            shuffle = nn.PixelShuffle(2) if shuffled else nn.Identity()
            self.laterals.append(nn.Sequential(nn.GroupNorm(1, channels), convolution, shuffle))
        self.merge = nn.Sequential(
            nn.GroupNorm(8 if width % 8 == 0 else 1, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8 if width % 8 == 0 else 1, width),
            nn.GELU(),
            nn.Conv2d(width, labels, 1),
        )
        nn.init.constant_(self.merge[-1].bias, RARE_LOGIT)  # type: ignore[arg-type]

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Maps as chosen by `indices`, each (B, C_i, h_i, w_i) -> (B, L, cells, cells)."""
        merged = None
        for lateral, feature in zip(self.laterals, maps, strict=True):
            part = lateral(feature)
            if part.shape[-1] != self.cells:
                part = functional.interpolate(
                    part, size=(self.cells, self.cells), mode="bilinear", align_corners=False
                )
            merged = part if merged is None else merged + part
        return self.merge(merged)


class SliceClassifier(nn.Module):
    """Encoder + linear classifier, and the localisation head that teaches it where to look."""

    def __init__(self, config: SliceClassifierConfig, weights: str = WEIGHTS_NONE) -> None:
        """Build the network.

        Args:
            config: its sizes.
            weights: `auto` for timm's pretrained encoder, `none`, or a file, see
                `read_initial_weights`; a file may hold the classifier too.

        Raises:
            UsageError: see `create_backbone`.
            InputError: the weights cannot be had, or do not fit.
        """
        super().__init__()
        self.config = config
        from_file = weights not in (WEIGHTS_AUTO, WEIGHTS_NONE)
        given = read_initial_weights(Path(weights)) if from_file else None
        self.encoder: Any = create_backbone(
            config.backbone, weights, config.input_size, config.pool or None, config.channels
        )
        if given is not None:
            load_encoder(self.encoder, given, config.backbone)
        self.width, maps = dry_run_shapes(self.encoder, config.input_size, config.channels)
        cells = -(-config.input_size // HEATMAP_STRIDE)
        self.heatmap: HeatmapHead | None = None
        if config.heatmap:
            self.heatmap = HeatmapHead(maps, config.heatmap_width, config.labels, cells)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.width, config.labels)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.constant_(self.classifier.bias, RARE_LOGIT)
        if given is not None:
            load_head(self.classifier, given)

    def forward(self, stacks: torch.Tensor) -> SliceOutput:
        """Stacks float32 (B, channels, H, W) -> `SliceOutput`."""
        head, maps = self.heatmap, []
        if head is None:
            final = self.encoder.forward_features(stacks)
        else:
            final, maps = self.encoder.forward_intermediates(stacks, indices=head.indices)
        features = self.encoder.forward_head(final, pre_logits=True)
        logits = self.classifier(self.dropout(features))
        # last: the order in which gradients meet in the encoder decides their last bits
        return SliceOutput(features, logits, None if head is None else head(maps))
