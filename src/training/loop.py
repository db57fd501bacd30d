"""One training loop for both stages.

Randomness is keyed, never drawn from a global stream that survives a batch: before each batch the
generator is seeded from (seed, epoch, batch). With the keyed epoch plans of the data sets this
makes a resumed run go on exactly where an undisturbed one would be.
"""

import signal
import statistics
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn

from src.artifacts import FoldPaths, write_csv
from src.compute import Compute
from src.errors import NumericalError, Preempted, UsageError
from src.runlog import log, progress
from src.training.checkpoint import load_state, save_state

CLIP_HISTORY = 256
"""Gradient norms whose median is the clipping threshold."""

CLIP_RANGE = (1.0, 100.0)
"""Bounds of the clipping threshold."""

FINITE_CHECK_EVERY = 16
"""Batches between checks for a loss that is not finite; each check waits for the device."""

Batch = dict[str, torch.Tensor]
LossParts = dict[str, torch.Tensor]


@dataclass(frozen=True)
class FitSpec:
    """How long and how fast to train.

    `epochs`; `optimizer`, `lr` and `weight_decay` as timm's; `schedule` is constant or cosine,
    after `warmup_epochs` of linear warm-up; the EMA has `ema_decay` and is updated every
    `ema_every` steps; `select` is last, inner or heldout; `seed` keys all random numbers.
    """

    epochs: int
    optimizer: str
    lr: float
    weight_decay: float
    schedule: str
    warmup_epochs: float
    ema_decay: float
    ema_every: int
    select: str
    seed: int


@dataclass(frozen=True)
class TrainingData:
    """Batches of one epoch, from a given batch on, and how many there are in all."""

    batches: Callable[[int, int], Iterable[Batch]]
    batches_per_epoch: int


def key(*parts: object) -> int:
    """A 32-bit seed from any parts, stable over processes and platforms."""
    return zlib.crc32(repr(parts).encode())


class GradientClipper:
    """Clips at the median of the last gradient norms, which follows the run's own scale."""

    def __init__(self, history: list[float]) -> None:
        """Go on from an earlier history."""
        self.history = history

    @property
    def threshold(self) -> float:
        """Present threshold."""
        low, high = CLIP_RANGE
        return min(max(statistics.median(self.history), low), high) if self.history else high

    def clip(self, parameters: list[nn.Parameter]) -> None:
        """Clip gradients in place and remember their norm."""
        norm = float(nn.utils.clip_grad_norm_(parameters, self.threshold))
        if norm < float("inf"):
            self.history = [*self.history[-(CLIP_HISTORY - 1) :], norm]


@contextmanager
def stop_requested() -> Iterator[list[bool]]:
    """A list that becomes non-empty when the process is asked to end (SIGTERM)."""
    asked: list[bool] = []
    previous = signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, previous)


class Fit:
    """Training of one network: state, steps, log and checkpoints."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, Batch], LossParts],
        spec: FitSpec,
        compute: Compute,
        paths: FoldPaths,
        stage: str,
        identity: str,
    ) -> None:
        """Place the network and make optimizer, schedule and EMA.

        Args:
            model: network to train.
            loss: forward pass and loss parts, of which `loss` is minimised.
            spec: how to train.
            compute: device and precision.
            paths: where checkpoint and log go.
            stage: `stage1` or `stage2`, for file names.
            identity: of the request; only a checkpoint of the same one is resumed.

        Raises:
            UsageError: unknown optimizer or schedule.
        """
        self.spec, self.compute, self.paths = spec, compute, paths
        self.stage, self.identity = stage, identity
        self.loss = loss
        self.model = model.to(compute.device)
        if any(p.ndim == 4 for p in model.parameters()):
            self.model = self.model.to(memory_format=torch.channels_last)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        try:
            self.optimizer = create_optimizer_v2(
                self.model,
                opt=spec.optimizer,
                lr=spec.lr,
                weight_decay=spec.weight_decay,
                filter_bias_and_bn=False,
            )
        except (ValueError, AssertionError) as error:
            raise UsageError(f"--optimizer {spec.optimizer}: {error}") from None
        self.ema = ModelEmaV3(self.model, decay=spec.ema_decay, use_warmup=True)
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.scaled)
        self.clipper = GradientClipper([])
        self.epoch = 0
        self.batch = 0
        self.sums: dict[str, float] = {}
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}

    def _schedule(self, batches_per_epoch: int) -> Any:  # noqa: ANN401
        constant = self.spec.schedule == "constant"
        if not constant and self.spec.schedule != "cosine":
            raise UsageError(f"--schedule {self.spec.schedule}: give constant or cosine")
        # timm counts whole epochs; counting updates as "epochs" lets the warm-up be a fraction.
        scheduler, _ = create_scheduler_v2(
            self.optimizer,
            sched="step" if constant else "cosine",
            num_epochs=self.spec.epochs * batches_per_epoch,
            decay_epochs=self.spec.epochs * batches_per_epoch,
            decay_rate=1.0,
            min_lr=self.spec.lr * 0.01,
            warmup_lr=self.spec.lr * 0.01,
            warmup_epochs=round(self.spec.warmup_epochs * batches_per_epoch),
            step_on_epochs=True,
        )
        return scheduler

    def run(
        self, data: TrainingData, evaluate: Callable[[nn.Module], dict[str, float | None]] | None
    ) -> nn.Module:
        """Train to the end, from a checkpoint if there is one, and return the selected weights.

        Args:
            data: the epochs' batches.
            evaluate: scores the EMA after each epoch; `score` steers `inner` and `heldout`.

        Raises:
            NumericalError: the loss is no longer finite.
            Preempted: the process was asked to end; the state is saved.
        """
        scheduler = self._schedule(data.batches_per_epoch)
        self._resume()
        with stop_requested() as asked:
            while self.epoch < self.spec.epochs:
                self._run_epoch(data, scheduler, asked)
                self._close_epoch(evaluate)
        if self.spec.select != "last" and self.best:
            self.ema.module.load_state_dict(self.best["weights"])
        return self.ema.module

    def _run_epoch(self, data: TrainingData, scheduler: Any, asked: list[bool]) -> None:  # noqa: ANN401
        self.model.train()
        pending: list[LossParts] = []
        batches = progress(
            data.batches(self.epoch, self.batch),
            data.batches_per_epoch - self.batch,
            f"epoch {self.epoch + 1} of {self.spec.epochs}",
        )
        for batch in batches:
            update = self.epoch * data.batches_per_epoch + self.batch
            scheduler.step(update)
            torch.manual_seed(key(self.spec.seed, self.stage, self.epoch, self.batch))
            pending.append(self._step(batch))
            if update % self.spec.ema_every == 0:
                self.ema.update(self.model, step=update // self.spec.ema_every + 1)
            self.batch += 1
            last = self.batch == data.batches_per_epoch
            if len(pending) == FINITE_CHECK_EVERY or last or asked:
                self._add(pending)
                pending = []
            if asked:
                self._save()
                raise Preempted(
                    f"asked to stop in epoch {self.epoch + 1}; run the same command to go on"
                )

    def _step(self, batch: Batch) -> LossParts:
        placed = {name: self.compute.place(tensor) for name, tensor in batch.items()}
        with self.compute.autocast():
            parts = self.loss(self.model, placed)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(parts["loss"]).backward()
        self.scaler.unscale_(self.optimizer)
        self.clipper.clip(self.parameters)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {name: value.detach() for name, value in parts.items()}

    def _add(self, pending: list[LossParts]) -> None:
        for parts in pending:
            for name, value in parts.items():
                number = float(value)
                if name == "loss" and number - number != 0:
                    raise NumericalError(
                        f"the loss is {number} in epoch {self.epoch + 1} near batch {self.batch}; "
                        f"lower --lr, or give --precision fp32. The last checkpoint is kept: "
                        f"{self.paths.checkpoint(self.stage)}"
                    )
                self.sums[name] = self.sums.get(name, 0.0) + number

    def _close_epoch(self, evaluate: Callable[[nn.Module], dict[str, float | None]] | None) -> None:
        row: dict[str, Any] = {"epoch": self.epoch + 1, "batches": self.batch}
        row.update({name: total / max(1, self.batch) for name, total in self.sums.items()})
        row["lr"] = self.optimizer.param_groups[0]["lr"]
        row["clip"] = self.clipper.threshold
        if evaluate is not None:
            scores = evaluate(self.ema.module)
            row.update(scores)
            self._remember_best(scores.get("score"))
        self.rows.append(row)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}
        write_csv(self.paths.log_csv(self.stage), list(self.rows[0]), self.rows)
        self._save()
        log.info(
            "epoch %d of %d: %s",
            self.epoch,
            self.spec.epochs,
            ", ".join(
                f"{name} {value:.4g}"
                for name, value in row.items()
                if name not in ("epoch", "batches", "clip") and value is not None
            ),
        )

    def _remember_best(self, score: float | None) -> None:
        if self.spec.select == "last" or score is None:
            return
        if not self.best or score > self.best["score"]:
            weights = {k: v.detach().clone() for k, v in self.ema.module.state_dict().items()}
            self.best = {"score": score, "epoch": self.epoch + 1, "weights": weights}

    def _save(self) -> None:
        save_state(
            self.paths.checkpoint(self.stage),
            {
                "identity": self.identity,
                "model": self.model.state_dict(),
                "ema": self.ema.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "clip_history": self.clipper.history,
                "epoch": self.epoch,
                "batch": self.batch,
                "sums": self.sums,
                "rows": self.rows,
                "best": self.best,
            },
        )

    def _resume(self) -> None:
        state = load_state(self.paths.checkpoint(self.stage), self.identity)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.clipper.history = state["clip_history"]
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.sums, self.rows, self.best = state["sums"], state["rows"], state["best"]
        log.info("going on from epoch %d, batch %d", self.epoch + 1, self.batch)
