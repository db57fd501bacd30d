"""train_stage1.py and train_stage2.py as two processes that train together, as torchrun starts."""

import csv
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.stages.test_extract_ranks import end
from tests.tiny_runs import Place
from tests.training.test_distributed import meeting

FLAGS = {
    "train_stage1": ("--batch_size", "4", "--dropout", "0", "--model", "test_convnext"),
    "train_stage2": ("--dropout", "0", "--head_dropout", "0"),
}
"""Dropout and batch statistics differ by process; small batches let both of them score spots."""


@pytest.mark.parametrize("script", sorted(FLAGS))
def test_two_processes_train_and_score_as_one(tiny: Place, tmp_path: Path, script: str):
    stage = script.removeprefix("train_")
    flags = (*FLAGS[script], "--overwrite", "--precision", "fp32", "--epochs", "2")
    one, two = tiny.copy(tmp_path / "one"), tiny.copy(tmp_path / "two")
    assert one.call(script, *flags).code == 0
    launch = {"WORLD_SIZE": "2", **meeting()}
    started = [
        two.start(script, *flags, RANK=str(rank), LOCAL_RANK=str(rank), **launch)
        for rank in range(2)
    ]
    codes, said = end(*started)
    assert codes == [0, 0], said
    rows = [_log(place, stage) for place in (one, two)]
    assert len(rows[0]) == 2 and all(row["score"] for row in rows[0])
    for alone, together in zip(*rows, strict=True):
        assert alone == pytest.approx(together, rel=1e-3)
    weights = [load_file(place.fold().weights(stage)) for place in (one, two)]
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() < 1e-3, name


def _log(place: Place, stage: str) -> list[dict[str, float]]:
    with open(place.fold().log_csv(stage), encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
