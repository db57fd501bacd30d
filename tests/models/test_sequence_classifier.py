"""Stage 2's network ignores padding."""

import pytest
import torch

from intracranial.models.pooling import POOLINGS, MaskedPool
from intracranial.models.sequence_classifier import SequenceClassifier, SequenceClassifierConfig


def model(pool: str) -> SequenceClassifier:
    torch.manual_seed(0)
    return SequenceClassifier(SequenceClassifierConfig(10, 14, 32, 32, 2, 2, pool, 0.1, 0.1)).eval()


@pytest.mark.parametrize("pool", POOLINGS)
def test_padding_changes_nothing(pool: str) -> None:
    net = model(pool)
    tokens, position = torch.randn(1, 7, 10), torch.arange(7.0)[None]
    known = torch.tensor([True])
    short = net(tokens, position, torch.ones(1, 7, dtype=torch.bool), known)
    padded = torch.cat([tokens, torch.full((1, 5, 10), 9.0)], dim=1)
    positions = torch.cat([position, torch.full((1, 5), 99.0)], dim=1)
    mask = torch.arange(12)[None] < 7
    long = net(padded, positions, mask, known)
    assert torch.allclose(short.logits, long.logits, atol=1e-5)
    assert torch.allclose(short.slice_logits, long.slice_logits[:, :7], atol=1e-5)


def test_position_matters() -> None:
    net = model("gem")
    tokens, mask = torch.randn(1, 7, 10), torch.ones(1, 7, dtype=torch.bool)
    known = torch.tensor([True])
    near = net(tokens, torch.arange(7.0)[None], mask, known)
    far = net(tokens, torch.arange(7.0)[None] * 5, mask, known)
    assert not torch.allclose(near.logits, far.logits, atol=1e-4)


def test_gem_lies_between_mean_and_maximum() -> None:
    tokens = torch.rand(2, 6, 4) * 5
    mask = torch.ones(2, 6, dtype=torch.bool)
    gem = MaskedPool("gem", 4)(tokens, mask)
    positive = torch.nn.functional.softplus(tokens)
    assert (gem >= positive.mean(1) - 1e-5).all() and (gem <= positive.amax(1) + 1e-5).all()


def test_training_begins_at_the_maximum_of_stage_1() -> None:
    torch.manual_seed(0)
    net = SequenceClassifier(
        SequenceClassifierConfig(30, 14, 32, 32, 1, 2, "gem", 0.0, 0.0, skip=16)
    ).eval()
    tokens, mask = torch.randn(2, 9, 30), torch.arange(9)[None] < torch.tensor([[9], [5]])
    position = torch.arange(9.0).expand(2, 9)
    output = net(tokens, position, mask, torch.tensor([True, True]))
    highest = torch.stack([tokens[0, :9, 16:].amax(0), tokens[1, :5, 16:].amax(0)])
    assert torch.allclose(output.logits, highest, atol=0.5)
    assert torch.allclose(output.slice_logits, tokens[..., 16:], atol=0.5)
