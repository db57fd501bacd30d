"""Both stages as ONNX: any batch, any length, the numbers of torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from intracranial.errors import EXIT_INPUT, NumericalError
from intracranial.inference.run import Predictor
from intracranial.lineage import open_fold
from intracranial.models.sequence_classifier import SequenceOutput
from intracranial.models.slice_classifier import SliceOutput
from intracranial.sampling.stacks import StackSpec, Window
from intracranial.tasks import RSNA_2025
from tests.challenge import LABELS
from tests.tiny_data import uid_of
from tests.tiny_runs import Place, read, run_tool
from tests.untrained_runs import write_untrained_run

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is an extra")

import onnxruntime  # noqa: E402

from intracranial.deployment import onnx_export  # noqa: E402


class Session(nn.Module):
    """An ONNX file in the place of a network."""

    def __init__(self, path: Path, output: type) -> None:
        super().__init__()
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.output = output

    def forward(self, *given: torch.Tensor) -> Any:
        names = [one.name for one in self.session.get_inputs()]
        fed = {name: one.numpy() for name, one in zip(names, given, strict=True)}
        return self.output(*map(torch.from_numpy, self.session.run(None, fed)))


@pytest.fixture(scope="module")
def exported(tiny: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx")
    said = run_tool("export_onnx", "--model", tiny.model_dir / "tiny", "--out_dir", out)
    assert said.code == 0, said.text
    return out / "fold-0"


@pytest.mark.slow
def test_a_series_gets_the_probabilities_of_torch(exported: Path, tiny: Place, others: Path):
    predictor = Predictor(tiny.model_dir / "tiny", device="cpu", precision="fp32")
    series = [others / "series" / uid_of(number) for number in (100, 101)]
    expected = [predictor.predict(folder) for folder in series]
    (one,) = predictor.fold_predictors
    one.encoder.model = Session(exported / "stage1.onnx", SliceOutput)
    one.sequences.model = Session(exported / "stage2.onnx", SequenceOutput)
    for folder, torch_s in zip(series, expected, strict=True):
        found = predictor.predict(folder)
        assert np.allclose(found.probabilities, torch_s.probabilities, atol=1e-3)
        assert np.allclose(found.slice_probabilities, torch_s.slice_probabilities, atol=1e-3)
        assert found.points[0].mm == pytest.approx(torch_s.points[0].mm, abs=0.1)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_stage_1_takes_any_batch(exported: Path, batch: int):
    session = onnxruntime.InferenceSession(str(exported / "stage1.onnx"))
    (given,) = session.get_inputs()
    edge = given.shape[-1]
    features, logits, heatmap = session.run(
        None, {given.name: np.zeros((batch, 3, edge, edge), dtype=np.float32)}
    )
    assert logits.shape == (batch, 14) and heatmap.shape == (batch, 14, edge // 8, edge // 8)
    assert len(features) == batch and np.allclose(logits, logits[0], atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "channels", "said"),
    [
        (StackSpec(0.9, 48, 2.5, slices=1), 1, "mean subtracted"),
        (StackSpec(0.9, 48, 2.5, windows=(Window(40, 80), Window(80, 200), Window(600, 2800))), 9,
         "channel 3 * s + w is slice s in window w"),
    ],
)  # fmt: skip
def test_stage_1_takes_the_channels_of_its_stacks(
    tmp_path: Path, inputs: StackSpec, channels: int, said: str
):
    paths = write_untrained_run(tmp_path / "model" / "run", RSNA_2025, inputs=inputs)
    onnx_export.export_fold(open_fold(paths), tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "stage1.onnx"))
    assert session.get_inputs()[0].shape[1:] == [channels, 48, 48]
    content = read(tmp_path / "onnx.json")["stage1"]
    assert content["inputs"]["stacks"].startswith(f"float32 (batch, {channels}, input_size")
    assert content["inputs"]["stacks"].endswith(said)
    assert content["input"] == read(paths.manifest("stage1"))["input"]


@pytest.mark.parametrize(("batch", "slices"), [(1, 1), (1, 300), (4, 9)])
def test_stage_2_takes_any_batch_and_length(exported: Path, batch: int, slices: int):
    session = onnxruntime.InferenceSession(str(exported / "stage2.onnx"))
    inputs = session.get_inputs()[0].shape[-1]
    given = {
        "tokens": np.zeros((batch, slices, inputs), dtype=np.float32),
        "position_mm": np.zeros((batch, slices), dtype=np.float32),
        "mask": np.ones((batch, slices), dtype=bool),
        "spacing_known": np.ones(batch, dtype=bool),
    }
    logits, slice_logits = session.run(None, given)
    assert logits.shape == (batch, 14) and slice_logits.shape == (batch, slices, 14)


def test_a_description_says_what_goes_in(exported: Path, tiny: Place):
    content = read(exported / "onnx.json")
    stacks = "float32 (batch, 3, input_size, input_size), mean subtracted"
    assert content["stage1"]["inputs"] == {"stacks": stacks}
    assert content["labels"] == list(LABELS)
    assert content["stage1"]["made_from"] == read(tiny.fold().manifest("stage1"))["identity"]
    assert content["preprocessing"]["size"] == 64 and content["stage1"]["steps"] == [1, 2]
    for stage in ("stage1", "stage2"):
        assert content[stage]["largest_difference"] < 1e-3
        session = onnxruntime.InferenceSession(str(exported / f"{stage}.onnx"))
        assert set(content[stage]["inputs"]) == {one.name for one in session.get_inputs()}
        assert set(content[stage]["outputs"]) == {one.name for one in session.get_outputs()}


def test_a_file_that_differs_is_not_kept(tiny: Place, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    trained = open_fold(tiny.fold())
    with pytest.raises(NumericalError, match=r"stage1\.onnx: onnxruntime differs"):
        onnx_export.export_fold(trained, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_nan_is_no_small_difference(tiny: Place, tmp_path: Path, monkeypatch):
    found = iter([1e-6, float("nan"), 1e-6])
    monkeypatch.setattr(onnx_export, "_difference", lambda *_: next(found))
    trained = open_fold(tiny.fold())
    with pytest.raises(
        NumericalError, match=r"stage1\.onnx: onnxruntime differs from torch by nan"
    ):
        onnx_export.export_fold(trained, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    assert np.isnan(onnx_export.largest([0.0, float("nan")]))
    assert np.isnan(onnx_export.largest([float("nan"), 0.0]))


def test_a_run_that_is_not_there_is_said(tmp_path: Path):
    said = run_tool("export_onnx", "--model", tmp_path / "none", "--out_dir", tmp_path)
    assert said.code == EXIT_INPUT and "is not a folder" in said.text
