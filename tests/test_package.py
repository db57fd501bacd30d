"""A wheel gives other programs the package without the checkout."""

import ast
import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.tiny_data import uid_of
from tests.tiny_runs import ONE_THREAD, ROOT, Place

PROGRAM = """
import sys
import intracranial
from intracranial import Predictor, Prediction, Rejected

if __name__ == "__main__":
    predictor = Predictor(sys.argv[1], device="cpu", precision="fp32", num_workers=1)
    for found in predictor.predict_many(sys.argv[2:]):
        print(type(found).__name__, found.uid if isinstance(found, Prediction) else found.code)
    print(intracranial.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
    pip("wheel", str(source), "--no-deps", "--no-build-isolation", "-w", str(folder))
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    pip("install", str(wheel), "--no-deps", "--target", str(target))
    return target


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def outside(installed: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder that is not the checkout."""
    cwd.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_wheel_has_every_module_and_every_template(wheel: Path):
    package = ROOT / "src" / "intracranial"
    wanted = {
        f"intracranial/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == wanted


def test_the_package_asks_for_what_requirements_txt_lists():
    """In the same ranges; the last line of the file installs the package itself."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [*project["dependencies"], "-e ."] == listed


def test_everything_that_is_imported_is_declared():
    """Modules of the package, the scripts and the tools; extras are imported only where used."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = itertools.chain(*project["optional-dependencies"].values())
    everything = [*project["dependencies"], *extras]
    declared = {re.match(r"[\w-]+", one)[0].lower() for one in everything}
    providers = importlib.metadata.packages_distributions()
    own = {"intracranial", "tools", "kaggle_submission", "kaggle_evaluation"}
    sources = [*ROOT.glob("*.py"), *ROOT.glob("src/**/*.py"), *ROOT.glob("tools/**/*.py")]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in {name.split(".")[0] for name in names} - own - sys.stdlib_module_names:
                assert declared.intersection(map(str.lower, providers[name])), (
                    f"{path}: {name} is not declared"
                )


def test_a_program_elsewhere_predicts_with_a_run_s_folder(
    installed: Path, tiny: Place, others: Path, tmp_path: Path
):
    (tmp_path / "program.py").write_text(PROGRAM)
    series = str(others / "series" / uid_of(100))
    run = str(tiny.model_dir / "tiny")
    place = tmp_path / "elsewhere"
    done = outside(
        installed, place, str(tmp_path / "program.py"), run, series, str(tmp_path / "nowhere")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"Prediction {uid_of(100)}", "Rejected missing_folder"]
    assert lines[2].startswith(str(installed))


def test_the_console_command_predicts(installed: Path, tiny: Place, others: Path, tmp_path: Path):
    script = installed / "bin" / "intracranial"
    assert script.exists()
    flags = ["--model", str(tiny.model_dir / "tiny"), "--out_dir", str(tmp_path / "out")]
    series = str(others / "series" / uid_of(100))
    where = tmp_path / "elsewhere"
    done = outside(
        installed, where, str(script), "predict", *flags, "--series", series, "--num_workers", "0"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "predictions.csv").exists()


def test_importing_the_package_does_not_import_torch(installed: Path, tmp_path: Path):
    code = "import intracranial, sys; sys.exit('torch' in sys.modules)"
    assert outside(installed, tmp_path / "x", "-c", code).returncode == 0


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("intracranial.stages.preprocess_data", "pandas"),
        ("intracranial.stages.create_folds", "torch"),
        ("intracranial.evaluation.scored_runs", "torch"),
    ],
)
def test_what_needs_no_network_starts_without_what_takes_seconds_to_import(module: str, heavy: str):
    code = f"import {module}, sys; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
