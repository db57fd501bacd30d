"""What --dry_run says about a training."""

import re
from pathlib import Path

import pytest
from torch import nn

from intracranial.artifacts import FoldPaths
from intracranial.options.training import Optimization, Progress, TrainingOptions
from intracranial.provenance import Plan, Request
from intracranial.training.batches import TrainingData
from intracranial.training.preview import preview


@pytest.mark.parametrize(("select", "sets"), [("last", 5), ("inner", 6)])
def test_a_selecting_training_needs_room_for_the_best_weights_too(
    tmp_path: Path, caplog, select: str, sets: int
):
    caplog.set_level("INFO", logger="intracranial")
    options = TrainingOptions(
        run="run",
        device="cpu",
        optimization=Optimization(epochs=1, batch_size=2, lr=1e-3),
        progress=Progress(select=select),
    )
    model = nn.Linear(1023, 1024)  # with its bias 2**20 numbers, 4 MiB
    preview(
        options,
        FoldPaths(tmp_path, "run", 0),
        "stage1",
        Request("stage1", {}, {}, None),
        Plan.FRESH,
        (3, 1),
        TrainingData(lambda epoch, first: [], 4),
        model,
    )
    assert f"checkpoints of up to {4 * sets:.1f} MiB" in caplog.text
    assert re.search(rf"device: {4 * (sets + 1) / 1024:.2f} GiB", caplog.text)
