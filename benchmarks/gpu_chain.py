"""Parts of benchmarks/gpu_check.py that check: scripts in a row, a killed training, CUDA tests."""

import csv
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from benchmarks import memory
from benchmarks.generated_dicom import make_small_data_set
from benchmarks.gpu_setting import Notes, Setting
from intracranial.artifacts import FoldPaths

SERIES = 12
"""Generated series of the scripts; six of them are positive."""

RUN = "chain"
STAGE1, STAGE2 = "train_stage1", "train_stage2"
MODELS = {True: "test_convnext", False: "convnext_atto"}
"""Stage 1 of the small form and of the whole one."""

LONG = {
    STAGE1: ("--epochs", 20, "--batch_size", 4, "--negatives_per_positive", 5),
    STAGE2: ("--epochs", 60),
}
"""Trainings that are killed: long enough that the signal comes before their end."""

DETERMINISTIC = "--deterministic"
PATIENCE = 60.0  # seconds for the first checkpoint
RESUMED = "going on from epoch"
"""What a script says when it resumes from a checkpoint."""

TEST_PROCESSES = 4
LINES = 15  # of a script that has failed


def scripts(setting: Setting) -> memory.Options:
    """Where the scripts work."""
    return memory.Options(setting.work_dir / "scripts")


def make_data(setting: Setting, note: Notes) -> None:
    """Small DICOM series, their caches and folds: the stages that need no device."""
    options, start = scripts(setting), time.perf_counter()
    data = options.out_dir / "data"
    if not (data / "train.csv").exists():
        make_small_data_set(data, SERIES)
    for script, flags in (("preprocess_data", ("--no_slices",)), ("create_folds", ())):
        memory.run_quietly(options.command(script, *flags))
        note(**{script: "done"})
    note(seconds=round(time.perf_counter() - start, 1))


def stage_flags(setting: Setting, script: str) -> list[object]:
    """Flags of a script of the model stages beside those of all."""
    flags: list[object] = ["--device", setting.device, "--num_workers", 2]
    if script not in ("eval_stage2",):
        flags += ["--precision", "auto"]
    if script == STAGE1:
        flags += ["--model", MODELS[setting.small], "--input_size", 64]
    return flags


def command(setting: Setting, script: str, run: str, *flags: object) -> list[str]:
    """How a script of the model stages is started."""
    return scripts(setting).command(script, "--run", run, *stage_flags(setting, script), *flags)


def run_script(line: list[str]) -> tuple[int, str, float]:
    """Exit code, output and seconds of a script; a failure is shown."""
    start = time.perf_counter()
    done = subprocess.run(
        line, cwd=memory.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-LINES:])
        print(f"{' '.join(line)}\nended with {done.returncode}:\n{last}", flush=True)
    return done.returncode, done.stdout, round(time.perf_counter() - start, 1)


def chain(setting: Setting, note: Notes) -> None:
    """All stages after the folds, as a user runs them."""
    _forget(setting, RUN)
    failed = []
    for script in (STAGE1, "eval_stage1", "extract_features", STAGE2, "eval_stage2"):
        failed += _link(setting, note, script, ())
    failed += _link(setting, note, "eval_end_to_end", ("--views", "flip"))
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _link(setting: Setting, note: Notes, script: str, flags: tuple[object, ...]) -> list[str]:
    code, _, seconds = run_script(command(setting, script, RUN, *flags))
    note(**{script: f"exit code {code}, {seconds:g} s"})
    return [script] if code else []


def resume(setting: Setting, note: Notes) -> None:
    """Trainings that are killed and resume, beside undisturbed ones.

    The small form has stage 1 alone, and one kind of kernels, as a CPU has.
    """
    found: list[str] = []
    variants = {"deterministic": (DETERMINISTIC,), "default kernels": ()}
    if setting.small:
        variants.pop("default kernels")
    for name in variants:
        for how in ("whole", "killed"):
            _forget(setting, _run(how, name))
    threads = 2 * len(variants) if setting.cores >= 8 else 1
    with ThreadPoolExecutor(threads) as pool:
        for script in (STAGE1,) if setting.small else (STAGE1, STAGE2):
            if script == STAGE2:
                _features_of_all(setting, list(variants))
            pairs = [
                (
                    name,
                    pool.submit(_undisturbed, setting, script, _run("whole", name), flags),
                    pool.submit(_killed, setting, script, _run("killed", name), flags),
                )
                for name, flags in variants.items()
            ]
            for name, *running in pairs:
                for one in running:
                    found += one.result()
                whole, killed = (_paths(setting, _run(how, name)) for how in ("whole", "killed"))
                stage = script.removeprefix("train_")
                note(**{f"{stage}, {name}": difference(whole, killed, stage)})
    if found:
        raise SystemExit("; ".join(found))


def _run(how: str, name: str) -> str:
    return f"{how}-{name.split()[0]}"


def _forget(setting: Setting, run: str) -> None:
    """Delete what an earlier check has left of a run."""
    shutil.rmtree(_paths(setting, run).root.parent, ignore_errors=True)


def _paths(setting: Setting, run: str) -> FoldPaths:
    return FoldPaths(scripts(setting).out_dir / "model", run, 0)


def _undisturbed(setting: Setting, script: str, run: str, flags: tuple[object, ...]) -> list[str]:
    code, _, _ = run_script(command(setting, script, run, *LONG[script], *flags))
    return [f"{script} of {run} ended with {code}"] if code else []


def _killed(setting: Setting, script: str, run: str, flags: tuple[object, ...]) -> list[str]:
    """Kill a training once it has saved its state, and give its command again."""
    line = command(setting, script, run, *LONG[script], *flags)
    checkpoint = _paths(setting, run).checkpoint(script.removeprefix("train_"))
    process = subprocess.Popen(
        line, cwd=memory.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    alive = _wait_for(checkpoint.exists, process)
    process.kill()
    process.wait()
    if not alive:
        return [f"{script} of {run} ended before it was killed"]
    code, said, _ = run_script(line)
    if code:
        return [f"{script} of {run} ended with {code} after it was killed"]
    return [] if RESUMED in said else [f"{script} of {run} began anew after it was killed"]


def _wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> bool:
    """Whether a condition came true while the process ran."""
    end = time.monotonic() + PATIENCE
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    return process.poll() is None and condition()


def _features_of_all(setting: Setting, names: list[str]) -> None:
    """Features of one stage 1, and a copy of that run for every training of stage 2."""
    first = _run("whole", names[0])
    run_script(command(setting, "extract_features", first))
    source = _paths(setting, first).root.parent
    for name in names:
        for how in ("whole", "killed"):
            target = source.with_name(_run(how, name))
            if target != source:
                shutil.copytree(source, target, dirs_exist_ok=True)


def difference(whole: FoldPaths, killed: FoldPaths, stage: str) -> str:
    """What two trainings of the same command differ in, in words."""
    from safetensors.torch import load_file

    try:
        one, other = (load_file(paths.weights(stage)) for paths in (whole, killed))
        logs = [paths.log_csv(stage).read_text(encoding="utf-8") for paths in (whole, killed)]
    except FileNotFoundError as error:
        return f"a file is missing: {error}"
    if one.keys() != other.keys():
        return "the weights have other names"
    apart = max(float((one[name] - other[name]).abs().max()) for name in one)
    weights = "equal weights" if apart == 0 else f"weights differ by up to {apart:.3g}"
    if logs[0] == logs[1]:
        return f"{weights}, equal log"
    rows = [list(csv.DictReader(log.splitlines())) for log in logs]
    if len(rows[0]) != len(rows[1]):
        return f"{weights}, logs of {len(rows[0])} and {len(rows[1])} epochs"
    losses = [[float(row["loss"]) for row in of_run] for of_run in rows]
    most = max(abs(a / b - 1) for a, b in zip(*losses, strict=True))
    return f"{weights}, losses by up to {100 * most:.3g} %"


def unit_tests(setting: Setting, note: Notes) -> None:
    """The tests that need a CUDA device."""
    report = setting.work_dir / "tests.xml"
    line = [sys.executable, "-m", "pytest", "tests/cuda", f"--junitxml={report}"]
    line += ["-v", "--tb=short", "--durations=5", "-p", "no:cacheprovider"]
    if find_spec("xdist") and setting.cores >= TEST_PROCESSES:
        line += ["-n", str(TEST_PROCESSES)]
    done = subprocess.run(line, cwd=memory.ROOT, check=False)
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [one.get("name") for one in cases if {child.tag for child in one} & {"failure", "error"}]
    skipped = sum(any(child.tag == "skipped" for child in one) for one in cases)
    passed = len(cases) - len(bad) - skipped
    note(passed=passed, failed=len(bad), skipped=skipped, failing=bad)
    if done.returncode:
        raise SystemExit(f"{len(bad)} tests failed")
