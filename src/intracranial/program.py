"""The program `intracranial`: each of the eight scripts as a subcommand, and `predict`.

A subcommand and the script of its stage are one thing with the same options: both run `main` of
the module in `stages`, whose docstring is the head of their help.
"""

import sys

from intracranial.errors import EXIT_DONE, EXIT_USAGE
from intracranial.surroundings import leave, make_safe

TYPE_CHECKING = False  # typing takes time before Ctrl-C has an answer
if TYPE_CHECKING:
    from typing import NoReturn

NAME = "intracranial"

COMMANDS = {
    "preprocess": ("preprocess_data", "preprocess:PreprocessOptions", "series -> caches, tables"),
    "create-folds": ("create_folds", "folds:CreateFoldsOptions", "tables -> folds, spots"),
    "train-stage1": ("train_stage1", "stage1:TrainStage1Options", "the slice classifier"),
    "eval-stage1": ("eval_stage1", "stage1:EvalStage1Options", "its scores at spots"),
    "extract-features": (
        *("extract_features", "features:ExtractFeaturesOptions"),
        "stage 1 on every slice",
    ),
    "train-stage2": ("train_stage2", "stage2:TrainStage2Options", "the sequence classifier"),
    "eval-stage2": ("eval_stage2", "stage2:EvalStage2Options", "its scores on series"),
    "evaluate": (
        *("eval_end_to_end", "end_to_end:EvalEndToEndOptions"),
        "series -> scores and a report",
    ),
    "predict": ("predict", "predict:PredictOptions", "series -> results of a trained run"),
}
"""Subcommand -> the stage (module in `stages`, section of a recipe, name of the script without
`.py`), module in `options` and class, what it does; in the order in which they are run."""


def run_script(stage: str) -> "NoReturn":
    """Be the script of a stage.

    Args:
        stage: the script's name without `.py`.
    """
    make_safe()  # before the imports that take seconds
    (options,) = (options for name, options, _ in COMMANDS.values() if name == stage)
    leave(_run(stage, options, f"{stage}.py"))


def main() -> "NoReturn":
    """Be the program: what is installed as `intracranial`."""
    make_safe()
    arguments = sys.argv[1:]
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(usage())
        leave(EXIT_DONE if arguments else EXIT_USAGE)
    if name == "--version":
        from intracranial.provenance import VERSION

        print(f"{NAME} {VERSION}")
        leave(EXIT_DONE)
    if name not in COMMANDS:
        from intracranial.config import nearest

        hint = nearest(name, list(COMMANDS))
        print(f"{NAME}: there is no command {name!r}{hint}; see {NAME} --help", file=sys.stderr)
        leave(EXIT_USAGE)
    stage, options, _ = COMMANDS[name]
    sys.argv = [f"{NAME} {name}", *arguments[1:]]
    leave(_run(stage, options, sys.argv[0]))


def usage() -> str:
    """The subcommands with what each does, in the order in which they are run."""
    rows = [f"  {name:18}{words}" for name, (_, _, words) in COMMANDS.items()]
    last = f"{NAME} COMMAND --help tells its options, {NAME} --version the version."
    return "\n".join([f"usage: {NAME} COMMAND [OPTIONS]", "", *rows, "", last])


def options_type(place: str) -> type:
    """The class of a stage's options; `place` is its module in `options` and its name."""
    import importlib

    module, name = place.split(":")
    found: type = getattr(importlib.import_module(f"{NAME}.options.{module}"), name)
    return found


def _run(stage: str, options: str, prog: str) -> int:
    """Parse the options, do the work, and return the exit code."""
    import importlib

    from intracranial.runlog import run_stage
    from intracranial.threads import cores_for_processes

    kind = options_type(options)
    plot = importlib.import_module(f"{NAME}.stages.{stage}")
    cores_for_processes()
    return run_stage(stage, kind, plot.main, plot.__doc__, prog)
