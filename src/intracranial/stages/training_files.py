"""The files of one training stage around its run: decided, cleared and finished by one process."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from intracranial.artifacts import FoldPaths, remove_temporaries
from intracranial.processes.locks import only_one
from intracranial.provenance import Plan, Request, plan, write_manifest
from intracranial.training.distributed import is_first, on_first


def decide(paths: FoldPaths, stage: str, request: Request, overwrite: bool) -> Plan:
    """What a rerun of `stage1` or `stage2` has to do; errors are those of `plan`."""
    return plan(
        paths.manifest(stage),
        request,
        overwrite,
        outputs=[paths.weights(stage)],
        progress=[paths.checkpoint(stage)],
    )


@contextmanager
def begun(paths: FoldPaths, stage: str, request: Request, overwrite: bool) -> Iterator[Plan]:
    """Context in which a stage is trained; `decide` says what there is to do.

    Where there is something, no other command trains the stage meanwhile, and what killed runs left
    and what a fresh start must not find is cleared away.

    Raises:
        Busy: another command trains it.
    """
    held = ExitStack()

    def decided() -> Plan:
        todo = decide(paths, stage, request, overwrite)
        if todo is Plan.DONE:
            return todo
        held.enter_context(only_one(paths.lock(stage), f"{stage} in {paths.root}"))
        todo = decide(paths, stage, request, overwrite)  # it may have been made since
        remove_temporaries(paths.root, prefix=stage)
        if todo is not Plan.RESUME:
            paths.checkpoint(stage).unlink(missing_ok=True)
        if todo is Plan.FRESH:
            for old in (paths.log_csv(stage), paths.curves(stage), paths.batches(stage)):
                old.unlink(missing_ok=True)
            shutil.rmtree(paths.tensorboard(stage), ignore_errors=True)
        return todo

    with held:
        yield on_first(decided)


def finish(paths: FoldPaths, stage: str, request: Request, content: Mapping[str, Any]) -> None:
    """Write the manifest that says "complete", then drop the resume state."""
    if is_first():
        write_manifest(paths.manifest(stage), request, complete=True, content=content)
        paths.checkpoint(stage).unlink(missing_ok=True)
