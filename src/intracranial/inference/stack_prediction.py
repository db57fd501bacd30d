"""Stage 1 scored at spots."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import torch
from torch import nn

from intracranial.compute import Compute
from intracranial.metrics import score_table
from intracranial.sampling.slice_samples import StackDataset, StackRequest
from intracranial.splits.folds import Split
from intracranial.tasks import SERIES_COLUMN, Task
from intracranial.training.distributed import share_work
from intracranial.training.loaders import deaths_explained, load


def spot_requests(split: Split, uids: list[str], steps: tuple[int, ...]) -> list[StackRequest]:
    """Evaluation stacks: every spot of the series once per step, in the table's order.

    Series with a positive location that has no localizer are left out: it may be in any slice.
    """
    localized = set(split.series.index[split.series["localized"] == 1])
    chosen = split.spots[split.spots[SERIES_COLUMN].isin(localized & set(uids))]
    spots = chosen[[SERIES_COLUMN, "index"]].drop_duplicates()
    return [
        StackRequest(uid, int(index), step, 0, position)
        for position, (uid, index) in enumerate(spots.itertuples(index=False))
        for step in steps
    ]


def predict_stacks(
    model: nn.Module,
    dataset: StackDataset,
    requests: list[StackRequest],
    batch_size: int,
    num_workers: int,
    compute: Compute,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities at spots, averaged over the steps of each spot.

    Processes that train together share the batches; all of them get all results.

    Returns:
        targets float64 (N, L), NaN where a label is not known, and probabilities float64 (N, L),
        one row per spot in the order of the requests. A spot's targets are those of its widest
        step.

    Raises:
        InputError: a process that loads data has died.
    """
    model.eval()

    def predict(batches: Sequence[list[StackRequest]]) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        loaded = load(dataset, batches, num_workers, compute.device.type == "cuda")
        with torch.inference_mode(), closing(loaded), deaths_explained():
            for batch in loaded:
                with compute.autocast():
                    output = model(compute.place(batch["stack"]))
                known = np.where(batch["weights"].numpy() > 0, batch["targets"].numpy(), np.nan)
                found.append((output.logits.float().cpu().numpy(), known))
        return found

    batches = [requests[i : i + batch_size] for i in range(0, len(requests), batch_size)]
    logits, targets = zip(*share_work(batches, predict), strict=True)
    positions = np.array([request.position for request in requests])
    _, spot = np.unique(positions, return_inverse=True)
    probability = torch.from_numpy(np.concatenate(logits)).double().sigmoid().numpy()
    mean = np.zeros((spot.max() + 1, probability.shape[1]))
    np.add.at(mean, spot, probability)
    mean /= np.bincount(spot)[:, None]
    target = np.full_like(mean, np.nan)
    np.fmax.at(target, spot, np.concatenate(targets))  # what a step does not know, another may
    return target, mean


def spot_scores(
    model: nn.Module,
    dataset: StackDataset,
    requests: list[StackRequest],
    batch_size: int,
    num_workers: int,
    compute: Compute,
    task: Task,
) -> dict[str, float | None]:
    """The score at spots and the overall label's value, for the training log."""
    target, probability = predict_stacks(model, dataset, requests, batch_size, num_workers, compute)
    return logged_scores(task, target, probability)


def logged_scores(
    task: Task, targets: np.ndarray, probabilities: np.ndarray
) -> dict[str, float | None]:
    """What the training log says of predictions: the score and the overall label's value."""
    table = score_table(task, targets, probabilities)
    logged = {"score": table.score.value}
    if task.overall is not None:
        name = "auc_overall" if task.metric == "auc" else "overall"
        logged[name] = table.per_label[task.overall].value
    return logged
