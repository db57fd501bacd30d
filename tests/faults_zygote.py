"""A process that has imported everything, and becomes one script after another by forking.

A script is there within a tenth of a second, not after the seconds that torch takes: run with
`python -m tests.faults_zygote`, a line of JSON per script: `argv`, `environment`, `output`. It
answers with the process, and later with the exit code of each: `[pid]` and `[pid, code]`.
"""

import json
import os
import runpy
import select
import signal
import sys

import torch

import src.evaluation.report
import src.imaging.prepare
import src.inference.detector
import src.inference.feature_run
import src.training.stage1
import src.training.stage2  # noqa: F401

torch.set_num_threads(1)


def say(*words: int) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def end_of(status: int) -> int:
    return os.waitstatus_to_exitcode(status)


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
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                running.remove(pid)
                say(pid, end_of(status))


signal.signal(signal.SIGINT, signal.default_int_handler)
script = next_script()
os.setsid()
output = os.open(script["output"], os.O_WRONLY)
empty = os.open(os.devnull, os.O_RDONLY)
say(os.getpid())
for number, descriptor in ((0, empty), (1, output), (2, output)):
    os.dup2(descriptor, number)
os.environ.update(script["environment"])
sys.argv = script["argv"]
runpy.run_path(sys.argv[0], run_name="__main__")
