"""A wheel gives other programs the detector under a name of its own, without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.tiny_data import uid_of
from tests.tiny_runs import ONE_THREAD, ROOT, Place

PROGRAM = """
import sys
import aneurysm_detection
from aneurysm_detection import AneurysmDetector, Prediction, Rejected

if __name__ == "__main__":
    detector = AneurysmDetector(sys.argv[1], device="cpu", precision="fp32", num_workers=1)
    for found in detector.predict_many(sys.argv[2:]):
        print(type(found).__name__, found.uid if isinstance(found, Prediction) else found.code)
    assert "src" not in sys.modules, "the checkout was imported"
    print(aneurysm_detection.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("src", "setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
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


def test_the_wheel_has_no_module_named_src_and_every_template(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert {name.split("/")[0].split("-")[0] for name in names} == {
            "aneurysm_detection",
            "intracranial_aneurysm_detection",
        }
        for path in (ROOT / "src").rglob("*.jinja"):
            assert f"aneurysm_detection/{path.relative_to(ROOT / 'src').as_posix()}" in names
        modules = [name for name in names if name.endswith(".py")]
        assert len(modules) == len(list((ROOT / "src").rglob("*.py")))
        for name in modules:
            assert "from src" not in archive.read(name).decode(), name


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
    script = installed / "bin" / "aneurysm-detection"
    assert script.exists()
    flags = ["--model", str(tiny.model_dir / "tiny"), "--out_dir", str(tmp_path / "out")]
    series = str(others / "series" / uid_of(100))
    where = tmp_path / "elsewhere"
    done = outside(installed, where, str(script), *flags, "--series", series, "--num_workers", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out" / "predictions.csv").exists()


def test_importing_the_package_does_not_import_torch(installed: Path, tmp_path: Path):
    code = "import aneurysm_detection, sys; sys.exit('torch' in sys.modules)"
    assert outside(installed, tmp_path / "x", "-c", code).returncode == 0


def test_an_editable_install_is_refused_with_what_to_do(tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("src", "setup.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    target = ["--target", str(tmp_path / "t"), "-e", str(source)]
    done = subprocess.run([*command, *target], capture_output=True, text=True, timeout=120)
    assert done.returncode and "cannot be installed editable" in done.stdout + done.stderr
