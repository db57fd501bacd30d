"""Gradient clipping has the bits of torch and the standard library; optimizers are resumed."""

import statistics

import pytest
import torch
from torch import nn

from intracranial.options.training import Optimization
from intracranial.training.optimization import (
    CLIP_HISTORY,
    KERNELS,
    GradientClipper,
    load_optimizer,
    make_optimizer,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("history", "threshold"),
    [([], 100), ([3.0, 5.0, 50.0], 5), ([3.0, 5.0], 4), ([0.1], 1), ([1e6], 100)],
)
def test_the_threshold_is_the_median_within_its_bounds(history: list[float], threshold: float):
    assert float(GradientClipper(CPU, history).threshold) == threshold


def with_gradients(scale: float, generator: torch.Generator) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros(size)) for size in (7, 30, 1)]
    for parameter in parameters[:2]:  # the last one took no part
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    return parameters


def test_clipped_gradients_and_history_have_the_bits_of_torch_and_of_statistics():
    draw, again = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    clipper, history = GradientClipper(CPU), []
    clipped = 0
    for step in range(CLIP_HISTORY + 40):
        scale = float("inf") if step % 50 == 7 else 10.0 ** (step % 5 - 2)
        ours, theirs = with_gradients(scale, draw), with_gradients(scale, again)
        threshold = min(max(statistics.median(history), 1.0), 100.0) if history else 100.0
        assert float(clipper.threshold) == threshold
        expected = nn.utils.clip_grad_norm_(theirs, threshold)
        assert torch.equal(clipper.clip(ours).view(1), expected.view(1)) or expected.isnan()
        for own, other in zip(ours[:2], theirs[:2], strict=True):
            assert torch.equal(own.grad.view(torch.int32), other.grad.view(torch.int32))
        assert ours[2].grad is None
        clipped += bool(threshold < expected < float("inf"))
        if expected < float("inf"):
            history = [*history, float(expected)][-CLIP_HISTORY:]
        assert clipper.history == history
    assert len(history) == CLIP_HISTORY and 0 < clipped < CLIP_HISTORY


def test_a_clipper_goes_on_from_a_saved_history():
    norms = [float(number) for number in range(CLIP_HISTORY)]
    assert GradientClipper(CPU, norms).history == norms
    assert GradientClipper(CPU, norms[:3]).history == norms[:3]


def test_state_from_another_device_is_loaded_without_its_choice_of_kernels():
    model = nn.Linear(3, 2)
    spec = Optimization(epochs=1, lr=1e-3)
    optimizer = make_optimizer(model, spec)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        group.update(fused=True, capturable=True, foreach=False, lr=0.5)
    own = [{name: group[name] for name in KERNELS} for group in optimizer.param_groups]
    again = make_optimizer(model, spec)
    load_optimizer(again, state)
    assert [{name: group[name] for name in KERNELS} for group in again.param_groups] == own
    assert {group["lr"] for group in again.param_groups} == {0.5}
    assert torch.equal(
        again.state[model.weight]["exp_avg"], optimizer.state[model.weight]["exp_avg"]
    )
