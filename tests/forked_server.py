"""A process that has imported everything, and becomes one script after another by forking.

A script is there within a tenth of a second, not after the ten seconds that its imports take. Run
with `python -m tests.forked_server FOLDER` (by tests/forked.py): a line of JSON per script with its
`argv` or a `call` of a function of the tests, `environment`, `cwd` and the path of its `output`. It
answers with the process, and later with its exit code and CPU seconds: `[pid]` and
`[pid, code, seconds]`.
"""

import importlib
import json
import os
import runpy
import select
import signal
import sys
from pathlib import Path

import torch
import torch._dynamo

import intracranial.caching.read_ahead
import intracranial.ensembles.combination
import intracranial.inference.run
import intracranial.processes.team
import intracranial.report.page
import intracranial.stages.feature_extraction
import intracranial.stages.sequence_training
import intracranial.stages.slice_training

ENVIRONMENTS = Path(sys.argv[1])
"""What every forked script has in its environment, by process: /proc shows that of this one.

A function that is called has none: its process is one that the system does not tell of."""


def say(*words: float) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def next_script() -> dict:
    """Fork for every line; returns in the forked process only."""
    running: set[int] = set()
    waiting = b""
    while True:
        if select.select([0], [], [], 0.02)[0]:
            block = os.read(0, 65536)
            if not block:
                os._exit(0)
            waiting += block
        while b"\n" in waiting:
            line, _, waiting = waiting.partition(b"\n")
            pid = os.fork()
            if pid == 0:
                return json.loads(line)
            running.add(pid)
        for pid in list(running):
            found, status, used = os.wait4(pid, os.WNOHANG)
            if found:
                running.remove(pid)
                say(pid, os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime)


def environment_of(pid: int, asked=intracranial.processes.team.environment_of) -> dict[str, str]:
    """As intracranial.processes.team asks for it: how ranks of one launch find each other."""
    kept = ENVIRONMENTS / str(pid)
    return json.loads(kept.read_text()) if kept.exists() else asked(pid)


def become(script: dict) -> None:
    """Be the script, or the process that calls the function."""
    os.setsid()
    os.environ.clear()
    os.environ.update(script["environment"])
    if "argv" in script:
        kept = ENVIRONMENTS / str(os.getpid())
        kept.with_suffix(".new").write_text(json.dumps(script["environment"]))
        kept.with_suffix(".new").replace(kept)
        intracranial.processes.team.environment_of = environment_of
    os.chdir(script["cwd"])
    output = os.open(script["output"], os.O_WRONLY | os.O_APPEND)
    empty = os.open(os.devnull, os.O_RDONLY)
    say(os.getpid())
    for number, descriptor in ((0, empty), (1, output), (2, output)):
        os.dup2(descriptor, number)
    if "call" in script:
        module, name = script["call"].split(":")
        getattr(importlib.import_module(module), name)(Path(script["folder"]))
        return
    sys.argv = script["argv"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
become(next_script())
