"""The benchmark of stage-1 training runs, and its ways do the same work."""

from pathlib import Path

import pytest
import torch

from benchmarks.device_figures import operations
from benchmarks.training import LIMIT, Bench, Options, check_losses, main

TINY = {
    "model": "test_resnet",
    "input_size": 32,
    "batch_size": 4,
    "series": 2,
    "slices": 6,
    "size": 64,
    "num_workers": (0,),
    "loader_workers": (1,),
    "warm": 1,
    "steps": 1,
    "rounds": 1,
    "device": "cpu",
}


def test_it_prints_tables_and_says_what_was_not_run(tmp_path: Path, capsys) -> None:
    main(Options(out_dir=tmp_path, precision="bf16", **TINY))
    printed = capsys.readouterr().out
    for title in ("Stage-1 training", "Waiting for batches", "share of the rate", "Targets"):
        assert title in printed
    assert "plain with channels last" in printed and "not run: no CUDA device" in printed


def test_loader_ready_tensors_and_plain_training_give_the_same_losses(tmp_path: Path) -> None:
    bench = Bench(Options(out_dir=tmp_path, precision="fp32", **TINY))
    for way in bench.ways().values():
        way()
    assert bench.losses["ours, 0 workers"] == bench.losses[LIMIT]
    plain = bench.losses["plain, 1 workers"]
    # dropout draws from another stream, and the learning rate of the program warms up
    assert plain == pytest.approx(bench.losses[LIMIT], rel=0.02)
    assert bench.losses["plain with our loading"] == pytest.approx(plain, rel=0.02)
    assert bench.losses["plain with channels last"] == pytest.approx(plain, rel=0.02)


def test_a_step_is_counted_as_three_dense_forward_passes(tmp_path: Path) -> None:
    bench = Bench(Options(out_dir=tmp_path, **{**TINY, "model": "convnext_atto"}))
    counted = operations(bench.forward) / TINY["batch_size"]
    # 1.094 Gflop at 224 pixels go with the area; the heads add their share
    assert 1 < counted / (1.094e9 * (32 / 224) ** 2) < 3


def test_ways_that_do_not_do_the_same_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ours, 0 workers: the loss is 2"):
        check_losses({"ours, 0 workers": 2.0, LIMIT: 1.0}, 1e-3)
    bench = Bench(Options(out_dir=tmp_path, **TINY))
    assert torch.equal(bench.ready[0]["stack"], bench.placed[0]["stack"].contiguous())
