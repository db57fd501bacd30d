"""Errors that end a script with a documented exit code and a message that a user can act on.

Exit codes: 0 done or nothing to do; 1 internal error; 2 usage; 3 input or an optional
package invalid or missing; 4 finished, but series were rejected; 5 stale or changed artifact;
6 numerical stop; 75 preempted, or another command works on the same artifact; 130 Ctrl-C;
141 nobody reads the output any more.
"""

EXIT_DONE = 0
EXIT_INTERNAL = 1
EXIT_USAGE = 2
EXIT_INPUT = 3
EXIT_REJECTED = 4
EXIT_STALE = 5
EXIT_NUMERICAL = 6
EXIT_PREEMPTED = 75
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141


class PipelineError(Exception):
    """An error whose message is meant for the user; `exit_code` is what the script returns."""

    exit_code = EXIT_INTERNAL


class UsageError(PipelineError):
    """A flag, recipe key, model name or fold that does not exist, or flags that contradict."""

    exit_code = EXIT_USAGE


class InputError(PipelineError):
    """A file or table that a stage reads is missing, malformed or cannot be written."""

    exit_code = EXIT_INPUT


class MissingArtifact(InputError):
    """The file of an earlier stage is not there; the message names the script that makes it."""


class MissingPackage(InputError):
    """An optional package that the command needs is not installed; the message says how to."""


class StaleArtifact(PipelineError):
    """An artifact was made from inputs or options that have changed since."""

    exit_code = EXIT_STALE


class NumericalError(PipelineError):
    """Training met a loss or gradient that is not finite."""

    exit_code = EXIT_NUMERICAL


class Preempted(PipelineError):
    """The scheduler asked the process to stop; the same command resumes from the checkpoint."""

    exit_code = EXIT_PREEMPTED


class Busy(PipelineError):
    """Another command works on the same artifact; the message says which and where."""

    exit_code = EXIT_PREEMPTED


def exit_code_of(error: BaseException) -> int:
    """What a script returns that ends with this error."""
    if isinstance(error, PipelineError):
        return error.exit_code
    return EXIT_INPUT if isinstance(error, OSError) else EXIT_INTERNAL


def require_packages(what: str, *names: str) -> None:
    """Check that optional packages are there, without importing them.

    Args:
        what: needs them; begins the message.
        names: of the packages, as they are imported and as pip knows them.

    Raises:
        MissingPackage: some are not.
    """
    import importlib.util

    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackage(f"{what} needs {', '.join(missing)}: pip install {' '.join(missing)}")
