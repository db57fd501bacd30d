"""Stage 2 with its weights, applied to the stage-1 output of single series."""

from collections.abc import Mapping

from intracranial.artifacts import FoldPaths
from intracranial.compute import PRECISIONS, Compute, choose_compute
from intracranial.errors import UsageError
from intracranial.inference.series_prediction import SeriesPrediction, predict_series
from intracranial.lineage import Stage2Sidecar
from intracranial.models.sequence_classifier import SequenceClassifier
from intracranial.provenance import MADE_BY
from intracranial.sampling.features import FeatureSet
from intracranial.sidecar import build, damaged
from intracranial.training.checkpoint import load_weights


class SequencePredictor:
    """A trained stage-2 network."""

    def __init__(self, paths: FoldPaths, stage2: Stage2Sidecar, device: str) -> None:
        """Load the weights that the sidecar describes, at the precision they were trained with.

        Raises:
            MissingArtifact: the weights are gone.
            InputError: they do not fit the sidecar, no network can be built from it, or the device
                cannot compute at that precision.
            UsageError: there is no such device.
        """
        self.compute: Compute = _compute(stage2, device)
        self.spec = stage2.sequence
        model = build(stage2.path, "model", stage2.model, SequenceClassifier)
        _check_inputs(stage2)
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


def _compute(stage2: Stage2Sidecar, device: str) -> Compute:
    """At the precision of the sidecar; errors as `SequencePredictor`."""
    path, precision = stage2.path, stage2.precision
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


def _check_inputs(stage2: Stage2Sidecar) -> None:
    """Check that the network takes what its sequences give it; the width of features may be any.

    Raises:
        InputError: it does not.
    """
    spec, config = stage2.sequence, stage2.model
    of_features = spec.parts.count("features")
    left = config.inputs - config.labels * (len(spec.parts) - of_features)
    width = left // of_features if of_features else 0
    widths = [width if name == "features" else config.labels for name in spec.parts]
    starts = [sum(widths[:i]) for i, name in enumerate(spec.parts) if name != "features"]
    empty = of_features and width < 1
    if sum(widths) != config.inputs or empty or config.skip not in (-1, *starts):
        raise damaged(
            stage2.path,
            f"`sequence.parts` {list(spec.parts)} do not fit `model.inputs` {config.inputs}, "
            f"`model.labels` {config.labels} and `model.skip` {config.skip}",
        )
