"""What a training step found, read by the host without waiting for the device."""

import torch

from intracranial.training.distributed import sum_over_processes

LossParts = dict[str, torch.Tensor]

STEPS_AHEAD = 2
"""Steps that the host may be ahead of a CUDA device. A report is read when so many later steps are
queued: the device has work while the host waits for it. This also bounds the batches that wait on
the device, and the steps that follow one that was not finite."""


class StepReport:
    """Loss parts, the gradient's norm, and what the processes wish, of one step.

    Every process has the same report, and reads it at the same step.
    """

    def __init__(
        self, batch: int, parts: LossParts, norm: torch.Tensor, stop: bool, save: bool
    ) -> None:
        """Add up over processes and begin the copy to the host.

        Args:
            batch: number of the batch in its epoch.
            parts: this process's share of the loss parts, float32 scalars.
            norm: of the gradient, which all processes share, float32 scalar.
            stop: whether this process is asked to stop.
            save: whether this process wants a checkpoint.
        """
        self.batch = batch
        self._names = list(parts)
        # filled by a kernel: a tensor of Python numbers would be copied, and waited for
        wishes = [norm.new_full((), wish) for wish in (stop, save)]
        total = sum_over_processes(torch.stack([*parts.values(), *wishes]))
        # torch makes the copy's memory pinned, so that nothing waits for it
        self._copy = torch.cat([total, norm[None]]).to("cpu", non_blocking=True)
        self._arrived = (
            torch.cuda.current_stream(norm.device).record_event() if norm.is_cuda else None
        )

    def read(self) -> tuple[dict[str, float], float, bool, bool]:
        """Loss parts of the whole batch, norm, and whether any process is to stop or to save."""
        if self._arrived is not None:
            self._arrived.synchronize()
        *parts, stop, save, norm = self._copy.tolist()
        return dict(zip(self._names, parts, strict=True)), norm, stop > 0, save > 0
