"""Stage 2 with its weights, applied to the stage-1 output of single series."""

from collections.abc import Mapping
from typing import Any

from src.artifacts import FoldPaths
from src.compute import Compute, choose_compute
from src.models.sequence_classifier import SequenceClassifier, SequenceClassifierConfig
from src.provenance import MADE_BY
from src.sampling.features import FeatureSet
from src.sampling.sequences import SequenceSpec
from src.training.checkpoint import load_weights
from src.training.sequence_scores import SeriesPrediction, predict_series


class SequenceDetector:
    """A trained stage-2 network."""

    def __init__(self, paths: FoldPaths, manifest: dict[str, Any], device: str) -> None:
        """Load the weights that the manifest describes, at the precision they were trained with.

        Raises:
            MissingArtifact: the weights are gone.
            InputError: they do not fit the manifest.
        """
        self.compute: Compute = choose_compute(device, manifest["precision"])
        sequence = manifest["sequence"]
        self.spec = SequenceSpec(tuple(sequence["parts"]), sequence["limit"], sequence["sigma_mm"])
        model = SequenceClassifier(SequenceClassifierConfig(**manifest["model"]))
        load_weights(paths.weights("stage2"), model, MADE_BY["stage2"])
        self.model = model.to(self.compute.device).eval()

    def predict(
        self,
        sets: Mapping[tuple[int, int], FeatureSet],
        slice_mm: float,
        spacing_known: bool,
    ) -> SeriesPrediction:
        """Probabilities of one series, see `predict_series`."""
        return predict_series(self.model, sets, slice_mm, spacing_known, self.spec, self.compute)
