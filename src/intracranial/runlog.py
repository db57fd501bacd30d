"""What every run leaves behind: a log file and a JSON record; and progress while it runs."""

import contextlib
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

import tyro
from tqdm import tqdm

from intracranial.artifacts import write_json
from intracranial.config import option_values, parse_options, plain, recipe_text
from intracranial.errors import (
    EXIT_CLOSED_PIPE,
    EXIT_DONE,
    EXIT_INPUT,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_STALE,
    EXIT_USAGE,
    InputError,
    PipelineError,
)
from intracranial.provenance import versions
from intracranial.surroundings import (
    INTERRUPTED,
    leave_closed_pipe,
    make_safe,
    work_begins,
    working_directory_is_gone,
)
from intracranial.threads import bound_spinning

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

LINE_SECONDS = 15.0
"""Without a terminal, progress is one line in this many seconds."""

FAILED_STARTS = (EXIT_USAGE, EXIT_INPUT, EXIT_STALE)
"""Exit codes of commands that had to say no."""

GONE = "the working directory has been deleted"

log = logging.getLogger("intracranial")

ItemT = TypeVar("ItemT")


class Record:
    """Timings and counts of one run; `write` saves them with options, versions and memory."""

    def __init__(self, stage: str, options: object) -> None:
        """Start the clock."""
        self.content: dict[str, Any] = {
            "stage": stage,
            "options": plain(option_values(options)),
            "versions": versions(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": {},
            "counts": {},
        }
        self._started = time.perf_counter()

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the wall-clock seconds of a block to the record."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = self.content["seconds"]
            seconds[name] = round(seconds.get(name, 0.0) + time.perf_counter() - start, 3)

    def count(self, name: str, value: object) -> None:
        """Note a count or a fact of the run."""
        self.content["counts"][name] = plain(value)

    def write(self, path: Path, exit_code: int) -> None:
        """Save the record; peak memory is the largest resident set in MiB, where one can tell."""
        self.content["seconds"]["total"] = round(time.perf_counter() - self._started, 3)
        self.content["exit_code"] = exit_code
        self.content["peak_memory_mib"] = "not available on this system"
        if resource is not None:
            self.content["peak_memory_mib"] = {
                "this process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "largest child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
            }
        write_json(path, self.content)


def progress(items: Iterable[ItemT], total: int, what: str) -> Iterator[ItemT]:
    """Pass items through with a progress bar on a terminal, else with a line every so often."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, dynamic_ncols=True)
        return
    start = said = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - said >= LINE_SECONDS and done < total:
            said = now
            left = (now - start) / done * (total - done)
            log.info("%s: %d of %d, about %s left", what, done, total, _duration(left))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


class _LogFile(logging.FileHandler):
    """The log of a run: where it cannot be written, what else cannot says so, and no traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # lines that wait to be written
            super().close()


class _Console(logging.StreamHandler[TextIO]):
    """What a terminal shows; a run continues without it, its log file has everything."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say no more where nobody reads, or where the disk of a redirected output is full."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        leave_closed_pipe(self.stream)
        if not isinstance(error, BrokenPipeError):
            with contextlib.suppress(OSError):
                print(f"nothing more is shown here: {_cause(error)}", file=sys.stderr)


def _start_logging(path: Path | None) -> logging.Handler:
    log.setLevel(logging.INFO)
    # where it cannot write into the home folder it makes do, and would say so in every run
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if not any(isinstance(h, logging.StreamHandler) for h in log.handlers):
        console = _Console(sys.stdout)
        console.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(console)
    if path is None:
        return logging.NullHandler()
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(file)
    return file


def _cause(error: OSError) -> str:
    if working_directory_is_gone():
        return f"{error.strerror or error}, since {GONE}"
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _explain(error: OSError) -> str:
    return (
        f"{_cause(error)}; what was finished is kept, run the same command again, "
        "without --overwrite"
    )


def _ended(name: str, run: Callable[[], int]) -> int:
    """The exit code of a program; neither Ctrl-C nor a closed pipe shows a traceback."""
    make_safe()
    work_begins()
    try:
        if working_directory_is_gone():
            raise InputError(f"{GONE}: change into one that exists")
        try:
            return run()
        finally:
            sys.stdout.flush()  # at the end of the interpreter it is too late to answer an error
    except KeyboardInterrupt:
        print(f"{name}.py: {INTERRUPTED}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        leave_closed_pipe(sys.stdout)
        return EXIT_CLOSED_PIPE
    except PipelineError as error:
        print(f"{name}.py: {error}", file=sys.stderr)
        return error.exit_code


def run_tool(
    tool: str, options_type: type[Any], main: Callable[[Any], int], description: str | None
) -> int:
    """Parse options, run `main`, and turn its outcome into an exit code; no log and no record.

    Args:
        tool: the script's name without `.py`.
        options_type: the tool's options dataclass.
        main: does the work and returns the exit code.
        description: the script's docstring; it becomes the head of `--help`.
    """
    bound_spinning()

    def run() -> int:
        try:
            return main(tyro.cli(options_type, description=description, use_underscores=True))
        except BrokenPipeError:
            raise
        except OSError as error:
            print(f"{tool}.py: {_cause(error)}", file=sys.stderr)
            return EXIT_INPUT

    return _ended(tool, run)


def run_stage(
    stage: str,
    options_type: type[Any],
    main: Callable[[Any, Record], int],
    description: str | None,
    prog: str | None = None,
) -> int:
    """Parse options, run `main`, and turn its outcome into an exit code, a record and a log.

    Args:
        stage: the script's name without `.py`, also the recipe's section.
        options_type: the stage's options dataclass.
        main: does the work and returns the exit code.
        description: becomes the head of `--help`.
        prog: how `--help` calls the program; the script unless given.
    """
    bound_spinning()
    return _ended(stage, lambda: _run_stage(stage, options_type, main, description, prog))


def _run_stage(
    stage: str,
    options_type: type[Any],
    main: Callable[[Any, Record], int],
    description: str | None,
    prog: str | None,
) -> int:
    try:
        options = parse_options(options_type, stage, description=description, prog=prog)
        if getattr(options, "print_recipe", False):
            print(recipe_text(stage, options), end="")
            return EXIT_DONE
        # microseconds, for the folds of a run that a cluster starts at the same moment
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        base = options.record_dir / f"{stamp}_{stage}"
        dry = option_values(options).get("dry_run", False)  # leaves nothing behind
        new = _first_missing(options.record_dir.parent)
        handler = _start_logging(None if dry else base.with_suffix(".log"))
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"{stage}.py: {_explain(error)}", file=sys.stderr)
        return EXIT_INPUT
    record = Record(stage, options)
    try:
        code = main(options, record)
    except PipelineError as error:
        log.error("%s.py: %s", stage, error)
        code = error.exit_code
    except OSError as error:
        log.error("%s.py: %s", stage, _explain(error))
        log.debug("%s", traceback.format_exc())
        code = EXIT_INPUT
    except KeyboardInterrupt:
        log.error("%s.py: %s", stage, INTERRUPTED)
        code = EXIT_INTERRUPTED
    except Exception:
        log.exception("%s.py: internal error; please report it with the log %s", stage, base)
        code = EXIT_INTERNAL
    try:
        if not dry:
            record.write(base.with_suffix(".json"), code)
    except OSError as error:
        log.error("%s.py: the run record could not be written: %s", stage, _explain(error))
        code = code or EXIT_INPUT
    log.removeHandler(handler)
    handler.close()
    if new is not None and code in FAILED_STARTS:
        _forget(new, base)
    return code


def _first_missing(folder: Path) -> Path | None:
    """The uppermost of the folders on a path that is not there yet; None when all are."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    return missing[-1] if missing else None


def _forget(folder: Path, base: Path) -> None:
    """Remove a folder that holds nothing but the log and the record of a start that failed.

    Else a name that was mistyped would leave what looks like a run or a data folder. What the log
    says was shown already.
    """
    own = {base.with_suffix(suffix) for suffix in (".log", ".json")}
    with suppress(OSError):
        found = sorted(folder.rglob("*"), reverse=True)  # what is in a folder before the folder
        if all(path in own or path.is_dir() for path in found):
            for path in found:
                path.rmdir() if path.is_dir() else path.unlink()
            folder.rmdir()
