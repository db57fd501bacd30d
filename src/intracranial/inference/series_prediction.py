"""Stage 2 applied to single series.

Training log, staged and end-to-end evaluation all call `predict_series`, so that their
probabilities are equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from intracranial.compute import Compute
from intracranial.sampling.features import FeatureSet
from intracranial.sampling.sequences import SequenceSpec, positions_mm, thinned, tokens_of


@dataclass(frozen=True)
class SeriesPrediction:
    """Probabilities of one series: (L,), and per slice: (n, L), float64.

    Slices that thinning left out take the probabilities of the nearest kept slice.
    """

    probabilities: np.ndarray
    slice_probabilities: np.ndarray


def plain_views(keys: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (step, view) that `predict_series` uses, so that no others need to be read."""
    return [(step, view) for step, view in keys if view == 0]


def of_stage1(found: FeatureSet) -> SeriesPrediction:
    """What stage 1 says by itself: per slice its classifier, of the series the largest of them."""
    slices = 1 / (1 + np.exp(-found.logits.astype(np.float64)))
    return SeriesPrediction(slices.max(axis=0), slices)


def predict_series(
    model: nn.Module,
    sets: Mapping[tuple[int, int], FeatureSet],
    slice_mm: float,
    spacing_known: bool,
    spec: SequenceSpec,
    compute: Compute,
) -> SeriesPrediction:
    """Probabilities of one series, averaged over the steps of its plain view.

    Args:
        model: a `SequenceClassifier` in evaluation mode, on the compute device.
        sets: stage-1 output by (step, view), as rounded in a feature file.
        slice_mm: slice spacing, nominal where unknown.
        spacing_known: whether it is known.
        spec: what stage 2 sees.
        compute: device and precision.
    """
    series, slices = [], []
    for key in plain_views(sorted(sets)):
        found = sets[key]
        n = len(found.features)
        kept = thinned(n, spec.limit)
        tokens = torch.from_numpy(tokens_of(found, spec.parts)[kept])[None]
        position = torch.from_numpy(positions_mm(kept, n, slice_mm))[None]
        mask = torch.ones(1, len(kept), dtype=torch.bool)
        known = torch.tensor([spacing_known])
        with torch.inference_mode(), compute.autocast():
            output = model(*(compute.place(t) for t in (tokens, position, mask, known)))
        series.append(output.logits[0].double().sigmoid().cpu().numpy())
        nearest = np.abs(np.arange(n)[:, None] - kept[None]).argmin(axis=1)
        slices.append(output.slice_logits[0].double().sigmoid().cpu().numpy()[nearest])
    return SeriesPrediction(np.mean(series, axis=0), np.mean(slices, axis=0))
