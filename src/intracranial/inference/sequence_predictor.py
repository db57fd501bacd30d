"""Stage 2 with its weights, applied to the stage-1 output of single series."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intracranial.artifacts import FoldPaths
from intracranial.compute import PRECISIONS, Compute, choose_compute
from intracranial.errors import UsageError
from intracranial.inference.series_prediction import SeriesPrediction, predict_series
from intracranial.models.sequence_classifier import SequenceClassifier, SequenceClassifierConfig
from intracranial.provenance import MADE_BY
from intracranial.sampling.features import FeatureSet
from intracranial.sampling.sequences import SequenceSpec
from intracranial.sidecar import build, damaged, part
from intracranial.training.checkpoint import load_weights


class SequencePredictor:
    """A trained stage-2 network."""

    def __init__(self, paths: FoldPaths, manifest: dict[str, Any], device: str) -> None:
        """Load the weights that the manifest describes, at the precision they were trained with.

        Raises:
            MissingArtifact: the weights are gone.
            InputError: they do not fit the manifest, its parts are damaged, or the device cannot
                compute at that precision.
            UsageError: there is no such device.
        """
        sidecar = paths.manifest("stage2")
        self.compute: Compute = _compute(sidecar, manifest, device)
        self.spec = part(sidecar, manifest, "sequence", SequenceSpec)
        model = build(sidecar, manifest, "model", SequenceClassifierConfig, SequenceClassifier)
        _check_inputs(sidecar, self.spec, model.config)
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


def _compute(path: Path, manifest: Mapping[str, Any], device: str) -> Compute:
    """At the precision of the sidecar; errors as `SequencePredictor`."""
    precision = part(path, manifest, "precision", str)
    if precision not in PRECISIONS:
        raise damaged(path, f"`precision` is {precision!r}, not one of {', '.join(PRECISIONS)}")
    available = choose_compute(device)
    try:
        return choose_compute(device, precision)
    except UsageError:  # no flag was given
        raise damaged(
            path,
            f"`precision` is {precision!r}, at which {available.device} cannot compute: use a GPU",
        ) from None


def _check_inputs(path: Path, spec: SequenceSpec, config: SequenceClassifierConfig) -> None:
    """Check that the network takes what `spec` gives it; the width of features may be any.

    Raises:
        InputError: it does not.
    """
    of_features = spec.parts.count("features")
    left = config.inputs - config.labels * (len(spec.parts) - of_features)
    width = left // of_features if of_features else 0
    widths = [width if name == "features" else config.labels for name in spec.parts]
    starts = [sum(widths[:i]) for i, name in enumerate(spec.parts) if name != "features"]
    empty = of_features and width < 1
    if sum(widths) != config.inputs or empty or config.skip not in (-1, *starts):
        raise damaged(
            path,
            f"`sequence.parts` {list(spec.parts)} do not fit `model.inputs` {config.inputs}, "
            f"`model.labels` {config.labels} and `model.skip` {config.skip}",
        )
