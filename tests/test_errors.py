"""What is not installed is said in one line, with what to do, and with one exit code."""

import sys
from pathlib import Path

import pytest

import intracranial.training.epoch_log as epoch_log
from intracranial.artifacts import FoldPaths
from intracranial.errors import EXIT_INPUT, MissingPackage, require_packages
from intracranial.runlog import run_tool
from tools import export_onnx, structured_report


def ended(tool, name: str, capsys: pytest.CaptureFixture, monkeypatch, *flags: str) -> str:
    """The line with which a tool ends with the code of something missing."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *flags])
    assert run_tool(name, tool.Options, tool.main, "") == EXIT_INPUT
    return capsys.readouterr().err


def test_the_export_names_the_packages_that_are_missing(tmp_path, capsys, monkeypatch):
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)  # its import now fails
    monkeypatch.setattr(export_onnx, "PACKAGES", ("onnx", "onnxruntime"))
    flags = ("--model", str(tmp_path), "--out_dir", str(tmp_path / "out"))
    said = ended(export_onnx, "export_onnx", capsys, monkeypatch, *flags)
    words = "the export needs onnx, onnxruntime: pip install onnx onnxruntime"
    assert said == f"export_onnx.py: {words}\n"


def test_structured_reports_name_highdicom(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "one.json").write_text("{}")
    flags = ("--results", str(tmp_path), "--series_dir", str(tmp_path))
    said = ended(structured_report, "structured_report", capsys, monkeypatch, *flags)
    words = "a structured report needs highdicom: pip install highdicom"
    assert said == f"structured_report.py: {words}\n"


def test_tensorboard_is_named_when_it_was_asked_for(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingPackage, match="pip install tensorboard") as caught:
        epoch_log.EpochLog(FoldPaths(tmp_path, "run", 0), "stage1", tensorboard=True)
    assert caught.value.exit_code == EXIT_INPUT
    epoch_log.EpochLog(FoldPaths(tmp_path, "run", 0), "stage1", tensorboard=False)


def test_packages_that_are_there_are_no_error(monkeypatch):
    require_packages("a test", "json", "pytest")
    monkeypatch.setitem(sys.modules, "json", None)
    with pytest.raises(MissingPackage, match=r"^a test needs json: pip install json$"):
        require_packages("a test", "json", "pytest")
