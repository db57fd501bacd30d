"""Where the figures of each epoch go: a CSV log, a picture of it, and TensorBoard if asked for."""

import time
from typing import Any

from intracranial.artifacts import FoldPaths, write_csv
from intracranial.errors import MissingPackage

DRAW_SECONDS = 60.0
"""The picture is drawn again after this time, and at the end."""


class EpochLog:
    """Writes the rows of one training."""

    def __init__(self, paths: FoldPaths, stage: str, tensorboard: bool) -> None:
        """Prepare; files are written with the first row.

        Raises:
            MissingPackage: TensorBoard was asked for and is not installed.
        """
        self.paths, self.stage = paths, stage
        self.drawn = time.monotonic()
        self.events: Any = _event_writer(paths, stage) if tensorboard else None

    def write(self, rows: list[dict[str, Any]], last: bool) -> None:
        """Save all rows so far; the newest one is new, and `last` says that none will follow."""
        write_csv(self.paths.log_csv(self.stage), list(rows[0]), rows)
        if self.events is not None:
            for name, value in rows[-1].items():
                if name != "step" and value is not None:
                    self.events.add_scalar(name, value, rows[-1]["step"])
            self.events.flush()
            if last:
                self.events.close()
        if last or time.monotonic() - self.drawn > DRAW_SECONDS:
            from intracranial.training.curves import draw_curves

            draw_curves(self.paths.curves(self.stage), rows)
            self.drawn = time.monotonic()


def _event_writer(paths: FoldPaths, stage: str) -> Any:  # noqa: ANN401
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingPackage(
            "--tensorboard needs tensorboard: pip install tensorboard, or leave the "
            "flag out; the CSV log is always written"
        ) from None
    return SummaryWriter(paths.tensorboard(stage))
