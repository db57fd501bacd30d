"""--weights FILE: what a file of the original solution gives, and what is refused."""

import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from intracranial.errors import EXIT_DONE, EXIT_INPUT, InputError
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from tests.tiny_runs import Place

CONFIG = SliceClassifierConfig("test_resnet", 14, 64)


class Original(nn.Module):
    """The original's stage 1: names and order of its layers are those of its published file."""

    def __init__(self, name: str, labels: int = 14) -> None:
        super().__init__()
        self.image_encoder = timm.create_model(name, pretrained=False, num_classes=0)
        self.fc = nn.Sequential(nn.Dropout(0.1), nn.Linear(self.image_encoder.num_features, labels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.image_encoder(x))


@pytest.fixture
def published(tmp_path: Path):
    def write(name: str = "test_resnet", labels: int = 14) -> tuple[Original, str]:
        torch.manual_seed(3)
        model = Original(name, labels).eval()
        torch.save(model.state_dict(), tmp_path / "published.pth")
        return model, str(tmp_path / "published.pth")

    return write


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_published_weights_give_the_original_s_outputs(published, name: str):
    model, path = published(name)
    size = model.image_encoder.pretrained_cfg["input_size"][-1]
    ours = SliceClassifier(SliceClassifierConfig(name, 14, size), path).eval()
    stacks = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert torch.allclose(ours(stacks).logits, model(stacks), atol=1e-5)
    other = SliceClassifier(SliceClassifierConfig(name, 14, size)).eval()
    assert not torch.allclose(other(stacks).logits, model(stacks), atol=1e-3)


def test_names_may_carry_the_prefix_of_a_parallel_wrapper(published, tmp_path: Path):
    model, _ = published()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "wrapped.pth")
    ours = SliceClassifier(CONFIG, str(tmp_path / "wrapped.pth"))
    assert torch.equal(ours.classifier.weight, model.fc[1].weight)


def test_a_timm_checkpoint_gives_the_encoder_alone(tmp_path: Path):
    net = timm.create_model("test_resnet", pretrained=False, num_classes=1000)
    torch.save(net.state_dict(), tmp_path / "timm.pth")
    torch.manual_seed(0)
    ours = SliceClassifier(CONFIG, str(tmp_path / "timm.pth"))
    assert torch.equal(ours.encoder.conv1[0].weight, net.conv1[0].weight)
    assert ours.classifier.weight.shape == (14, ours.width)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
@pytest.mark.parametrize("channels", [1, 9])
def test_weights_of_three_channels_start_a_network_of_others_with_the_same_answer(
    published, name: str, channels: int
):
    model, path = published(name)
    size = model.image_encoder.pretrained_cfg["input_size"][-1]
    ours = SliceClassifier(SliceClassifierConfig(name, 14, size, channels=channels), path).eval()
    grey = torch.randn(2, 1, size, size)
    with torch.no_grad():
        expected = model(grey.expand(-1, 3, -1, -1))
        found = ours(grey.expand(-1, channels, -1, -1)).logits
    assert torch.allclose(found, expected, atol=1e-4)


def test_weights_of_nine_channels_go_into_a_network_of_nine_and_no_other(tmp_path: Path):
    net = timm.create_model("test_resnet", pretrained=False, num_classes=0, in_chans=9)
    torch.save(net.state_dict(), tmp_path / "nine.pth")
    nine = SliceClassifierConfig("test_resnet", 14, 64, channels=9)
    ours = SliceClassifier(nine, str(tmp_path / "nine.pth"))
    assert torch.equal(ours.encoder.conv1[0].weight, net.conv1[0].weight)
    with pytest.raises(InputError, match=r"conv1\.0\.weight \(\d+, 9, 3, 3\) instead of \("):
        SliceClassifier(CONFIG, str(tmp_path / "nine.pth"))


def test_weights_of_another_network_are_refused_with_the_first_names(published):
    _, path = published("test_vit")
    with pytest.raises(
        InputError,
        match=r"does not fit test_resnet.*lacks conv1\.0\.weight,.*"
        r"has beside them cls_token,.* and \d+ more.*--model",
    ) as caught:
        SliceClassifier(CONFIG, path)
    assert caught.value.exit_code == 3


def test_weights_of_a_deeper_network_are_not_taken_for_those_of_a_shallow_one(published):
    _, path = published("resnet34")
    with pytest.raises(InputError, match=r"has beside them layer1\.2\.conv1\.weight"):
        SliceClassifier(SliceClassifierConfig("resnet18", 14, 64), path)


def test_another_shape_is_refused_with_both_shapes(published):
    model, path = published()
    state = model.state_dict()
    state["image_encoder.conv1.0.weight"] = torch.zeros(1, 3, 3, 3)
    torch.save(state, path)
    with pytest.raises(InputError, match=r"conv1\.0\.weight \(1, 3, 3, 3\) instead of \("):
        SliceClassifier(CONFIG, path)


def test_an_encoder_without_its_classifier_is_not_completed_at_random(published):
    model, path = published()
    state = model.state_dict()
    torch.save({name: value for name, value in state.items() if "fc" not in name}, path)
    with pytest.raises(InputError, match=r"image_encoder but no fc\.1\.weight"):
        SliceClassifier(CONFIG, path)


def test_tensors_beside_encoder_and_classifier_are_named(published):
    model, path = published()
    torch.save({**model.state_dict(), "fc.3.weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"another network.*it has fc\.3\.weight"):
        SliceClassifier(CONFIG, path)


def test_a_buffer_that_shapes_the_output_must_be_there_and_a_counter_need_not(published):
    model, path = published("resnet18")
    state = {key: value for key, value in model.state_dict().items() if "num_batches" not in key}
    torch.save(state, path)
    config = SliceClassifierConfig("resnet18", 14, 64)
    SliceClassifier(config, path)
    del state["image_encoder.layer1.0.bn1.running_var"]
    torch.save(state, path)
    with pytest.raises(InputError, match=r"lacks layer1\.0\.bn1\.running_var"):
        SliceClassifier(config, path)


def test_another_number_of_labels_is_refused(published):
    _, path = published(labels=2)
    with pytest.raises(InputError, match=r"fc\.1 does not fit.*weight \(2, \d+\) instead of \(14"):
        SliceClassifier(CONFIG, path)


def test_train_stage1_starts_from_a_published_file_or_ends_with_code_3(
    published, tiny: Place, tmp_path: Path
):
    place = tiny.copy(tmp_path / "copy", "features")
    _, path = published("test_vit")
    said = place.call("train_stage1", "--run", "other", "--weights", path)
    assert said.code == EXIT_INPUT and "does not fit test_resnet" in said.text
    assert not place.fold(run="other").weights("stage1").exists()
    model, path = published("test_resnet")
    flags = ["--run", "published", "--weights", path, "--lr", "1e-9", "--epochs", "1"]
    said = place.call("train_stage1", *flags)
    assert said.code == EXIT_DONE and "weights from published.pth" in said.text, said.text
    weights = load_file(place.fold(run="published").weights("stage1"))
    assert torch.allclose(weights["classifier.weight"], model.fc[1].weight, atol=1e-6)


def test_what_is_not_there_or_no_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        SliceClassifier(CONFIG, str(tmp_path / "none.safetensors"))
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(InputError, match="holds no tensors"):
        SliceClassifier(CONFIG, str(tmp_path / "empty.pth"))


def test_a_pickle_with_code_is_not_run(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch " + str(tmp_path / "ran"),))

    path = tmp_path / "evil.pt"
    torch.save({"conv1.weight": Evil()}, path)
    with pytest.raises(InputError, match="not a readable checkpoint"):
        SliceClassifier(CONFIG, str(path))
    assert not (tmp_path / "ran").exists()
