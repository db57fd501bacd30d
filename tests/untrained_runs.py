"""Runs with random weights: whatever the task, at once and without data."""

from dataclasses import asdict, replace
from pathlib import Path

import torch

from intracranial.artifacts import FoldPaths
from intracranial.imaging.pixels import STANDARD
from intracranial.models.sequence_classifier import SequenceClassifier, SequenceClassifierConfig
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from intracranial.options.common import identity
from intracranial.provenance import Request, write_manifest
from intracranial.sampling.sequences import SequenceSpec
from intracranial.sampling.stacks import InputSpec
from intracranial.tasks import Task
from intracranial.training.checkpoint import save_weights


def write_untrained_run(run: Path, task: Task, fold: int | str = 0) -> FoldPaths:
    """Weights and sidecars of both stages of one fold, as the trainings leave them."""
    paths = FoldPaths(run.parent, run.name, fold)
    labels = len(task.labels)
    first = SliceClassifierConfig("test_resnet", labels, input_size=48)
    second = SequenceClassifierConfig(
        inputs=2 * labels,
        labels=labels,
        width=16,
        feed_forward=16,
        layers=1,
        heads=2,
        pool="gem",
        dropout=0.0,
        head_dropout=0.0,
        skip=labels,
    )
    torch.manual_seed(0)
    save_weights(paths.weights("stage1"), SliceClassifier(first))
    save_weights(paths.weights("stage2"), SequenceClassifier(second))
    made = Request("stage1", {}, {})
    content = {
        "task": task.record(),
        "model": asdict(first),
        "input": asdict(InputSpec(0.9, 48, 2.5)),
        "steps": [1],
        "preprocessing": identity(replace(STANDARD, size=64)),
        "weights_licence": "random initial weights",
        "select": "last",
    }
    write_manifest(paths.manifest("stage1"), made, complete=True, content=content)
    content = {
        "task": task.record(),
        "model": asdict(second),
        "sequence": asdict(SequenceSpec(("logits", "peaks"), 512, 4.0)),
        "precision": "fp32",
        "select": "last",
    }
    request = Request("stage2", {}, {"stage1": made.identity})
    write_manifest(paths.manifest("stage2"), request, complete=True, content=content)
    return paths
