"""What `--dry_run` says about a training: found out without writing anything."""

from torch import nn

from intracranial.artifacts import FoldPaths, free_gib
from intracranial.compute import choose_compute
from intracranial.options.training import TrainingOptions
from intracranial.provenance import Plan, Request
from intracranial.runlog import log
from intracranial.training.batches import TrainingData
from intracranial.training.checkpoint import load_state
from intracranial.training.optimization import make_optimizer

CHECKPOINT_COPIES = 5
"""Sets of weights in a checkpoint at most: network, average, and up to three of the optimizer. A
training that selects its weights keeps the best average too."""


def preview(
    options: TrainingOptions,
    paths: FoldPaths,
    stage: str,
    request: Request,
    todo: Plan,
    series: tuple[int, int],
    data: TrainingData,
    model: nn.Module,
) -> None:
    """Log the plan of one fold, and refuse what a run would refuse.

    Args:
        options: of the stage.
        paths: of the fold.
        stage: `stage1` or `stage2`.
        request: names the artifact.
        todo: what a run would do.
        series: numbers of training and of watched series.
        data: the batches.
        model: a network of the configuration that would be trained.

    Raises:
        UsageError: there is no such optimizer, device or precision.
    """
    choose_compute(options.device, options.computing.precision)
    make_optimizer(model, options.optimization)
    log.info("%s: %s", paths.weights(stage), _words(paths, stage, request, todo))
    steps = options.optimization.epochs * data.batches_per_epoch
    log.info(
        "%d training series, %d watched; %d epochs of %d batches of %d in %d pieces: %d steps",
        *series,
        options.optimization.epochs,
        data.batches_per_epoch,
        options.optimization.batch_size,
        options.optimization.accumulate,
        min(steps, options.trial.max_steps or steps),
    )
    if request.partial:
        log.info("the artifact will be marked as partial: %s", request.partial)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    copies = CHECKPOINT_COPIES + (options.progress.select != "last")
    mib = sum(tensor.nbytes for tensor in model.state_dict().values()) / 2**20
    log.info(
        "%.1f million parameters: weights %.1f MiB; while it runs, checkpoints of up to %.1f MiB, "
        "two of them at the moment of writing; %.1f GiB are free",
        parameters / 1e6,
        mib,
        copies * mib,
        free_gib(paths.root),
    )
    log.info(
        "memory of the device: %.2f GiB for weights, gradients, average and optimizer, and beside "
        "that what a piece of a batch needs",
        (copies + 1) * mib / 2**10,
    )


def _words(paths: FoldPaths, stage: str, request: Request, todo: Plan) -> str:
    if todo is Plan.DONE:
        return "complete, would be skipped"
    if todo is Plan.RESUME:
        state = load_state(paths.checkpoint(stage), request.identity)
        if state is not None:
            return f"would resume from epoch {state['epoch'] + 1}, batch {state['batch']}"
    exists = paths.manifest(stage).exists()
    return "would be trained anew, over what is there" if exists else "would be trained"
