"""Runs with random weights: whatever the task, at once and without data."""

from dataclasses import replace
from pathlib import Path

import torch

from intracranial.artifacts import FoldPaths
from intracranial.imaging.pixels import STANDARD
from intracranial.lineage import Stage1Sidecar, Stage2Record
from intracranial.models.sequence_classifier import SequenceClassifier, SequenceClassifierConfig
from intracranial.models.slice_classifier import SliceClassifier, SliceClassifierConfig
from intracranial.provenance import Request, write_manifest
from intracranial.sampling.sequences import SequenceSpec
from intracranial.sampling.stacks import StackSpec
from intracranial.tasks import Task
from intracranial.training.checkpoint import save_weights

SEEN = StackSpec(0.9, 48, 2.5)


def write_untrained_run(
    run: Path, task: Task, fold: int | str = 0, inputs: StackSpec = SEEN
) -> FoldPaths:
    """Weights and sidecars of both stages of one fold, as the trainings leave them."""
    paths = FoldPaths(run.parent, run.name, fold)
    labels = len(task.labels)
    first = SliceClassifierConfig(
        "test_resnet", labels, inputs.input_size, channels=inputs.channels
    )
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
    stage1 = stage1_of(paths, task, first, inputs)
    made = Request("stage1", {}, {})
    write_manifest(stage1.path, made, complete=True, content=stage1.to_json())
    stage2 = Stage2Record(
        task=task,
        model=second,
        sequence=SequenceSpec(("logits", "peaks"), 512, 4.0),
        precision="fp32",
        select="last",
    )
    request = Request("stage2", {}, {"stage1": made.identity})
    write_manifest(paths.manifest("stage2"), request, complete=True, content=stage2.to_json())
    return paths


def stage1_of(
    paths: FoldPaths,
    task: Task,
    model: SliceClassifierConfig,
    inputs: StackSpec,
    steps: tuple[int, ...] = (1,),
) -> Stage1Sidecar:
    """The sidecar of a slice classifier that nothing has trained, as it is read."""
    return Stage1Sidecar(
        path=paths.manifest("stage1"),
        identity="",
        inputs={},
        partial=None,
        config={},
        task=task,
        model=model,
        input=inputs,
        steps=steps,
        preprocessing=replace(STANDARD, size=64),
        weights_licence="random initial weights",
        select="last",
    )
