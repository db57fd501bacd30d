"""Run the eight scripts on the tiny data set, as processes or within the test's own process."""

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intracranial.artifacts import DataPaths, FoldPaths
from intracranial.config import STAGES
from intracranial.options.common import DataOptions
from intracranial.runlog import log, run_stage
from tests.forked import ONE_THREAD, ROOT, Forked, start_script

RECIPE = ROOT / "configs" / "tiny.yaml"

OPTIONS = {
    "preprocess_data": "preprocess:PreprocessOptions",
    "create_folds": "folds:CreateFoldsOptions",
    "train_stage1": "stage1:TrainStage1Options",
    "eval_stage1": "stage1:EvalStage1Options",
    "extract_features": "features:ExtractFeaturesOptions",
    "train_stage2": "stage2:TrainStage2Options",
    "eval_stage2": "stage2:EvalStage2Options",
    "eval_end_to_end": "end_to_end:EvalEndToEndOptions",
}
"""Module under intracranial.options and class of each stage's options."""

DATA_STAGES = ("preprocess_data", "create_folds")
MODEL_STAGES = tuple(stage for stage in STAGES if stage not in DATA_STAGES)


def options_type(stage: str) -> type[DataOptions]:
    module, name = OPTIONS[stage].split(":")
    return getattr(importlib.import_module(f"intracranial.options.{module}"), name)


@dataclass(frozen=True)
class Said:
    """How a script ended, what it printed, and the seconds that it kept a processor busy."""

    code: int
    text: str
    cpu_seconds: float = 0.0


@dataclass
class Place:
    """A data folder and a model folder, and the scripts run on them."""

    root: Path
    said: dict[str, Said] = field(default_factory=dict)

    @property
    def data(self) -> DataPaths:
        return DataPaths(self.root / "data")

    @property
    def model_dir(self) -> Path:
        return self.root / "model"

    def fold(self, fold: int | str = 0, run: str = "tiny") -> FoldPaths:
        return FoldPaths(self.model_dir, run, fold)

    def flags(self, stage: str) -> list[str]:
        flags = ["--config", str(RECIPE), "--data_dir", str(self.data.root)]
        if stage in MODEL_STAGES:
            flags += ["--model_dir", str(self.model_dir)]
        return flags

    def command(self, stage: str, *flags: str) -> list[str]:
        return [sys.executable, str(ROOT / f"{stage}.py"), *self.flags(stage), *flags]

    def process(self, stage: str, *flags: str, **environment: str) -> Said:
        """Run a script as a user does."""
        return run_process(self.command(stage, *flags), **environment)

    def start(self, stage: str, *flags: str, **environment: str) -> Forked:
        """Start a script in a process of its own, without the seconds of importing torch."""
        return start_script(self.command(stage, *flags), **environment)

    def call(self, stage: str, *flags: str) -> Said:
        """Run a script within this process: the same, without the seconds of importing torch."""
        return call_stage(stage, *self.flags(stage), *flags)

    def copy(self, root: Path, *left_out: str) -> "Place":
        """A copy with new modification times; `left_out` names files and folders to leave out."""
        ignore = shutil.ignore_patterns("runs", *left_out)
        shutil.copytree(self.root, root, ignore=ignore, copy_function=shutil.copyfile)
        return Place(root)

    def content(self) -> dict[str, bytes]:
        """Bytes of everything that the scripts wrote, but for logs, records and series."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not {"runs", "series"} & set(path.relative_to(self.root).parts)
        }


def run_process(command: list[str], **environment: str) -> Said:
    start = os.times()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    end = os.times()
    busy = end.children_user + end.children_system - start.children_user - start.children_system
    return Said(done.returncode, done.stdout, busy)


def run_tool(name: str, *flags: object) -> Said:
    """Run tools/<name>.py in a process of its own, without the seconds of importing torch."""
    process = start_script([sys.executable, str(ROOT / "tools" / f"{name}.py"), *map(str, flags)])
    code = process.wait()
    return Said(code, process.text(), process.cpu_seconds)


def call_stage(stage: str, *flags: str) -> Said:
    """Run a script's main as the script does, in this process."""
    script = importlib.import_module(f"intracranial.stages.{stage}")
    printed = io.StringIO()
    argv, handlers = sys.argv, list(log.handlers)
    log.handlers.clear()  # their streams are those of another test
    sys.argv = [f"{stage}.py", *flags]
    start = time.process_time()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                code = run_stage(stage, options_type(stage), script.main, script.__doc__)
            except SystemExit as end:
                code = int(end.code or 0)
    finally:
        sys.argv = argv
        log.handlers[:] = handlers
    return Said(code, printed.getvalue(), time.process_time() - start)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def edit(path: Path, **changes: Any) -> None:
    """Change top-level values of a JSON file."""
    path.write_text(json.dumps({**read(path), **changes}), encoding="utf-8")
