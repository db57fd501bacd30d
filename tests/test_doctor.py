"""tools/doctor.py calls a healthy machine healthy, and names what a sick one lacks."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from tools import doctor

SCRIPT = Path(doctor.__file__)


def report(capsys, *arguments: str) -> tuple[int, dict[str, str]]:
    """Exit code, and the state of every line by its words, the command to mend added."""
    code = doctor.main(list(arguments))
    lines: dict[str, str] = {}
    last = ""
    for line in capsys.readouterr().out.splitlines():
        if line.strip().startswith("mend: "):
            lines[last] += line.strip().removeprefix("mend:")
        else:
            state, _, last = line.partition(" ")
            last = last.strip()
            lines[last] = state
    return code, lines


def test_this_environment_is_healthy_and_every_syntax_has_a_line(capsys, tmp_path):
    code, lines = report(capsys, "--data_dir", str(tmp_path), "--model_dir", str(tmp_path / "new"))
    assert code == 0
    assert not any(state.startswith("MISSING") for state in lines.values())
    assert lines["RLE Lossless (1.2.840.10008.1.2.5): pylibjpeg"] == "ok"
    assert lines["JPEG-LS Lossless Image Compression (1.2.840.10008.1.2.4.80): gdcm"] == "ok"
    assert any(words.startswith("JPEG 2000") and "pylibjpeg" in words for words in lines)
    assert any("work together" in words for words in lines)
    assert any(words.startswith("device: ") for words in lines)


def test_a_missing_decoder_is_named_with_the_command_that_installs_it(capsys, monkeypatch):
    sound = doctor.available_plugins
    lacking = {JPEGLSLossless: (), RLELossless: ("pydicom",)}
    monkeypatch.setattr(doctor, "available_plugins", lambda uid: lacking.get(uid, sound(uid)))
    code, lines = report(capsys)
    assert code == 1
    jpeg_ls = lines["JPEG-LS Lossless Image Compression (1.2.840.10008.1.2.4.80): no decoder"]
    assert jpeg_ls.startswith("MISSING") and jpeg_ls.endswith("pip install python-gdcm")
    rle = lines["RLE Lossless (1.2.840.10008.1.2.5): pydicom, slower than pylibjpeg"]
    assert rle.startswith("warn") and "pylibjpeg-rle" in rle
    assert JPEG2000Lossless.name in " ".join(
        words for words, state in lines.items() if state == "ok"
    )


def test_a_torchvision_that_does_not_fit_torch_is_missing_with_the_command(tmp_path):
    """A build for another torch fails while it is imported."""
    broken = tmp_path / "torchvision"
    broken.mkdir()
    (broken / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    process = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1, process.stdout + process.stderr
    assert "operator torchvision::nms does not exist" in process.stdout
    assert "--force-reinstall torch torchvision" in process.stdout
    assert "ok       RLE Lossless" in process.stdout  # the other checks go on


@pytest.mark.parametrize("version", ["", "0.0.1"])
def test_a_package_that_is_absent_or_too_old_is_missing(monkeypatch, version):
    sound = importlib.metadata.version

    def fake(name: str) -> str:
        if name != "pydicom":
            return sound(name)
        if not version:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", fake)
    (finding,) = doctor.check_packages()
    assert finding.state == doctor.MISSING
    assert "pydicom" in finding.words and 'pip install "pydicom>=' in finding.mend


def test_an_absent_optional_package_says_what_it_is_for_and_is_no_failure(monkeypatch, capsys):
    sound = importlib.metadata.version

    def fake(name: str) -> str:
        if name in ("highdicom", "tensorboard"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2.3" if name in doctor.OPTIONAL else sound(name)

    monkeypatch.setattr(importlib.metadata, "version", fake)
    found = {finding.words.split()[1].rstrip(":"): finding for finding in doctor.check_optional()}
    assert list(found) == ["highdicom", "onnx", "onnxscript", "onnxruntime", "tensorboard"]
    assert found["highdicom"].state == found["tensorboard"].state == doctor.ABSENT
    assert "structured reports" in found["highdicom"].words
    assert found["highdicom"].mend.endswith("pip install highdicom")
    assert found["onnx"] == doctor.Finding(doctor.OK, "optional onnx 1.2.3: tools/export_onnx.py")
    code, lines = report(capsys)
    assert code == 0
    assert any(state.startswith("absent") for state in lines.values())


def test_versions_compare_as_numbers():
    assert doctor.as_numbers("2.15.0+cu132") == (2, 15, 0)
    assert doctor.as_numbers("3.0.2.dev1") > doctor.as_numbers("3.0.1")
    assert doctor.as_numbers("10.0") > doctor.as_numbers("9.9")


def test_a_folder_that_cannot_be_written_is_missing(tmp_path):
    (tmp_path / "file").write_text("")
    (finding,) = doctor.check_disk(tmp_path / "file" / "data", "--data_dir")
    assert finding.state == doctor.MISSING
    assert "--data_dir" in finding.mend


def test_a_host_that_does_not_answer_costs_seconds_only(monkeypatch):
    import socket
    import time

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: time.sleep(60))
    monkeypatch.setattr(doctor, "RESOLVE_SECONDS", 0.05)
    start = time.monotonic()
    assert not doctor.resolves("weights.example")
    assert time.monotonic() - start < 5
