"""Collects what the README's figures show of a run."""

import csv
from typing import Any

import numpy as np
import torch

from intracranial.artifacts import ImageFile
from intracranial.compute import choose_compute
from intracranial.errors import InputError
from intracranial.imaging.geometry import Geometry
from intracranial.inference.encoder import Encoder
from intracranial.inference.sequence_predictor import SequencePredictor
from intracranial.lineage import data_identities, open_stage1, open_stage2
from intracranial.models.slice_classifier import HEATMAP_STRIDE
from intracranial.options.common import ModelOptions
from intracranial.options.stage1 import StackAugmentation
from intracranial.provenance import MADE_BY
from intracranial.report.projections import array_directions
from intracranial.report.readme_figures import Example
from intracranial.sampling.augment import augment
from intracranial.sampling.features import load_features
from intracranial.sampling.regions import cache_to_input
from intracranial.sampling.series_info import series_infos
from intracranial.sampling.slice_samples import TargetSpec, gaussian_peaks
from intracranial.sampling.stacks import as_channels, neighbours, prepare_slices
from intracranial.splits.split_files import load_split
from intracranial.splits.spots import eligible_negatives, exclusion_radius
from intracranial.tasks import SERIES_COLUMN, Task

MIRROR = StackAugmentation(
    flip_lr=1.0, flip_other=0.0, rot90=0.0, affine=0.0, drift=0.0, patch_dropout=0.0
)


def best_ranked_example(options: ModelOptions) -> tuple[Example, Task]:
    """The held-out axial series with a finding that stage 2 ranks first, and the task.

    Raises:
        InputError: there is no such series, or the task has no overall label.
    """
    split = load_split(options.data, options.folds)
    task = split.task
    if task.overall is None:
        raise InputError(f"the task {task.name!r} has no overall label to draw")
    paths = options.fold_paths(int(options.fold))
    current = data_identities(options.data, split.identity)
    stage1 = open_stage1(paths, current, task)
    stage2 = open_stage2(paths, current, task)
    infos = series_infos(split, split.held_out(int(options.fold)), task)
    uids = [uid for uid, info in infos.items() if len(info.indices) and info.plane == "axial"]
    if not uids:
        raise InputError("the held-out fold has no axial series with a localizer to draw")
    with open(paths.predictions("stage2"), encoding="utf-8", newline="") as file:
        score = {row[SERIES_COLUMN]: float(row[task.overall]) for row in csv.DictReader(file)}
    uid = max(uids, key=lambda name: score[name])
    info = infos[uid]
    compute = choose_compute(options.device)
    encoder = Encoder(paths, stage1, compute)
    volume = ImageFile(options.data.sequence(uid), MADE_BY["preprocess"])
    index, step = int(info.indices[0]), encoder.steps[0]
    inputs = encoder.inputs
    region = inputs.region(info.size)
    chosen = neighbours(index, step, info.n, inputs.slices)
    stack = prepare_slices(volume, inputs, region, chosen)
    with torch.inference_mode(), compute.autocast():
        output = encoder.model(compute.place(torch.from_numpy(as_channels(stack))[None]))
    point = cache_to_input(info.points[:1], region, inputs.input_size)
    cells = output.heatmap.shape[-1]
    spec = TargetSpec(cells, HEATMAP_STRIDE, stage1.config["heatmap_sigma"])
    sigma = spec.sigma(info.pixel_mm, region.scale(inputs.input_size))
    target = gaussian_peaks(
        (point + 0.5) / HEATMAP_STRIDE - 0.5, np.array([0]), sigma, (1, cells, cells)
    )[0]
    sets = load_features(paths.feature(uid))
    predictor = SequencePredictor(paths, stage2, options.device)
    result = predictor.predict(sets, info.slice_mm, info.spacing_known)
    overall = task.labels.index(task.overall)
    location = task.locations[int(info.locations[0])]
    mirrored = augment(stack, point, info.axis, MIRROR, np.random.default_rng(0)).stack
    found = sets[step, 0]
    row: Any = split.series.loc[uid]
    example = Example(
        uid=uid,
        directions=array_directions(Geometry.from_row(row)),
        volume=np.asarray(volume, dtype=np.float32),
        positive=index,
        point=(float(info.points[0, 0]), float(info.points[0, 1])),
        location=location,
        mirrored_location=task.labels[task.mirrored()[task.labels.index(location)]],
        negatives=eligible_negatives(info.n, info.indices),
        radius=exclusion_radius(info.n),
        step=step,
        stack=stack[:, 0] + inputs.mean,
        mirrored=mirrored[:, 0] + inputs.mean,
        target=target,
        input_point=(float(point[0, 0]), float(point[0, 1])),
        heatmap=output.heatmap[0, overall].float().sigmoid().cpu().numpy(),
        slice_labels=output.logits[0].float().sigmoid().cpu().numpy(),
        stage1_curve=1 / (1 + np.exp(-found.logits[:, overall].astype(np.float64))),
        stage2_curve=result.slice_probabilities[:, overall],
        features=found.features.astype(np.float32),
        series=result.probabilities,
    )
    return example, task
