"""The training loop: keyed, resumable, and stopped by numbers that are not finite."""

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from src.artifacts import FoldPaths
from src.compute import choose_compute
from src.errors import NumericalError, Preempted, UsageError
from src.training.loop import Fit, FitSpec, GradientClipper, TrainingData

SPEC = FitSpec(
    epochs=3,
    optimizer="adamw",
    lr=1e-2,
    weight_decay=0.0,
    schedule="cosine",
    warmup_epochs=0.5,
    ema_decay=0.9,
    ema_every=1,
    select="last",
    seed=1,
)
BATCHES = 4


def batches(epoch: int, first: int) -> list[dict[str, torch.Tensor]]:
    made = []
    for number in range(first, BATCHES):
        generator = torch.Generator().manual_seed(100 * epoch + number)
        x = torch.randn(8, 5, generator=generator)
        made.append({"x": x, "y": x.sum(1, keepdim=True)})
    return made


def loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"loss": (model(batch["x"]) - batch["y"]).square().mean()}


def fit(folder: Path, loss_function=loss, spec: FitSpec = SPEC) -> Fit:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    compute = choose_compute("cpu", "fp32")
    return Fit(model, loss_function, spec, compute, FoldPaths(folder, "run", 0), "stage1", "id")


def state_bytes(module: nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in module.state_dict().values()]


@pytest.mark.parametrize("stop_at", [(0, 2), (1, 0), (2, 3)])
def test_a_stopped_run_ends_with_the_same_bytes(tmp_path: Path, stop_at: tuple[int, int]) -> None:
    whole = fit(tmp_path / "whole").run(TrainingData(batches, BATCHES), None)

    def interrupted(epoch: int, first: int):
        for number, batch in enumerate(batches(epoch, first), start=first):
            if (epoch, number) == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with pytest.raises(Preempted):
        fit(tmp_path / "cut").run(TrainingData(interrupted, BATCHES), None)
    resumed = fit(tmp_path / "cut").run(TrainingData(batches, BATCHES), None)
    assert state_bytes(resumed) == state_bytes(whole)
    logs = [FoldPaths(tmp_path / name, "run", 0).log_csv("stage1") for name in ("whole", "cut")]
    assert logs[0].read_bytes() == logs[1].read_bytes()


def test_training_learns(tmp_path: Path) -> None:
    run = fit(tmp_path)
    run.run(TrainingData(batches, BATCHES), None)
    assert run.rows[-1]["loss"] < run.rows[0]["loss"]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    def broken(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"loss": loss(model, batch)["loss"] * float("nan")}

    with pytest.raises(NumericalError, match="epoch 1"):
        fit(tmp_path, broken).run(TrainingData(batches, BATCHES), None)


def test_last_keeps_the_last_weights_and_heldout_the_best(tmp_path: Path) -> None:
    from dataclasses import replace

    def falling():
        scores = iter([0.9, 0.5, 0.1])
        return lambda _: {"score": next(scores)}

    last = fit(tmp_path / "a").run(TrainingData(batches, BATCHES), falling())
    plain = fit(tmp_path / "b").run(TrainingData(batches, BATCHES), None)
    assert state_bytes(last) == state_bytes(plain)
    chosen = fit(tmp_path / "c", spec=replace(SPEC, select="heldout"))
    best = chosen.run(TrainingData(batches, BATCHES), falling())
    assert chosen.best["epoch"] == 1
    assert state_bytes(best) != state_bytes(last)


def test_a_short_run_ends_far_from_its_initial_weights(tmp_path: Path) -> None:
    # without warm-up a decay of 0.999 would leave most of the initial weights in the average
    from dataclasses import replace

    run = fit(tmp_path, spec=replace(SPEC, epochs=20, ema_decay=0.999))
    initial = run.model[0].weight.detach().clone()
    ema = run.run(TrainingData(batches, BATCHES), None)
    travelled = (run.model[0].weight - initial).norm()
    assert (ema[0].weight - initial).norm() > 0.6 * travelled


def test_an_unknown_optimizer_is_a_usage_error(tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(UsageError, match="--optimizer nonsense"):
        fit(tmp_path, spec=replace(SPEC, optimizer="nonsense"))


def test_the_clipping_threshold_is_the_median_within_its_bounds() -> None:
    assert GradientClipper([]).threshold == 100
    assert GradientClipper([3.0, 5.0, 50.0]).threshold == 5
    assert GradientClipper([0.1]).threshold == 1
    assert GradientClipper([1e6]).threshold == 100
