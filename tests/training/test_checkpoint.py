"""Weights from files: what is damaged or does not fit is refused by name."""

from pathlib import Path

import pytest
import torch
from torch import nn

from intracranial.errors import InputError
from intracranial.training.checkpoint import load_weights, save_weights


def a_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_weights_come_back_bit_for_bit(tmp_path: Path):
    path, saved, loaded = tmp_path / "w.safetensors", a_network(), a_network()
    nn.init.ones_(loaded[0].weight)
    save_weights(path, saved)
    load_weights(path, loaded, "train_stage1.py")
    assert torch.equal(loaded[0].weight, saved[0].weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_with_the_first_tensor(tmp_path: Path, value: float):
    path, network = tmp_path / "w.safetensors", a_network()
    network[1].running_var[2] = value
    save_weights(path, network)
    with pytest.raises(InputError, match=r"w\.safetensors: tensor 1\.running_var holds") as caught:
        load_weights(path, a_network(), "train_stage1.py")
    assert "train_stage1.py --overwrite" in str(caught.value)
