"""Programs run in any folder, with any streams, locale and modes of files, and end at Ctrl-C."""

import ast
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from intracranial.artifacts import DataPaths, write_csv
from intracranial.config import STAGES
from intracranial.errors import EXIT_CLOSED_PIPE, EXIT_INPUT, EXIT_INTERRUPTED
from intracranial.processes.children import all_processes, is_alive
from tests.forked import wait_for
from tests.tiny_data import make_tiny_data
from tests.tiny_runs import ONE_THREAD, ROOT, Place

SHADOWING = ("intracranial", "numpy", "cv2", "random", "signal", "socket", "json", "tests")
"""Modules in a user's folder that are not those of the same name that are meant."""

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def slow(value: object) -> ParameterSet:
    """A value of which another one stands for in the fast tests."""
    return pytest.param(value, marks=pytest.mark.slow)


def start(command: list[str], cwd: Path = ROOT, **environment: str) -> "subprocess.Popen[bytes]":
    """A command in a session of its own, so that a signal reaches what it has started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:  # tests that run in the background of a shell ignore Ctrl-C, and so would the command
        return subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **ONE_THREAD, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def run(command: list[str], cwd: Path = ROOT, **environment: str) -> tuple[int, str]:
    said, _ = (process := start(command, cwd, **environment)).communicate(timeout=120)
    return process.returncode, said.decode("utf-8")


def in_shell(command: list[str], words: str, cwd: Path = ROOT) -> tuple[int, str]:
    """Run a command behind what a shell does to its streams."""
    return run(["bash", "-c", f'set -o pipefail; "$@" {words}', "bash", *command], cwd)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """The tiny data set, of which nothing is made yet."""
    data = DataPaths(tmp_path_factory.mktemp("raw"))
    make_tiny_data(data.root)
    return data


@pytest.fixture
def place(raw: DataPaths, tmp_path: Path) -> Place:
    """A data folder of one's own, with the series of all."""
    made = Place(tmp_path)
    made.data.root.mkdir()
    for path in (raw.train_csv, raw.localizers_csv):
        shutil.copyfile(path, made.data.root / path.name)
    made.data.series.symlink_to(raw.series)
    return made


def test_a_folder_with_modules_of_the_same_names_changes_nothing(place: Place):
    here = place.root / "another project"
    here.mkdir()
    for name in SHADOWING:
        (here / f"{name}.py").write_text(f"raise SystemExit('{name} of another project')\n")
    code, text = run(place.command("preprocess_data", "--num_workers", "1"), here)
    assert code == 0 and "26 series read" in text and "another project" not in text, text


def test_workers_start_with_the_package_imported_from_any_folder(tmp_path: Path):
    script = (
        "from intracranial.processes.pool import WorkerPool\n"
        "from tests.test_where_it_runs import modules_at_start\n"
        "with WorkerPool(1, 60) as pool:\n"
        "    print(pool.submit(modules_at_start).result())\n"
    )
    (tmp_path / "intracranial.py").write_text("raise SystemExit('another intracranial')")
    code, text = run([sys.executable, "-P", "-c", script], tmp_path, PYTHONPATH=str(ROOT))
    assert (code, text) == (0, "['intracranial.caching.read_ahead', 'intracranial.caching.job']\n")


def modules_at_start() -> list[str]:
    """Which of the modules that the fork server imports are of this checkout."""
    names = ("intracranial.caching.read_ahead", "intracranial.caching.job")
    found = [str(getattr(sys.modules.get(name), "__file__", "")) for name in names]
    return [name for name, file in zip(names, found, strict=True) if file.startswith(str(ROOT))]


@pytest.mark.parametrize("how", ["-I", slow("-P")])
def test_a_safe_path_of_modules_leaves_scripts_as_they_are(how: str, tmp_path: Path):
    for script in ("create_folds.py", "tools/compare.py"):
        code, text = run([sys.executable, how, str(ROOT / script), "--help"], tmp_path)
        assert code == 0 and "usage: " in text, text


@pytest.mark.slow
def test_a_data_folder_may_be_named_from_where_one_is(place: Place):
    command = place.command("preprocess_data", "--num_workers", "1", "--limit", "2")
    command[command.index("--data_dir") + 1] = "data"
    code, text = run(command, place.root)
    assert code == 0 and "2 series read" in text, text


def test_a_working_directory_that_is_gone_is_named(place: Place, tmp_path: Path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = place.command("preprocess_data")
    code, text = run(["bash", "-c", f'rmdir "{gone}"; "$@"', "bash", *command], gone)
    assert code == EXIT_INPUT and "the working directory has been deleted" in text, text
    assert "Traceback" not in text


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", *map(slow, ("<&-", ">&-", "2>&-"))])
def test_closed_streams_do_no_harm(place: Place, closed: str):
    command = place.command("preprocess_data", "--num_workers", "0", "--limit", "2")
    code, text = in_shell(command, closed)
    assert code == 0 and "Traceback" not in text, text
    for path in place.data.sequences.glob("*.npy"):
        assert path.read_bytes()[:6] == b"\x93NUMPY"
    assert len(list(place.data.sequences.glob("*.npy"))) == 2


@pytest.mark.slow
def test_a_run_goes_on_when_nobody_reads_what_it_says(place: Place):
    command = place.command("preprocess_data", "--num_workers", "0", "--limit", "2")
    code, text = in_shell(command, "| true")
    assert (code, text) == (0, "")
    assert place.data.preprocess_manifest.exists()


@pytest.mark.parametrize("script", ["tools/compare.py", slow("create_folds.py")])
def test_help_that_nobody_reads_ends_quietly(script: str):
    code, text = in_shell([sys.executable, str(ROOT / script), "--help"], "| true")
    assert (code, text) == (EXIT_CLOSED_PIPE, "")


@pytest.mark.slow
def test_output_to_a_full_disk_is_said_once_and_the_run_goes_on(place: Place):
    command = place.command("preprocess_data", "--num_workers", "0", "--limit", "2")
    code, text = in_shell(command, "2>&1 >/dev/full")
    assert (code, text) == (0, "nothing more is shown here: No space left on device\n")


NAMES = {"letters": "schädel.dcm", "bytes that are no text": os.fsdecode(b"bad\xff\xfe.dcm")}


@pytest.mark.parametrize(
    "environment", [ASCII, slow({"PYTHONIOENCODING": "ascii"})], ids=lambda how: " ".join(how)
)
def test_names_that_the_locale_cannot_write_are_shown_as_codes(
    raw: DataPaths, tmp_path: Path, environment: dict[str, str]
):
    place = Place(tmp_path / "dätä")
    place.root.mkdir()
    place.data.root.mkdir()
    shutil.copyfile(raw.train_csv, place.data.train_csv)
    (uid, other) = sorted(path.name for path in raw.series.iterdir())[:2]
    for name, broken in zip((uid, other), NAMES.values(), strict=True):
        shutil.copytree(raw.series / name, place.data.series / name)
        file = min((place.data.series / name).iterdir())
        file.with_name(broken).write_bytes(file.read_bytes()[:400])
        file.unlink()
    command = place.command("preprocess_data", "--num_workers", "1", "--allow_rejected")
    code, text = run(command, **environment)
    assert code == 0 and "2 in part" in text, text
    assert "Logging error" not in text and "Traceback" not in text
    rejected = place.data.rejected_csv.read_text(encoding="utf-8")
    assert "bad\\udcff\\udcfe.dcm" in rejected
    log = next(place.data.records.glob("*.log")).read_text(encoding="utf-8")
    assert "wrote " in log


def test_tables_take_names_that_are_no_text(tmp_path: Path):
    write_csv(tmp_path / "table.csv", ("file",), [{"file": NAMES["bytes that are no text"]}])
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "file\nbad\\udcff\\udcfe.dcm\n"


@pytest.mark.slow
@pytest.mark.parametrize("mask", [0o077, 0o000])
def test_files_have_the_modes_that_the_user_asks_for(place: Place, mask: int):
    before = os.umask(mask)
    try:
        for stage, *flags in (
            ("preprocess_data", "--num_workers", "1", "--limit", "9"),
            ("create_folds",),
            ("train_stage1", "--max_steps", "1", "--batch_size", "4"),
        ):
            code, text = run(place.command(stage, *flags))  # a server of forks keeps its mask
            assert code == 0, text
    finally:
        os.umask(before)
    made = [place.data.sequences, place.data.folds_manifest, place.data.report]
    made += [place.data.records, *place.data.sequences.iterdir(), *place.model_dir.rglob("*")]
    for path in made:
        wanted = (0o777 if path.is_dir() else 0o666) & ~mask
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def interrupted(command: list[str], moment: float | str, group: bool) -> tuple[int, str, float]:
    """Code and words of a command that gets Ctrl-C, and the seconds that its end took.

    The moment is a time in seconds, or when a library of that name is loaded.
    """
    process = start(command)
    if isinstance(moment, float):
        time.sleep(moment)
    else:
        maps = Path(f"/proc/{process.pid}/maps")
        wait_for(lambda: moment in maps.read_text(), process)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    begin = time.monotonic()
    said, _ = process.communicate(timeout=30)
    took = time.monotonic() - begin
    time.sleep(0.5)
    left = [pid for pid in all_processes() if group_of(pid) == process.pid and is_alive(pid)]
    assert not left, "a process is left"
    return process.returncode, said.decode("utf-8"), took


def group_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid)


WORDS = "interrupted; what was finished is kept, the same command resumes\n"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="there is no /proc")
def test_ctrl_c_during_the_imports_ends_with_one_line(place: Place):
    for library in ("numpy/_core", "cv2.abi3"):
        code, text, _ = interrupted(place.command("preprocess_data"), library, group=True)
        assert (code, text) == (EXIT_INTERRUPTED, f"preprocess_data.py: {WORDS}")


@pytest.mark.slow
@pytest.mark.parametrize("group", [True, False], ids=["terminal", "kill"])
@pytest.mark.parametrize("stage", ["preprocess_data", "train_stage1"])
def test_ctrl_c_at_any_moment_ends_with_one_line_and_leaves_nobody(
    tiny_copy: Place, stage: str, group: bool
):
    command = tiny_copy.command(stage, "--overwrite", "--num_workers", "2")
    for tenths in range(2, 60, 4):
        code, text, took = interrupted(command, tenths / 10, group)
        if code == 0:  # it had ended
            break
        assert code == EXIT_INTERRUPTED and text.endswith(f"{stage}.py: {WORDS}"), text
        assert "Traceback" not in text and text.count(WORDS) == 1
        assert took < 10
    assert tiny_copy.call(stage, "--overwrite").code == 0


def test_every_script_is_ready_for_ctrl_c_before_it_imports_anything_slow():
    scripts = [ROOT / f"{stage}.py" for stage in STAGES] + sorted((ROOT / "tools").glob("*.py"))
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        if "run_script" in text:  # which begins with it
            assert not set(imports_of(text)) - {"from intracranial.program import run_script"}
            continue
        before, found, _ = text.partition("    make_safe()")
        assert found and 'if __name__ == "__main__":' in before, path
        # sys is there already; tools/doctor.py runs where the package is not installed too
        ready = {"import sys", "from intracranial.surroundings import leave, make_safe"}
        assert set(imports_of(before)) <= ready, path


def imports_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("import ", "from "))]


def test_every_text_file_is_opened_with_an_encoding():
    """Else the locale decides what is read."""
    folders = ("src", "tools")
    found = []
    for path in [
        *ROOT.glob("*.py"),
        *(p for name in folders for p in ROOT.glob(f"{name}/**/*.py")),
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _opens_text(node):
                if not any(word.arg in ("encoding", None) for word in node.keywords):
                    found.append(f"{path}:{node.lineno}")
    assert not found


def _opens_text(call: ast.Call) -> bool:
    name = getattr(call.func, "id", None) or getattr(call.func, "attr", None)
    if name in ("read_text", "write_text"):
        return True
    if getattr(call.func, "id", None) not in ("open", "fdopen") and name != "fdopen":
        return False
    modes = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "mode")]
    return not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)
