"""The training loop: keyed, resumable, and stopped by numbers that are not finite."""

import json
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from intracranial.artifacts import FoldPaths
from intracranial.compute import choose_compute
from intracranial.config import with_values
from intracranial.errors import NumericalError, Preempted, UsageError
from intracranial.options.training import Optimization, Progress, TrainingOptions
from intracranial.training import loop
from intracranial.training.batches import Batch, TrainingData
from intracranial.training.loop import MOST_SKIPPED, Fit, Loss
from intracranial.training.step_report import STEPS_AHEAD, StepReport

SPEC = TrainingOptions(
    run="run",
    seed=1,
    optimization=Optimization(
        epochs=3, lr=1e-2, weight_decay=0.0, schedule="cosine", warmup_epochs=0.5, ema_decay=0.9
    ),
    progress=Progress(checkpoint_minutes=0.0),
)
BATCHES = 4
OFTEN = with_values(SPEC, evaluate_every=3)


def batches(epoch: int, first: int) -> list[dict[str, torch.Tensor]]:
    made = []
    for number in range(first, BATCHES):
        generator = torch.Generator().manual_seed(100 * epoch + number)
        x = torch.randn(8, 5, generator=generator)
        made.append({"x": x, "y": x.sum(1, keepdim=True), "weights": torch.ones(8, 1)})
    return made


class SquaredError:
    """Mean squared error over the known entries."""

    def counts(self, batch: Batch) -> torch.Tensor:
        return batch["weights"].sum()[None]

    def __call__(self, model: nn.Module, batch: Batch, counts: torch.Tensor) -> Batch:
        error = (model(batch["x"]) - batch["y"]).square() * batch["weights"]
        return {"loss": error.sum() / counts[0]}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.2), nn.Linear(8, 1))


def fit(
    folder: Path,
    loss: Loss | None = None,
    spec: TrainingOptions = SPEC,
    ahead: int = 0,
    model: nn.Module | None = None,
) -> Fit:
    model = model or network()
    compute = choose_compute("cpu", "fp32")
    run = Fit(
        model, loss or SquaredError(), spec, compute, FoldPaths(folder, "run", 0), "stage1", "id"
    )
    run.ahead = ahead  # a CPU's own is 0, a CUDA device's `STEPS_AHEAD`
    return run


def state_bytes(module: nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in module.state_dict().values()]


@pytest.mark.parametrize("ahead", [0, STEPS_AHEAD])
@pytest.mark.parametrize("stop_at", [(0, 0), (0, 2), (1, 0), (2, 3)])
def test_a_stopped_run_ends_with_the_same_bytes(
    tmp_path: Path, stop_at: tuple[int, int], ahead: int
) -> None:
    whole = fit(tmp_path / "whole", spec=OFTEN).run(TrainingData(batches, BATCHES), None)

    def interrupted(epoch: int, first: int):
        for number, batch in enumerate(batches(epoch, first), start=first):
            if (epoch, number) == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with pytest.raises(Preempted):
        fit(tmp_path / "cut", spec=OFTEN, ahead=ahead).run(TrainingData(interrupted, BATCHES), None)
    cut = torch.load(FoldPaths(tmp_path / "cut", "run", 0).checkpoint("stage1"))
    asked = stop_at[0] * BATCHES + stop_at[1] + 1
    assert asked <= cut["epoch"] * BATCHES + cut["batch"] <= asked + ahead
    resumed = fit(tmp_path / "cut", spec=OFTEN).run(TrainingData(batches, BATCHES), None)
    assert state_bytes(resumed) == state_bytes(whole)
    logs = [FoldPaths(tmp_path / name, "run", 0).log_csv("stage1") for name in ("whole", "cut")]
    assert logs[0].read_bytes() == logs[1].read_bytes()


def test_a_request_to_stop_that_comes_with_the_last_scores_stops_the_next_fold(
    tmp_path: Path,
) -> None:
    def evaluate(ema: nn.Module) -> dict[str, float | None]:
        if run.epoch + 1 == SPEC.optimization.epochs:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 0.5}

    data = TrainingData(batches, BATCHES)
    run = fit(tmp_path / "first")
    run.run(data, evaluate)
    assert len(run.rows) == SPEC.optimization.epochs
    with pytest.raises(Preempted, match="epoch 1"):
        fit(tmp_path / "next").run(data, None)
    following = fit(tmp_path / "next")
    following.run(data, None)  # the request is answered: it resumes to the end
    assert len(following.rows) == SPEC.optimization.epochs


@pytest.mark.parametrize(
    ("seconds", "minutes", "written"),
    [(0.0, 0.0, [1, 2, 3]), (2.0, 0.0, [1, 3]), (2.0, 80 / 60, [1, 2, 3])],
)
def test_slow_checkpoints_are_left_out_at_the_ends_of_short_epochs_but_for_the_last(
    tmp_path: Path, monkeypatch, seconds: float, minutes: float, written: list[int]
) -> None:
    """Epochs of 70 s and 20 s of scoring; a checkpoint of 2 s is worth 100 s."""
    clock = time.monotonic()
    found = []

    def save(path: Path, state: dict[str, Any]) -> None:
        nonlocal clock
        clock += seconds
        if state["batch"] == 0:
            found.append(state["epoch"])

    monkeypatch.setattr(loop, "save_state", save)
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock)
    run = fit(tmp_path, spec=with_values(SPEC, checkpoint_minutes=minutes))
    original = run._step

    def step(*args: Any) -> StepReport:
        nonlocal clock
        clock += 70 / BATCHES
        return original(*args)

    def evaluate(ema: nn.Module) -> dict[str, float | None]:
        nonlocal clock
        clock += 20
        return {"score": 0.5}

    run._step = step
    run.run(TrainingData(batches, BATCHES), evaluate)
    assert found == written


def test_scores_within_an_epoch_are_logged_and_change_no_weight(tmp_path: Path) -> None:
    asked = []

    def evaluate(ema: nn.Module) -> dict[str, float | None]:
        asked.append(ema)
        torch.rand(5)  # draws from the global stream
        return {"score": float(len(asked))}

    data = TrainingData(batches, BATCHES)
    plain = fit(tmp_path / "plain")
    spec = with_values(OFTEN, max_steps=10)
    often = fit(tmp_path / "often", spec=spec)
    plain_weights = state_bytes(
        fit(tmp_path / "ten", spec=with_values(SPEC, max_steps=10)).run(data, None)
    )
    assert state_bytes(often.run(data, evaluate)) == plain_weights
    assert [(row["epoch"], row["step"]) for row in often.rows] == [
        (0.75, 3),
        (1, 4),
        (1.5, 6),
        (2, 8),
        (2.25, 9),
        (3, 10),
    ]
    assert [row["score"] for row in often.rows] == [1, 2, 3, 4, 5, 6]
    plain.run(data, evaluate)
    assert [(row["epoch"], row["step"]) for row in plain.rows] == [(1, 4), (2, 8), (3, 12)]


def test_training_learns(tmp_path: Path) -> None:
    run = fit(tmp_path)
    run.run(TrainingData(batches, BATCHES), None)
    assert run.rows[-1]["loss"] < run.rows[0]["loss"]


class Broken(SquaredError):
    """Not a number in the loss, or infinity in its gradient, from one batch on."""

    def __init__(self, first: int, gradient: bool) -> None:
        self.left, self.gradient = first, gradient

    def __call__(self, model: nn.Module, batch: Batch, counts: torch.Tensor) -> Batch:
        parts = super().__call__(model, batch, counts)
        self.left -= 1
        if self.left >= 0:
            return parts
        if self.gradient:  # the root's slope at 0 is infinite
            return {"loss": parts["loss"] + (model[0].weight * 0).sum().sqrt()}
        return {"loss": parts["loss"] * float("nan")}


@pytest.mark.parametrize("ahead", [0, STEPS_AHEAD])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_number_that_is_not_finite_stops_the_run_and_names_the_batch(
    tmp_path: Path, gradient: bool, ahead: int
) -> None:
    members = lambda epoch, number: [{"uid": f"1.{epoch}.{number}"}]  # noqa: E731
    run = fit(tmp_path, Broken(BATCHES + 2, gradient), ahead=ahead)
    kept = run.paths.checkpoint("stage1")
    words = f"{'gradient' if gradient else 'loss'}.* is .*epoch 2, batch 3;.*stage1_not_finite.json"
    with pytest.raises(NumericalError, match=words) as stop:
        run.run(TrainingData(batches, BATCHES, members=members), None)
    assert stop.value.exit_code == 6 and "with another --run" in str(stop.value)
    assert kept.exists()
    said = json.loads(run.paths.not_finite("stage1").read_text())
    assert said["members"] == [{"uid": "1.1.2"}] and (said["epoch"], said["batch"]) == (2, 3)
    assert torch.load(kept)["epoch"] == 1  # the state before it
    # a run that gets over it leaves no such file
    again = fit(tmp_path).run(TrainingData(batches, BATCHES), None)
    assert not run.paths.not_finite("stage1").exists()
    assert state_bytes(again) == state_bytes(
        fit(tmp_path / "b").run(TrainingData(batches, BATCHES), None)
    )


class Overflowing(Broken):
    """An infinite gradient in some steps of a training in fp16, the first one's number given."""

    def __init__(self, first: int, count: int) -> None:
        super().__init__(first, gradient=True)
        self.last = -count

    def __call__(self, model: nn.Module, batch: Batch, counts: torch.Tensor) -> Batch:
        if self.left <= self.last:
            return SquaredError.__call__(self, model, batch, counts)
        return super().__call__(model, batch, counts)


@pytest.mark.parametrize("ahead", [0, STEPS_AHEAD])
def test_steps_that_the_scaler_always_leaves_out_end_the_run(tmp_path: Path, ahead: int) -> None:
    def scaled(folder: str, count: int) -> Fit:
        spec = with_values(SPEC, epochs=2 * MOST_SKIPPED)
        run = fit(tmp_path / folder, Overflowing(BATCHES, count), spec, ahead)
        run.compute = replace(run.compute, scaled=True)
        run.scaler = torch.amp.GradScaler("cpu")
        return run

    data = TrainingData(batches, BATCHES)
    scaled("some", MOST_SKIPPED - 1).run(data, None)
    broken = divmod(BATCHES + MOST_SKIPPED - 1, BATCHES)
    where = f"epoch {broken[0] + 1}, batch {broken[1] + 1}, the {MOST_SKIPPED}th in a row;"
    with pytest.raises(NumericalError, match=rf"norm is (inf|nan) in {where}"):
        scaled("all", 10**6).run(data, None)


@pytest.mark.parametrize("broken", [0, BATCHES - 1])
@pytest.mark.parametrize("gradient", [False, True])
def test_weights_after_a_step_that_was_not_finite_are_neither_saved_nor_scored(
    tmp_path: Path, gradient: bool, broken: int
) -> None:
    def evaluate(ema: nn.Module) -> dict[str, float | None]:
        assert all(tensor.isfinite().all() for tensor in ema.state_dict().values())
        return {"score": 0.5}

    # as on CUDA, with scores and checkpoints after as many steps as can be
    spec = with_values(SPEC, select="heldout", evaluate_every=1, checkpoint_minutes=1e-9)
    seldom = with_values(spec, evaluate_every=0)
    for number, each in enumerate((spec, seldom)):
        run = fit(tmp_path / str(number), Broken(BATCHES + broken, gradient), each, STEPS_AHEAD)
        with pytest.raises(NumericalError, match=f"epoch 2, batch {broken + 1};"):
            run.run(TrainingData(batches, BATCHES), evaluate)
        saved = torch.load(run.paths.checkpoint("stage1"))
        assert saved["epoch"] == 1 and saved["batch"] <= broken
        for part in ("model", "ema"):
            assert all(tensor.isfinite().all() for tensor in saved[part].values())


def test_last_keeps_the_last_weights_and_heldout_the_best(tmp_path: Path) -> None:
    def falling():
        scores = iter([0.9, 0.5, 0.1])
        return lambda _: {"score": next(scores)}

    last = fit(tmp_path / "a").run(TrainingData(batches, BATCHES), falling())
    plain = fit(tmp_path / "b").run(TrainingData(batches, BATCHES), None)
    assert state_bytes(last) == state_bytes(plain)
    chosen = fit(tmp_path / "c", spec=with_values(SPEC, select="heldout"))
    best = chosen.run(TrainingData(batches, BATCHES), falling())
    assert chosen.best["epoch"] == 1
    assert state_bytes(best) != state_bytes(last)


def test_a_short_run_ends_far_from_its_initial_weights(tmp_path: Path) -> None:
    # without warm-up a decay of 0.999 would leave most of the initial weights in the average
    run = fit(tmp_path, spec=with_values(SPEC, epochs=20, ema_decay=0.999))
    initial = run.model[0].weight.detach().clone()
    ema = run.run(TrainingData(batches, BATCHES), None)
    travelled = (run.model[0].weight - initial).norm()
    assert (ema[0].weight - initial).norm() > 0.6 * travelled


def test_an_unknown_optimizer_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--optimizer nonsense"):
        fit(tmp_path, spec=with_values(SPEC, optimizer="nonsense"))


def halves(epoch: int, first: int) -> Iterator[Batch]:
    """Two unequal pieces of every batch."""
    for batch in batches(epoch, first):
        yield {name: tensor[:3] for name, tensor in batch.items()}
        yield {name: tensor[3:] for name, tensor in batch.items()}


def unknown(made: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches with some entries unknown."""
    for batch in made:
        yield {**batch, "weights": (batch["x"][:, :1] > -0.5).float()}


def test_the_gradient_of_accumulated_pieces_is_that_of_the_batch(tmp_path: Path) -> None:
    # one step of plain gradient descent with rate 1 moves the weights by the gradient
    spec = with_values(
        SPEC, optimizer="sgd", lr=1.0, schedule="constant", warmup_epochs=0, max_steps=1
    )

    def gradient(folder: str, data: TrainingData) -> torch.Tensor:
        run = fit(tmp_path / folder, spec=spec)
        run.model[1].p = 0.0  # dropout differs by piece
        before = nn.utils.parameters_to_vector(run.model.parameters()).detach().clone()
        run.run(data, None)
        return before - nn.utils.parameters_to_vector(run.model.parameters()).detach()

    whole = gradient("a", TrainingData(lambda *at: unknown(batches(*at)), BATCHES))
    pieces = gradient("b", TrainingData(lambda *at: unknown(halves(*at)), BATCHES, accumulate=2))
    assert whole.norm() > 0.1
    assert torch.allclose(whole, pieces, atol=1e-6)


def test_max_steps_ends_within_an_epoch_and_again_after_a_stop(tmp_path: Path) -> None:
    spec = with_values(SPEC, max_steps=BATCHES + 1)
    run = fit(tmp_path, spec=spec)
    whole = run.run(TrainingData(batches, BATCHES), None)
    assert [row["step"] for row in run.rows] == [BATCHES, BATCHES + 1]
    again = fit(tmp_path, spec=spec)  # from the last checkpoint: nothing is left to do
    assert state_bytes(again.run(TrainingData(batches, BATCHES), None)) == state_bytes(whole)
    assert len(again.rows) == 2


def test_a_checkpoint_within_an_epoch_changes_no_byte(tmp_path: Path) -> None:
    class Died(Exception):
        """Stands for kill -9: nothing is saved on the way out."""

    def dying(epoch: int, first: int) -> Iterator[Batch]:
        for number, batch in enumerate(batches(epoch, first), start=first):
            if (epoch, number) == (1, 3):
                raise Died
            yield batch

    whole = fit(tmp_path / "whole").run(TrainingData(batches, BATCHES), None)
    spec = with_values(SPEC, checkpoint_minutes=1e-9)
    with pytest.raises(Died):
        fit(tmp_path / "cut", spec=spec).run(TrainingData(dying, BATCHES), None)
    resumed = fit(tmp_path / "cut", spec=spec)
    saved = torch.load(resumed.paths.checkpoint("stage1"))
    assert (saved["epoch"], saved["batch"]) == (1, 3)
    assert state_bytes(resumed.run(TrainingData(batches, BATCHES), None)) == state_bytes(whole)
    with pytest.raises(Died):  # 0: only at the end of an epoch
        fit(tmp_path / "plain").run(TrainingData(dying, BATCHES), None)
    plain = torch.load(FoldPaths(tmp_path / "plain", "run", 0).checkpoint("stage1"))
    assert (plain["epoch"], plain["batch"]) == (1, 0)


class Small(SquaredError):
    """A device on which only pieces of some size fit."""

    def __init__(self, fits: int, error: Exception | None = None) -> None:
        self.fits = fits
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    def __call__(self, model: nn.Module, batch: Batch, counts: torch.Tensor) -> Batch:
        if len(batch["x"]) > self.fits:
            raise self.error
        return super().__call__(model, batch, counts)


def test_out_of_memory_says_what_fits_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"piece of 8 does not fit, 2 .* --accumulate 4:"):
        fit(tmp_path, Small(3)).run(TrainingData(batches, BATCHES), None)
    with pytest.raises(UsageError, match="nor does a single one"):
        fit(tmp_path, Small(0)).run(TrainingData(batches, BATCHES), None)
    assert not FoldPaths(tmp_path, "run", 0).checkpoint("stage1").exists()


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling cublasCreate(handle)",
    ],
)
def test_a_driver_or_library_without_room_is_out_of_memory(tmp_path: Path, words: str) -> None:
    with pytest.raises(UsageError, match=r"piece of 8 does not fit, 2 .* --accumulate 4:"):
        fit(tmp_path, Small(3, RuntimeError(words))).run(TrainingData(batches, BATCHES), None)
    with pytest.raises(RuntimeError, match="illegal"):  # any other error stays what it is
        other = RuntimeError("CUDA error: an illegal memory access was encountered")
        fit(tmp_path, Small(3, other)).run(TrainingData(batches, BATCHES), None)


def test_what_fits_is_tried_beside_the_state_of_the_optimizer(tmp_path: Path) -> None:
    class Device(SquaredError):
        """Six members fit as long as the optimizer has no state, two beside it."""

        def __call__(self, model: nn.Module, batch: Batch, counts: torch.Tensor) -> Batch:
            if len(batch["x"]) > (2 if run.optimizer.state else 6):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(model, batch, counts)

    run = fit(tmp_path, Device())
    with pytest.raises(UsageError, match=r"piece of 8 does not fit, 2 .* --accumulate 4:"):
        run.run(TrainingData(batches, BATCHES), None)


def test_sizes_are_tried_without_compiling_each(tmp_path: Path) -> None:
    compiled = []

    def backend(graph, example_inputs):
        compiled.append(graph)
        return graph.forward

    run = fit(tmp_path, Small(3))
    run.model.compile(backend=backend)
    with pytest.raises(UsageError, match="--accumulate 4:"):
        run.run(TrainingData(batches, BATCHES), None)
    assert compiled == []


def test_a_training_that_goes_on_on_another_kind_of_device_says_so(tmp_path: Path, caplog) -> None:
    caplog.set_level("WARNING", logger="intracranial")
    spec = with_values(SPEC, max_steps=BATCHES)
    path = fit(tmp_path).paths.checkpoint("stage1")
    fit(tmp_path, spec=spec).run(TrainingData(batches, BATCHES), None)
    fit(tmp_path, spec=spec).run(TrainingData(batches, BATCHES), None)
    assert caplog.text == ""
    torch.save({**torch.load(path), "device": "cuda"}, path)
    fit(tmp_path, spec=spec).run(TrainingData(batches, BATCHES), None)
    assert "was made on cuda, now the device is cpu" in caplog.text
