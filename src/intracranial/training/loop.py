"""One training loop for both stages.

Randomness is keyed, never drawn from a global stream that survives a batch: before each piece of a
batch the generator is seeded from (seed, epoch, batch). With the keyed epoch plans of the data sets
this makes a resumed run continue exactly where an undisturbed one would be. The schedule and the
average's warm-up are functions of the update's number; all other state is in the checkpoint.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from itertools import islice
from typing import Any, Protocol

import torch
from timm.utils import ModelEmaV3
from torch import nn

from intracranial.artifacts import FoldPaths, write_json
from intracranial.compute import Compute, determinism_explained
from intracranial.errors import NumericalError, Preempted, UsageError
from intracranial.models.depthwise import speed_up_depthwise
from intracranial.options.training import TrainingOptions
from intracranial.runlog import log, progress
from intracranial.training import memory
from intracranial.training.batches import Batch, TrainingData, key, placed
from intracranial.training.checkpoint import load_state, save_state
from intracranial.training.distributed import (
    is_first,
    on_first,
    process_count,
    process_index,
    shared,
    sum_over_processes,
    take_buffers_of_first,
    wait_for_all,
    without_sync,
)
from intracranial.training.epoch_log import EpochLog
from intracranial.training.loaders import deaths_explained
from intracranial.training.optimization import (
    GradientClipper,
    load_optimizer,
    make_optimizer,
    make_schedule,
)
from intracranial.training.step_report import STEPS_AHEAD, LossParts, StepReport
from intracranial.training.stop_request import stop_request

MOST_SKIPPED = 30
"""Steps in a row that the scaler of fp16 may leave out. It halves its scale at each: from 65,536
to 0.0001 in so many, so that what still overflows is no matter of the scale."""

SAVE_SHARE = 0.02
"""Share of the time that checkpoints at the ends of epochs may take."""

QUICK_SAVE = 1.0
"""Seconds; a checkpoint that takes no longer is written at the end of every epoch."""

Scores = dict[str, float | None]
Evaluate = Callable[[nn.Module], Scores]


class Loss(Protocol):
    """A loss whose parts are averages, each over entries that can be counted beforehand.

    The pieces of a batch, in other processes too, share the count of the whole batch, so that the
    sum of their losses is the loss of the batch.
    """

    def counts(self, batch: Batch) -> torch.Tensor:
        """Entries of a piece that each part averages over, float32 (parts,)."""
        ...

    def __call__(self, model: nn.Module, batch: Batch, counts: torch.Tensor) -> LossParts:
        """Parts of a piece, divided by the counts of the whole batch; `loss` is minimised."""
        ...


class Fit:
    """Training of one network: state, steps, log and checkpoints."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        options: TrainingOptions,
        compute: Compute,
        paths: FoldPaths,
        stage: str,
        identity: str,
    ) -> None:
        """Place the network and make optimizer and EMA.

        Args:
            model: network to train.
            loss: forward pass and loss.
            options: of the stage.
            compute: device and precision.
            paths: where checkpoint and log go.
            stage: `stage1` or `stage2`, for file names.
            identity: of the request; only a checkpoint of the same one is resumed.

        Raises:
            UsageError: unknown optimizer, or TensorBoard is asked for and not installed.
        """
        self.options, self.compute, self.paths = options, compute, paths
        self.stage, self.identity = stage, identity
        self.loss = loss
        self.model = model.to(compute.device)
        if any(p.ndim == 4 for p in model.parameters()):
            self.model = self.model.to(memory_format=torch.channels_last)
        if compute.device.type == "cpu":
            speed_up_depthwise(self.model)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.model, options.optimization)
        self.ema = ModelEmaV3(self.model, decay=options.optimization.ema_decay, use_warmup=True)
        self.network: nn.Module | None = None  # made with the first batch
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.scaled)
        self.clipper = GradientClipper(compute.device)
        on_cuda = compute.device.type == "cuda"
        self.copying = torch.cuda.Stream(compute.device) if on_cuda else None
        # on a CPU a result is there when the call returns
        self.ahead = STEPS_AHEAD if on_cuda else 0
        self.reports: deque[StepReport] = deque()
        self.log = EpochLog(paths, stage, options.progress.tensorboard) if is_first() else None
        self.epoch = 0
        self.batch = 0
        self.sums: dict[str, float] = {}
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.higher_is_better = True
        self.saved = time.monotonic()
        self.save_seconds = 0.0
        self.skipped = 0

    def run(
        self, data: TrainingData, evaluate: Evaluate | None, higher_is_better: bool = True
    ) -> nn.Module:
        """Train to the end, from a checkpoint if there is one, and return the selected weights.

        Args:
            data: the epochs' batches.
            evaluate: scores the EMA after each epoch, and every `evaluate_every` steps within it,
                in all processes; `score` steers `inner` and `heldout`.
            higher_is_better: direction of the score.

        Returns:
            The EMA; in the first process alone, which saves, as it was selected.

        Raises:
            NumericalError: the loss or the gradient is no longer finite.
            UsageError: unknown schedule, a piece of a batch does not fit into memory, or one of the
                network's operations is not deterministic, as was asked.
            InputError: a process that loads data has died.
            Preempted: the process was asked to end; the state is saved. Or processes have found
                different checkpoints.
        """
        self.higher_is_better = higher_is_better
        scheduler = make_schedule(self.optimizer, self.options.optimization, data.batches_per_epoch)
        self._resume()
        self._check_place()
        if is_first():
            self.paths.not_finite(self.stage).unlink(missing_ok=True)
            if data.accumulate * process_count() > 1 and _has_batch_norm(self.model):
                log.warning("batch normalisation: each piece of a batch has statistics of its own")
        with (
            closing(data),
            stop_request.heard(),
            determinism_explained(),
            deaths_explained(),
        ):
            while self.epoch < self.options.optimization.epochs and self._batches_left(data) > 0:
                self._run_epoch(data, scheduler, evaluate)
                self._close_epoch(data, evaluate)
        if self.options.progress.select != "last" and is_first():
            self._select()
        return self.ema.module

    def _select(self) -> None:
        if not self.best:
            log.warning(
                "--select %s: no epoch could be scored (too few labels?), so the last weights are "
                "kept",
                self.options.progress.select,
            )
            return
        log.info(
            "--select %s: the weights after epoch %.4g, score %.4g",
            self.options.progress.select,
            self.best["epoch"],
            self.best["score"],
        )
        self.ema.module.load_state_dict(self.best["weights"])

    def _batches_left(self, data: TrainingData) -> int:
        """Batches that this epoch has in all, fewer where `max_steps` ends it."""
        if self.options.trial.max_steps is None:
            return data.batches_per_epoch
        before = self.epoch * data.batches_per_epoch
        return min(data.batches_per_epoch, self.options.trial.max_steps - before)

    def _run_epoch(
        self,
        data: TrainingData,
        scheduler: Any,  # noqa: ANN401
        evaluate: Evaluate | None,
    ) -> None:
        self.model.train()
        count = self._batches_left(data)
        batches: Iterable[list[Batch]] = islice(
            _joined(data.pieces(self.epoch, self.batch), data.accumulate), count - self.batch
        )
        if is_first():
            what = f"epoch {self.epoch + 1} of {self.options.optimization.epochs}"
            batches = progress(batches, count - self.batch, what)
        for pieces in placed(batches, self.compute, self.copying):
            update = self.epoch * data.batches_per_epoch + self.batch
            scheduler.step(update)
            self.reports.append(self._step(pieces, stop_request.pending, data))
            if update % self.options.optimization.ema_every == 0:
                self.ema.update(self.model, step=update // self.options.optimization.ema_every + 1)
            self.batch += 1
            every = self.options.progress.evaluate_every
            score = every > 0 and (update + 1) % every == 0 and self.batch < count
            stop, save = self._read_reports(self.ahead, data)
            if stop or save or score or self.batch == count:
                # nothing is scored or saved before all steps behind it are known to be finite
                stop = self._read_reports(0, data)[0] or stop
            if score:
                self._add_row(data, evaluate, last=False)
            if stop or save:
                self._save()
            if stop:
                wait_for_all()  # the others must not end while the first one is saving
                stop_request.pending = False
                raise Preempted(
                    f"asked to stop in epoch {self.epoch + 1}; run the same command to resume, "
                    "without --overwrite"
                )

    def _step(self, pieces: list[Batch], asked: bool, data: TrainingData) -> StepReport:
        """One update; the report also tells the other processes whether to stop or to save."""
        counts = sum_over_processes(
            torch.stack([self.loss.counts(piece) for piece in pieces]).sum(dim=0)
        )
        self.optimizer.zero_grad(set_to_none=True)
        try:
            parts = self._backward(pieces, counts)
            norm = self._update()  # the first one makes the optimizer's state
        except RuntimeError as error:
            if not memory.is_out_of_memory(error):
                raise
            error.__traceback__ = None  # it holds the tensors of the failed pass
        else:
            return StepReport(self.batch, parts, norm, asked, self._is_due() and is_first())
        piece = max(pieces, key=lambda piece: len(piece["weights"]))
        size = len(piece["weights"])
        fitting = memory.largest_fitting(lambda fewer: self._attempt(piece, fewer, counts), size)
        batch = sum(len(piece["weights"]) for piece in pieces) * process_count()
        raise UsageError(memory.advice(size, fitting, batch, data.accumulate, process_count()))

    def _backward(self, pieces: list[Batch], counts: torch.Tensor) -> LossParts:
        """Gradients of a batch; returns this process's share of the loss parts."""
        if self.network is None:
            self.network = shared(
                self.model,
                self.compute.device,
                lambda network: self._loss(network, pieces[0], counts)["loss"],
            )
        found: LossParts = {}
        for number, piece in enumerate(pieces):
            torch.manual_seed(self._seed(number))
            last = number == len(pieces) - 1
            with nullcontext() if last else without_sync(self.network):
                parts = self._loss(self.network, piece, counts)
                loss = parts["loss"]
                if process_count() > 1:
                    loss = loss * process_count()  # gradients are averaged over processes
                self.scaler.scale(loss).backward()
            for name, value in parts.items():
                found[name] = found[name] + value.detach() if name in found else value.detach()
        return found

    def _seed(self, piece: int) -> int:
        place = (piece, process_index()) if piece or process_index() else ()
        return key(self.options.seed, self.stage, self.epoch, self.batch, *place)

    def _loss(self, network: nn.Module, piece: Batch, counts: torch.Tensor) -> LossParts:
        with self.compute.autocast():
            return self.loss(network, piece, counts)

    def _update(self) -> torch.Tensor:
        """Change the weights; returns the gradient's norm."""
        self.scaler.unscale_(self.optimizer)
        norm = self.clipper.clip(self.parameters)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm

    def _attempt(self, piece: Batch, size: int, counts: torch.Tensor) -> None:
        """Update the weights with some of a piece, for their memory alone: the run is over."""
        fewer = {name: tensor[:size] for name, tensor in piece.items()}
        trained = [parameter for parameter in self.parameters if parameter.requires_grad]
        # the first update makes the optimizer's state, beside which the second one must fit
        for _ in range(2):
            self.optimizer.zero_grad(set_to_none=True)
            with torch.compiler.set_stance("force_eager"):  # no size is compiled anew
                loss = self._loss(self.model, fewer, counts)["loss"]
                # backward() would call the hooks of DistributedDataParallel a second time
                gradients = torch.autograd.grad(loss, trained, allow_unused=True)
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter.grad = gradient
            del loss, gradients
            self.optimizer.step()

    def _read_reports(self, left: int, data: TrainingData) -> tuple[bool, bool]:
        """Read all reports but the newest `left`: add up the losses, say whether to stop or save.

        Raises:
            NumericalError: a step was not finite. Later ones have changed the weights since, which
                are lost with the process.
        """
        any_stop = any_save = False
        while len(self.reports) > left:
            report = self.reports.popleft()
            parts, norm, stop, save = report.read()
            if not math.isfinite(parts["loss"]):
                raise self._not_finite("loss", parts["loss"], report.batch, data)
            self.skipped = 0 if math.isfinite(norm) else self.skipped + 1
            # the scaler leaves out such a step
            if self.skipped >= (MOST_SKIPPED if self.compute.scaled else 1):
                raise self._not_finite("gradient's norm", norm, report.batch, data)
            for name, number in parts.items():
                self.sums[name] = self.sums.get(name, 0.0) + number
            any_stop, any_save = any_stop or stop, any_save or save
        return any_stop, any_save

    def _not_finite(
        self, what: str, number: float, batch: int, data: TrainingData
    ) -> NumericalError:
        path = self.paths.not_finite(self.stage)
        if is_first():
            members = data.members(self.epoch, batch)
            content = {"what": f"the {what} is {number}", "batch": batch + 1, "members": members}
            write_json(path, {**content, "epoch": self.epoch + 1})
        row = f", the {self.skipped}th in a row" if self.skipped >= MOST_SKIPPED else ""
        return NumericalError(
            f"the {what} is {number} in epoch {self.epoch + 1}, batch {batch + 1}{row}; its "
            f"members are in {path}. If they are sound, lower --lr or give --precision fp32, with "
            "another --run or with --overwrite"
        )

    def _close_epoch(self, data: TrainingData, evaluate: Evaluate | None) -> None:
        steps = (self.epoch + 1) * data.batches_per_epoch
        last = self.epoch + 1 == self.options.optimization.epochs or steps >= (
            self.options.trial.max_steps or math.inf
        )
        self._add_row(data, evaluate, last)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}
        long_ago = time.monotonic() - self.saved >= self.save_seconds / SAVE_SHARE
        if last or long_ago or self.save_seconds <= QUICK_SAVE or self._is_due():
            self._save()

    def _add_row(self, data: TrainingData, evaluate: Evaluate | None, last: bool) -> None:
        """Score the EMA and log it, with the means since the epoch began.

        Args:
            data: the batches.
            evaluate: the scores; all processes take part.
            last: no row will follow.
        """
        whole = self.batch == self._batches_left(data)
        epoch = self.epoch + (1 if whole else round(self.batch / data.batches_per_epoch, 4))
        step = self.epoch * data.batches_per_epoch + self.batch
        row: dict[str, Any] = {"epoch": epoch, "step": step}
        row.update({name: total / max(1, self.batch) for name, total in self.sums.items()})
        row["lr"] = self.optimizer.param_groups[0]["lr"]
        row["clip"] = float(self.clipper.threshold)
        if evaluate is not None:
            take_buffers_of_first(self.ema.module)
            scores = evaluate(self.ema.module)
            row.update(scores)
            if is_first():
                self._remember_best(scores.get("score"), epoch)
        self.rows.append(row)
        if self.log is not None:
            self.log.write(self.rows, last)
        log.info(
            "epoch %.4g of %d: %s",
            epoch,
            self.options.optimization.epochs,
            ", ".join(
                f"{name} {value:.4g}"
                for name, value in row.items()
                if name not in ("epoch", "step", "clip") and value is not None
            ),
        )

    def _remember_best(self, score: float | None, epoch: float) -> None:
        if self.options.progress.select == "last" or score is None:
            return
        sign = 1 if self.higher_is_better else -1
        if not self.best or sign * score > sign * self.best["score"]:
            weights = {k: v.detach().clone() for k, v in self.ema.module.state_dict().items()}
            self.best = {"score": score, "epoch": epoch, "weights": weights}

    def _is_due(self) -> bool:
        minutes = self.options.progress.checkpoint_minutes
        return minutes > 0 and time.monotonic() - self.saved > 60 * minutes

    def _save(self) -> None:
        begin = self.saved = time.monotonic()
        if not is_first():
            return
        save_state(
            self.paths.checkpoint(self.stage),
            {
                "identity": self.identity,
                "processes": process_count(),
                "device": self.compute.device.type,
                "dtype": str(self.compute.dtype),
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
        self.saved = time.monotonic()
        self.save_seconds = self.saved - begin

    def _resume(self) -> None:
        state = load_state(self.paths.checkpoint(self.stage), self.identity)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        load_optimizer(self.optimizer, state["optimizer"])
        device = self.compute.device.type
        if state.get("device", device) != device:
            log.warning(
                "the checkpoint was made on %s, now the device is %s: the training continues, its "
                "results differ from those of an undisturbed run",
                state["device"],
                device,
            )
        if state["dtype"] == str(self.compute.dtype):
            self.scaler.load_state_dict(state["scaler"])
        else:
            log.warning(
                "the checkpoint was computed in %s, now it is %s: the training continues, its bits "
                "differ from those of an undisturbed run",
                state["dtype"],
                self.compute.dtype,
            )
        self.clipper = GradientClipper(self.compute.device, state["clip_history"])
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.sums, self.rows, self.best = state["sums"], state["rows"], state["best"]
        log.info("going on from epoch %d, batch %d", self.epoch + 1, self.batch)
        if state["processes"] != process_count():
            log.warning(
                "the checkpoint was made by %d processes, now there are %d: the training "
                "continues, its last bits and dropout differ from those of an undisturbed run",
                state["processes"],
                process_count(),
            )

    def _check_place(self) -> None:
        """Check that all processes have resumed at the same step."""
        own = self.epoch, self.batch
        first = on_first(lambda: own)
        if own != first:
            raise Preempted(
                f"process {process_index()} of {process_count()} would resume from epoch "
                f"{own[0] + 1}, batch {own[1]}, process 0 from epoch {first[0] + 1}, batch "
                f"{first[1]}: {self.paths.checkpoint(self.stage)} is not the same file on all "
                "machines, or a network file system has shown an old one. Once it is, the same "
                "command, without --overwrite, resumes"
            )


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def _joined(pieces: Iterable[Batch], accumulate: int) -> Iterator[list[Batch]]:
    """The pieces of each batch together."""
    remaining = iter(pieces)
    while batch := list(islice(remaining, accumulate)):
        yield batch
