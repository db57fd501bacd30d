"""Training of both stages on a CUDA device: places, precision, scaling, memory and resuming."""

import json
import math
from pathlib import Path

import pytest
import torch

from intracranial.compute import Compute, choose_compute, compile_network, make_deterministic
from intracranial.errors import NumericalError, Preempted, UsageError
from intracranial.training import loop
from intracranial.training.batches import Batch, placed
from intracranial.training.loop import MOST_SKIPPED
from intracranial.training.optimization import GradientClipper
from intracranial.training.step_report import STEPS_AHEAD
from tests.cuda.small import (
    BATCHES,
    apart,
    classifier,
    data_of,
    fit,
    sequences,
    stacks,
    stage,
    train,
    weights_of,
)

both = pytest.mark.parametrize("name", ["stage1", "stage2"])


@both
def test_a_training_of_16_bits_keeps_everything_on_the_device(
    name: str, half: Compute, tmp_path: Path
):
    made = train(name, half, tmp_path)
    assert len(made.rows) == 2 and all(math.isfinite(row["loss"]) for row in made.rows)
    state = [value for one in made.optimizer.state.values() for value in one.values()]
    tensors = [*made.model.parameters(), *made.ema.module.parameters(), *made.model.buffers()]
    tensors += [value for value in state if torch.is_tensor(value)]
    tensors.append(made.clipper.threshold)
    assert {tensor.device.type for tensor in tensors} == {half.device.type}
    assert {parameter.dtype for parameter in made.model.parameters()} == {torch.float32}
    on_cuda = half.device.type == "cuda"
    assert made.ahead == (STEPS_AHEAD if on_cuda else 0) and (made.copying is not None) == on_cuda
    assert made.scaler.is_enabled() == half.scaled


@both
def test_float32_on_the_device_trains_as_on_a_cpu(name: str, full: Compute, tmp_path: Path):
    """Dropout draws from another stream there, so there is none."""
    there = train(name, full, tmp_path / "there", dropout=0.0, optimizer="sgd")
    here = train(name, choose_compute("cpu", "fp32"), tmp_path / "here", 0.0, optimizer="sgd")
    for a, b in zip(there.rows, here.rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
    assert apart(weights_of(there), weights_of(here)) < 1e-3


@both
def test_16_bits_train_nearly_as_float32(name: str, half: Compute, tmp_path: Path):
    there = train(name, half, tmp_path / "half", dropout=0.0)
    exact = choose_compute(half.device.type, "fp32")
    here = train(name, exact, tmp_path / "full", dropout=0.0)
    for a, b in zip(there.rows, here.rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=0.05)


@both
@pytest.mark.parametrize("optimizer", ["adamw", "mars"])
def test_accumulated_pieces_make_the_weights_of_the_batch(
    name: str, optimizer: str, full: Compute, tmp_path: Path
):
    found = []
    for accumulate in (1, 2):
        made = fit(name, full, tmp_path / str(accumulate), dropout=0.0, optimizer=optimizer)
        made.run(data_of(stage(name)[2], accumulate), None)
        found.append(made.rows[-1]["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_a_step_that_overflows_is_left_out_and_halves_the_scale(cuda: str, tmp_path: Path):
    made = fit("stage1", choose_compute(cuda, "fp16"), tmp_path, epochs=1)
    made.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    made.run(data_of(stage("stage1")[2]), None)
    assert made.scaler.get_scale() == 2.0**40 / 2**BATCHES
    assert apart(before, made.model.state_dict()) == 0
    assert made.clipper.history == [] and math.isfinite(made.rows[0]["loss"])


def test_fp16_goes_on_once_the_scale_fits(cuda: str, tmp_path: Path):
    made = fit("stage1", choose_compute(cuda, "fp16"), tmp_path, epochs=12)
    made.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**34)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    made.run(data_of(stage("stage1")[2]), None)
    assert 1 <= made.scaler.get_scale() < 2.0**34 and made.clipper.history
    assert apart(before, made.model.state_dict()) > 0


def bad_batches(name: str) -> list[Batch]:
    """The second batch holds a value that is no number."""
    batches = stage(name)[2]
    batches[1]["stack" if name == "stage1" else "tokens"][0, 0] = math.nan
    return batches


@both
def test_a_loss_that_is_not_finite_is_noticed_and_nothing_is_saved(
    name: str, half: Compute, tmp_path: Path
):
    made = fit(name, half, tmp_path, epochs=1)
    with pytest.raises(NumericalError, match="the loss is nan in epoch 1, batch 2"):
        made.run(data_of(bad_batches(name)), None)
    assert json.loads(made.paths.not_finite(name).read_text())["batch"] == 2
    assert not made.paths.checkpoint(name).exists()


def test_gradients_that_always_overflow_end_a_training_in_fp16(cuda: str, tmp_path: Path):
    made = fit("stage2", choose_compute(cuda, "fp16"), tmp_path, epochs=MOST_SKIPPED)
    first = next(iter(made.model.parameters()))
    first.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(NumericalError, match="gradient's norm"):
        made.run(data_of(stage("stage2")[2]), None)


@both
def test_a_stopped_training_goes_on_to_the_same_weights(
    name: str, half: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """With kernels that give the same bits every time; dropout and fp16's scale are resumed too."""
    make_deterministic()
    whole = train(name, half, tmp_path / "whole")
    first = fit(name, half, tmp_path / "stopped")
    step = first._step

    def stopping(pieces, asked, data):
        return step(pieces, asked or (first.epoch, first.batch) == (1, 0), data)

    monkeypatch.setattr(first, "_step", stopping)
    with pytest.raises(Preempted):
        first.run(data_of(stage(name)[2]), None)
    second = fit(name, half, tmp_path / "stopped")
    second.run(data_of(stage(name)[2]), None)
    assert apart(weights_of(whole), weights_of(second)) == 0
    assert second.rows == whole.rows


@both
def test_a_checkpoint_goes_from_one_kind_of_device_to_the_other(
    name: str, full: Compute, tmp_path: Path
):
    cpu = choose_compute("cpu", "fp32")
    for number, (one, other) in enumerate([(full, cpu), (cpu, full)]):
        folder = tmp_path / str(number)
        train(name, one, folder, epochs=1)
        made = fit(name, other, folder, epochs=2)
        made.run(data_of(stage(name)[2]), None)
        assert [row["epoch"] for row in made.rows] == [1, 2]
        state = [value for values in made.optimizer.state.values() for value in values.values()]
        moments = [value for value in state if torch.is_tensor(value) and value.ndim]
        assert {value.device.type for value in moments} == {other.device.type}


@both
def test_the_average_is_that_of_the_weights_on_the_device(name: str, full: Compute, tmp_path: Path):
    made = train(name, full, tmp_path, ema_decay=0.0)
    parameters = dict(made.model.named_parameters())
    averaged = dict(made.ema.module.named_parameters())
    assert all(torch.allclose(parameters[key], averaged[key]) for key in parameters)


@pytest.mark.parametrize("make", [stacks, sequences])
def test_batches_copied_ahead_are_those_of_the_cpu(make, accelerator: str):
    compute = choose_compute(accelerator, "fp32")
    on_cuda = compute.device.type == "cuda"
    batches = [make(number, 16) for number in range(12)]
    given = [
        [{key: value.pin_memory() if on_cuda else value for key, value in batch.items()}]
        for batch in batches
    ]
    copying = torch.cuda.Stream(compute.device) if on_cuda else None
    for (found,), batch in zip(placed(given, compute, copying), batches, strict=True):
        if on_cuda:
            torch.cuda._sleep(10**7)  # the device is behind: about 5 ms
        for key, value in batch.items():
            assert found[key].device.type == compute.device.type
            assert torch.equal(found[key].cpu(), value)
            if value.ndim == 4:
                assert found[key].is_contiguous(memory_format=torch.channels_last)


def test_the_network_of_stage_1_is_channels_last_on_the_device(full: Compute, tmp_path: Path):
    made = fit("stage1", full, tmp_path)
    maps = [p for p in made.model.parameters() if p.ndim == 4]
    assert maps and all(p.is_contiguous(memory_format=torch.channels_last) for p in maps)
    assert {type(module).__name__ for module in made.model.modules()}.isdisjoint(
        {"DepthwiseConv2d"} if full.device.type == "cuda" else set()
    )


def test_adamw_is_fused_on_the_device_also_after_a_checkpoint_of_a_cpu(cuda: str, tmp_path: Path):
    cpu, there = choose_compute("cpu", "fp32"), choose_compute(cuda, "fp32")
    train("stage1", cpu, tmp_path, epochs=1)
    made = train("stage1", there, tmp_path, epochs=2)
    assert all(group["fused"] for group in made.optimizer.param_groups)
    steps = [one["step"] for one in made.optimizer.state.values()]
    assert {int(step) for step in steps} == {2 * BATCHES}
    assert {step.device.type for step in steps} == {"cuda"}


def test_the_clipper_on_the_device_is_that_of_the_cpu(accelerator: str):
    torch.manual_seed(0)
    gradients = [torch.randn(7, 5) * 10**number for number in range(4)]
    found = []
    for device in (accelerator, "cpu"):
        clipper = GradientClipper(torch.device(device))
        for gradient in gradients:
            parameter = torch.nn.Parameter(torch.zeros(7, 5, device=device))
            parameter.grad = gradient.clone().to(device)
            clipper.clip([parameter])
        found.append(([*clipper.history], float(clipper.threshold), parameter.grad.cpu()))
    for there, here in zip(found[0][:2], found[1][:2], strict=True):
        assert there == pytest.approx(here)
    assert torch.allclose(found[0][2], found[1][2], rtol=1e-5)


def test_a_batch_that_does_not_fit_is_a_usage_error_that_says_what_does(
    cuda: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The limit is torch's own, so that other programs on the device keep their memory."""
    compute = choose_compute(cuda, "bf16")
    total = torch.cuda.get_device_properties(compute.device).total_memory
    made = fit("stage1", compute, tmp_path, epochs=1)
    torch.cuda.empty_cache()
    beside = torch.cuda.memory_reserved(compute.device)
    torch.cuda.set_per_process_memory_fraction((beside + 2**30) / total, compute.device)
    try:
        with pytest.raises(UsageError, match="out of memory: a piece of 6144 does not fit") as said:
            made.run(data_of([stacks(0, 6144)]), None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, compute.device)
    assert "went through forward, backward and update. Give --accumulate" in str(said.value)
    assert not made.paths.checkpoint("stage1").exists()


def test_a_compiled_training_is_the_plain_one_but_for_rounding(
    cuda: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("triton")
    compute, losses = choose_compute(cuda, "bf16"), []
    for compiled in (False, True):
        made = fit("stage1", compute, tmp_path / str(compiled), dropout=0.0, epochs=1)
        if compiled:
            compile_network(made.model)
        made.run(data_of(stage("stage1")[2]), None)
        losses.append(made.rows[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_report_is_read_when_later_steps_are_queued(
    accelerator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = fit("stage2", choose_compute(accelerator, "bf16"), tmp_path, epochs=1)
    behind: list[int] = []
    read = loop.StepReport.read

    def noting(report):
        behind.append(made.batch - 1 - report.batch)
        return read(report)

    monkeypatch.setattr(loop.StepReport, "read", noting)
    made.run(data_of([sequences(number) for number in range(8)]), None)
    assert len(behind) == 8 and max(behind) == made.ahead


def test_the_depthwise_convolution_of_a_cpu_leaves_the_device_alone(accelerator: str):
    from intracranial.models.depthwise import speed_up_depthwise

    torch.manual_seed(0)
    plain, changed = classifier("test_convnext", 0.0), classifier("test_convnext", 0.0)
    speed_up_depthwise(changed)
    gradients = []
    for model in (plain, changed):
        model = model.to(accelerator).train()
        output = model(stacks(1)["stack"].to(accelerator))
        (output.logits.square().sum() + output.heatmap.square().sum()).backward()
        gradients.append({key: p.grad.cpu() for key, p in model.named_parameters()})
    for key, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][key], rtol=1e-3, atol=1e-4), key


def test_the_own_weight_gradient_is_torchs_on_the_device(accelerator: str):
    from intracranial.models.depthwise import depthwise_weight_gradient

    torch.manual_seed(0)
    inputs = torch.randn(2, 6, 30, 30, device=accelerator)
    weight = torch.randn(6, 1, 7, 7, device=accelerator, requires_grad=True)
    choose_compute(accelerator, "fp32")  # no TF32
    output = torch.nn.functional.conv2d(inputs, weight, padding=3, groups=6)
    gradient = torch.randn_like(output)
    output.backward(gradient)
    found = depthwise_weight_gradient(gradient, inputs, 7)
    assert torch.allclose(found, weight.grad, rtol=1e-3, atol=1e-2)
