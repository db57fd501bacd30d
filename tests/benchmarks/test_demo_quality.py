"""The table of benchmarks/demo_quality.py for seeds that are trained and scored already."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import demo_quality
from benchmarks.demo_quality import Options, main

LOCALISATION = {
    "true_positives": {"within_mm": {"5": {"value": 0.5}, "10": {"value": 0.9}}},
    "froc": {"sensitivity": {"0.5": {"value": 0.4}, "1": {"value": 0.75}}},
}


def scored(folder: Path, **metrics: Any) -> None:
    """What the stages leave of one seed, as far as it is read."""
    (folder / "scored").mkdir(parents=True)
    tables = {"score": {"value": 0.8}, "stage1_maximum": {"score": {"value": 0.7}}}
    path = folder / "scored" / "end_to_end_metrics.json"
    path.write_text(json.dumps({**tables, **metrics}))
    (folder / "scores.json").write_text(json.dumps({"stage 1 at spots": 0.85}))


@pytest.fixture
def no_stages(monkeypatch):
    monkeypatch.setattr(demo_quality, "stage", lambda *_: pytest.fail("a stage was run"))


def table_of(folder: Path, capsys, *seeds: int) -> dict[str, list[str]]:
    main(Options(out_dir=folder, seeds=seeds, baseline=False))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {row[0]: row[1:] for row in rows}


def test_seeds_that_are_scored_are_read_and_no_stage_is_run(tmp_path, capsys, no_stages):
    for seed in (0, 1):
        scored(tmp_path / f"seed-{seed}", localisation=LOCALISATION)
    assert table_of(tmp_path, capsys, 0, 1) == {
        "end to end": ["0.800"] * 3,
        "maximum of stage 1 over slices": ["0.700"] * 3,
        "true positives within 10 mm (share, required 0.85)": ["0.900"] * 3,
        "aneurysms found at 1 false point per series (share)": ["0.750"] * 3,
        "stage 1 at spots": ["0.850"] * 3,
    }


def test_figures_that_older_scores_lack_are_a_dash_with_the_command_to_make_them(
    tmp_path, capsys, no_stages
):
    scored(tmp_path / "seed-0", localisation=LOCALISATION)
    scored(tmp_path / "seed-1")
    table = table_of(tmp_path, capsys, 0, 1)
    assert table["aneurysms found at 1 false point per series (share)"] == ["0.750", "-", "-"]
    assert table["end to end"] == ["0.800"] * 3
    main(Options(out_dir=tmp_path, seeds=(1,), baseline=False))
    assert "seed-1" in (out := capsys.readouterr().out) and "--overwrite" in out
