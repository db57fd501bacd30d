"""The benchmark of feature extraction runs, and its ways give the same numbers."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.extraction import Bench, Options, main
from intracranial.sampling.features import load_features

TINY = {
    "model": "test_resnet",
    "input_size": 32,
    "slices": 19,
    "size": 64,
    "rounds": 1,
    "device": "cpu",
    "precision": "fp32",
}


def test_it_prints_tables_and_says_what_was_not_run(tmp_path: Path, capsys) -> None:
    main(Options(out_dir=tmp_path, **TINY))
    printed = capsys.readouterr().out
    assert "| with reading and writing |" in printed and "300 slices, from the time" in printed
    assert "times as fast as plain, at least 5: not run: no bf16 instructions" in printed
    assert "at least 0.95: not run: no CUDA device" in printed


def test_ours_and_the_bare_forward_pass_give_the_same_logits(tmp_path: Path) -> None:
    bench = Bench(Options(out_dir=tmp_path, **TINY))
    ours = bench.ours()
    assert ours.shape[:2] == (2, 19)
    bench.whole()
    assert len(list(bench.paths.features.iterdir())) == 2
    written = load_features(bench.paths.feature(bench.first.uid))
    assert np.array_equal(ours[1], written[2, 0].logits)
    assert np.allclose(ours, bench.bare(), atol=1e-5)
    plain = bench.by_plain()
    assert np.allclose(ours[:, 2:6], plain[:, 2:-2], atol=1e-4)
    assert not np.allclose(ours[:, 0], plain[:, 0], atol=1e-4)  # plain wraps round


def test_a_way_that_gives_other_numbers_is_refused(tmp_path: Path, monkeypatch) -> None:
    bench = Bench(Options(out_dir=tmp_path, **TINY))
    monkeypatch.setattr(bench, "by_plain", lambda: bench.ours() + 1)
    with pytest.raises(SystemExit, match="plain: logits differ by"):
        bench.check()
