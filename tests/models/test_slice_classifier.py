"""Stage 1's network, on a convolutional net and on a plain transformer."""

from dataclasses import replace

import pytest
import torch

from intracranial.errors import InputError, UsageError
from intracranial.inference.encoder import heatmap_peaks
from intracranial.models.backbones import check_backbone, create_backbone
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from intracranial.options.common import identity
from intracranial.sampling.slice_samples import gaussian_peaks


@pytest.mark.parametrize(
    ("backbone", "pool"), [("test_resnet", ""), ("test_resnet", "catavgmax"), ("test_vit", "")]
)
def test_the_heat_map_has_stride_eight(backbone: str, pool: str) -> None:
    config = SliceClassifierConfig(backbone, 14, 96, pool)
    model = SliceClassifier(config).eval()
    output = model(torch.randn(2, 3, 96, 96))
    assert output.logits.shape == (2, 14)
    assert output.heatmap.shape == (2, 14, 12, 12)
    assert output.features.shape == (2, model.width)
    assert torch.allclose(output.logits, model.classifier(output.features))


def test_the_localisation_loss_reaches_the_encoder() -> None:
    model = SliceClassifier(SliceClassifierConfig("test_resnet", 14, 64))
    model(torch.randn(2, 3, 64, 64)).heatmap.sum().backward()
    gradients = [p.grad for p in model.encoder.parameters() if p.grad is not None]
    assert gradients and any(g.abs().sum() > 0 for g in gradients)


def test_an_unknown_model_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="resnet18"):
        check_backbone("resnet1")


def test_without_a_network_pretrained_weights_fail_at_once(monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="--weights none"):
        create_backbone("test_resnet", "auto", 64, None, 3)


@pytest.mark.parametrize("x", [2.0, 5.3, 7.5])
def test_heat_map_peaks_have_sub_cell_precision(x: float) -> None:
    import numpy as np

    peaks = gaussian_peaks(np.array([[x, 4.2]]), np.array([0]), np.array([1.5, 1.5]), (1, 10, 12))
    logits = torch.log(torch.from_numpy(peaks)).clamp(min=-30)[None]
    found = heatmap_peaks(logits)[0, 0]
    assert found[0] == pytest.approx(x, abs=0.02)
    assert found[1] == pytest.approx(4.2, abs=0.02)


@pytest.mark.parametrize("channels", [1, 5, 9])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_convnext"])
def test_a_network_takes_stacks_of_as_many_channels_as_its_sidecar_says(
    backbone: str, channels: int
) -> None:
    model = SliceClassifier(SliceClassifierConfig(backbone, 14, 96, channels=channels)).eval()
    stacks = torch.randn(2, channels, 96, 96)
    output = model(stacks)
    assert output.logits.shape == (2, 14) and output.heatmap.shape == (2, 14, 12, 12)
    last = stacks.clone()
    last[:, -1] += 1  # the last channel counts
    assert not torch.allclose(model(last).features, output.features, atol=1e-4)
    with pytest.raises(RuntimeError, match="channels"):
        model(torch.randn(2, channels + 1, 96, 96))


def test_three_channels_are_what_a_sidecar_does_not_mention() -> None:
    today = SliceClassifierConfig("test_resnet", 14, 64)
    assert today.channels == 3 and "channels" not in identity(today)
    assert identity(replace(today, channels=9))["channels"] == 9
