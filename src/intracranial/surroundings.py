"""What a program takes from the place where it is run, made safe before its slow imports.

A program may be started in any folder, with any locale, with streams that are closed or that end
early, and may be ended by Ctrl-C while it still imports torch. `make_safe` is called first by every
script. Only what Python has imported by itself is imported here: the sooner it has run, the less is
left that shows a traceback at Ctrl-C.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself takes longer
import io
import os
import sys

from intracranial.errors import EXIT_CLOSED_PIPE, EXIT_INTERRUPTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import IO, NoReturn


ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
"""Folder from which this package is imported."""

INTERRUPTED = "interrupted; what was finished is kept, the same command resumes"

AGAIN_SECONDS = 0.02
"""After which Ctrl-C comes once more: when the function that it came in has ended."""

_NAMES = ("stdin", "stdout", "stderr")


def make_safe() -> None:
    """Prepare the standard streams and the answer to Ctrl-C; a second call changes nothing."""
    _open_closed_streams()
    _write_any_text()
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _without_traceback
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _interrupt_again
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _end_now)


def work_begins() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt, so that work can be left in order."""
    if _signal.getsignal(_signal.SIGINT) is _end_now:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def _end_now(number: int, frame: object) -> None:
    """End at Ctrl-C while modules are imported: some of them swallow what is raised meanwhile."""
    words = f"{os.path.basename(sys.argv[0])}: {INTERRUPTED}\n"
    os.write(2, words.encode("utf-8", "backslashreplace"))
    os._exit(EXIT_INTERRUPTED)


def _open_closed_streams() -> None:
    """Give what is closed the null device.

    Else the next file that is opened gets the number of a closed stream, and what a decoder
    complains of lands in a cache.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            stream = open(number, mode, encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _write_any_text() -> None:
    """Letters that a terminal's encoding lacks, or names that are no text, are shown as codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            try:
                stream.reconfigure(errors="backslashreplace")
            except OSError:  # a file that became a pipe meanwhile, or the reverse
                pass


def _without_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """End at Ctrl-C with one line, where nobody reads the output any more with none."""
    if issubclass(kind, BrokenPipeError):
        leave_closed_pipe(sys.stdout)
        os._exit(EXIT_CLOSED_PIPE)
    if issubclass(kind, KeyboardInterrupt):
        print(f"{os.path.basename(sys.argv[0])}: {INTERRUPTED}", file=sys.stderr, flush=True)
        os._exit(EXIT_INTERRUPTED)
    sys.__excepthook__(kind, error, trace)


def _interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Ctrl-C that came where nothing can be raised, in a destructor say, comes once more."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        import _thread
        from threading import Timer

        Timer(AGAIN_SECONDS, _thread.interrupt_main).start()
        return
    sys.__unraisablehook__(unraisable)


def leave(code: int) -> NoReturn:
    """End the process with this exit code, and do not take its modules apart before.

    What sys.exit does at the end of the interpreter is done, but for the last step: to free every
    object of torch and its company takes two seconds, in which a launcher waits.
    """
    import atexit
    import threading

    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads that are no daemons
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # closed, or nobody reads it any more
                pass
        os._exit(code)


def leave_closed_pipe(stream: IO[str] | None) -> None:
    """Write nothing more to a pipe whose reader has gone, at the end of the program neither."""
    try:
        assert stream is not None
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):  # it is no file
        pass


def working_directory_is_gone() -> bool:
    """Whether the folder in which the program runs has been deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


class OwnModules:
    """Context in which Python processes are started that import this package.

    They import nothing from the working directory: multiprocessing starts its servers with
    `python -c`, which looks for modules there first, and would take a folder `src` or a file
    `numpy.py` for ours.
    """

    def __enter__(self) -> None:
        """Say where modules are in the environment that the processes inherit."""
        self._before = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
        others = self._before["PYTHONPATH"]
        os.environ["PYTHONSAFEPATH"] = "1"
        os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, *([others] if others else [])])

    def __exit__(self, *_: object) -> None:
        """Leave the environment as it was."""
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
