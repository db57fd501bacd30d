"""The benchmark of both stages runs on DICOM folders."""

from pathlib import Path

import pytest

from benchmarks import generated_dicom
from benchmarks.end_to_end import Bench, Options, main

TINY = {
    "kind": "raw-64",
    "series": 2,
    "model": "test_resnet",
    "input_size": 32,
    "size": 64,
    "width": 16,
    "num_workers": (0, 1),
    "warm": 1,
    "measured": 2,
    "rounds": 1,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(autouse=True)
def _small_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(generated_dicom.SHAPES, "64", (8, 64, 3.5, 8.0))


def test_it_prints_tables_and_says_what_was_not_run(tmp_path: Path, capsys) -> None:
    main(Options(out_dir=tmp_path, **TINY))
    printed = capsys.readouterr().out
    for part in ("read and parse files", "stage 1", "write tables", "| 1 reading processes |"):
        assert part in printed
    assert "1 reading processes, wall time / the longer of both, at most 1.15: not run" in printed


def test_a_rejected_series_is_not_counted_as_work(tmp_path: Path) -> None:
    bench = Bench(Options(out_dir=tmp_path, **TINY))
    (tmp_path / "empty").mkdir()
    bench.folders.append(tmp_path / "empty")
    with pytest.raises(SystemExit, match="a series was rejected"):
        bench.both(0)
