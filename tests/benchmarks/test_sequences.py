"""The benchmark of stage-2 training runs, and its ways see the same batches."""

from pathlib import Path

import pytest

from benchmarks.sequences import MEMORY, Bench, Options, main, planned_waste, waste

TINY = {
    "features": 8,
    "width": 16,
    "batch_size": 2,
    "num_workers": (0,),
    "warm": 1,
    "steps": 1,
    "rounds": 1,
    "planned": 50,
    "device": "cpu",
    "precision": "fp32",
}


def test_it_prints_tables_and_says_what_was_not_run(tmp_path: Path, capsys) -> None:
    main(Options(out_dir=tmp_path, **TINY))
    printed = capsys.readouterr().out
    assert "| bare passes |" in printed and "| reading alone |" in printed
    assert "share of padded slices, at most 0.1" in printed
    assert "share of the rate from memory, at least 0.95: not run: no CUDA device" in printed


def test_loader_and_memory_give_the_same_losses(tmp_path: Path) -> None:
    # an epoch then has more batches than are measured, which the schedule must know of
    bench = Bench(Options(out_dir=tmp_path, **{**TINY, "num_workers": (0, 2), "steps": 3}))
    bench.by_loop("ours, 0 workers", 0)
    bench.by_loop(MEMORY, None)
    assert bench.losses["ours, 0 workers"] == bench.losses[MEMORY]


def test_waste_is_the_share_of_slices_that_pad() -> None:
    assert waste([["a", "b"], ["c"]], {"a": 10, "b": 5, "c": 5}) == pytest.approx(0.2)


def test_bucketing_pads_less_than_random_batches(tmp_path: Path) -> None:
    ours, random = planned_waste(Options(out_dir=tmp_path, batch_size=8, planned=400), 512)
    assert 0 < ours < 0.6 * random
