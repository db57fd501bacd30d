"""Both networks of a fold as ONNX files, each compared with the network that it was made from.

Batch size, and for stage 2 the number of slices, are dynamic. A file is kept only if onnxruntime
gives the same numbers with it, at sizes that the export has not seen.
"""

import logging
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim

from intracranial.artifacts import atomic_path, write_json
from intracranial.compute import choose_compute
from intracranial.errors import NumericalError
from intracranial.imaging.pixels import Pixels
from intracranial.inference.encoder import Encoder
from intracranial.inference.sequence_predictor import SequencePredictor
from intracranial.lineage import TrainedFold
from intracranial.runlog import log
from intracranial.sidecar import part

TOLERANCE = 1e-3
"""Largest difference of any output between torch and onnxruntime."""

STAGE1_INPUTS, STAGE1_OUTPUTS = ("stacks",), ("features", "logits", "heatmap")
"""The heat map is left out where stage 1 has none."""

STAGE2_INPUTS = ("tokens", "position_mm", "mask", "spacing_known")
STAGE2_OUTPUTS = ("logits", "slice_logits")

EXAMPLE = (3, 7)
"""Stacks or series, and slices, that the export sees."""

CHECKED = ((1, 5), (2, 33))
"""The same of the comparison."""


class _Stage1(nn.Module):
    """Outputs as a tuple, in the order of `STAGE1_OUTPUTS`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, stacks: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.model(stacks)
        found = (output.features, output.logits, output.heatmap)
        return tuple(one for one in found if one is not None)


class _Stage2(nn.Module):
    """Outputs as a tuple, in the order of `STAGE2_OUTPUTS`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens: torch.Tensor,
        position_mm: torch.Tensor,
        mask: torch.Tensor,
        spacing_known: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        output = self.model(tokens, position_mm, mask, spacing_known)
        return output.logits, output.slice_logits


def export_fold(trained: TrainedFold, out_dir: Path) -> dict[str, float]:
    """Write stage1.onnx, stage2.onnx and onnx.json, which says what goes in and comes out.

    Args:
        trained: the fold's sidecars.
        out_dir: where the files go.

    Returns:
        Largest difference from torch, by stage.

    Raises:
        MissingArtifact: weights are gone.
        InputError: they do not fit the manifest, or it is damaged.
        NumericalError: onnxruntime differs by more than `TOLERANCE`, or gives NaN.
    """
    paths, stage1, stage2 = trained.paths, trained.stage1, trained.stage2
    part(paths.manifest("stage1"), stage1, "preprocessing", Pixels)  # it is written down
    encoder = Encoder(paths, stage1, choose_compute("cpu", "fp32"))
    first = encoder.model.to(memory_format=torch.contiguous_format)
    second = SequencePredictor(paths, stage2, "cpu").model
    batch, slices = Dim("batch"), Dim("slices")
    edge = encoder.inputs.input_size
    inputs = stage2["model"]["inputs"]
    found = {
        "stage1": _export(
            _Stage1(first),
            [_stacks(b, edge) for b, _ in (EXAMPLE, *CHECKED)],
            (STAGE1_INPUTS, STAGE1_OUTPUTS if first.heatmap is not None else STAGE1_OUTPUTS[:2]),
            ({0: batch},),
            out_dir / "stage1.onnx",
        ),
        "stage2": _export(
            _Stage2(second),
            [_sequences(b, n, inputs) for b, n in (EXAMPLE, *CHECKED)],
            (STAGE2_INPUTS, STAGE2_OUTPUTS),
            ({0: batch, 1: slices}, {0: batch, 1: slices}, {0: batch, 1: slices}, {0: batch}),
            out_dir / "stage2.onnx",
        ),
    }
    write_json(out_dir / "onnx.json", description(stage1, stage2, found))
    return found


def description(
    stage1: dict[str, Any], stage2: dict[str, Any], differences: dict[str, float]
) -> dict[str, Any]:
    """What another program needs beside the two files."""
    outputs = {
        "features": "float32 (batch, C); rounded to float16 before stage 2",
        "logits": "float32 (batch, labels)",
    }
    if stage1["model"].get("heatmap", True):
        outputs["heatmap"] = "float32 (batch, labels, input_size / 8, input_size / 8), logits"
    return {
        "labels": stage1["task"]["labels"],
        "preprocessing": stage1["preprocessing"],
        "stage1": {
            "made_from": stage1["identity"],
            "input": stage1["input"],
            "steps": stage1["steps"],
            "inputs": {"stacks": "float32 (batch, 3, input_size, input_size), mean subtracted"},
            "outputs": outputs,
            "largest_difference": differences["stage1"],
        },
        "stage2": {
            "made_from": stage2["identity"],
            "sequence": stage2["sequence"],
            "inputs": {
                "tokens": "float32 (batch, slices, inputs): the parts of stage 1 side by side",
                "position_mm": "float32 (batch, slices), along the normal from the middle",
                "mask": "bool (batch, slices), true where there is a slice",
                "spacing_known": "bool (batch,)",
            },
            "outputs": {
                "logits": "float32 (batch, labels)",
                "slice_logits": "float32 (batch, slices, labels)",
            },
            "largest_difference": differences["stage2"],
        },
    }


def _stacks(batch: int, edge: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(batch)
    return (torch.randn(batch, 3, edge, edge, generator=generator),)


def _sequences(batch: int, slices: int, inputs: int) -> tuple[torch.Tensor, ...]:
    """Series of which every one after the first is two slices shorter."""
    generator = torch.Generator().manual_seed(batch)
    lengths = torch.tensor([slices] + [slices - 2] * (batch - 1))
    return (
        torch.randn(batch, slices, inputs, generator=generator),
        torch.arange(slices).float().expand(batch, slices).contiguous(),
        torch.arange(slices)[None] < lengths[:, None],
        torch.arange(batch) % 2 == 0,
    )


def _export(
    model: nn.Module,
    examples: Sequence[tuple[torch.Tensor, ...]],
    names: tuple[Sequence[str], Sequence[str]],
    dynamic: tuple[dict[int, Any], ...],
    path: Path,
) -> float:
    """Export with the first example, compare with all, keep the file if they agree."""
    model.eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with atomic_path(path) as temporary:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, on the names of dynamic axes
            torch.onnx.export(
                model,
                examples[0],
                str(temporary),
                input_names=list(names[0]),
                output_names=list(names[1]),
                dynamic_shapes=dynamic,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        difference = largest(_difference(model, temporary, names[0], given) for given in examples)
        if not difference <= TOLERANCE:  # also where it is NaN
            raise NumericalError(
                f"{path.name}: onnxruntime differs from torch by {difference:g}, more than "
                f"{TOLERANCE:g}; no file was written"
            )
    log.info("wrote %s, largest difference from torch %.1e", path, difference)
    return difference


def _difference(
    model: nn.Module, path: Path, names: Sequence[str], given: tuple[torch.Tensor, ...]
) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        expected = model(*given)
    found = session.run(None, {k: v.numpy() for k, v in zip(names, given, strict=True)})
    return largest(
        float(np.abs(one.numpy() - other).max()) for one, other in zip(expected, found, strict=True)
    )


def largest(values: Iterable[float]) -> float:
    """The largest value; NaN if one of them is, which Python's `max` may pass over."""
    return float(np.max(list(values)))
