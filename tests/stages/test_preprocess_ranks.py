"""preprocess_data.py as several processes that share the series of one run."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from intracranial.errors import EXIT_PREEMPTED, EXIT_REJECTED, EXIT_STALE
from tests.stages.preprocessed import ROOT, make_data, outputs, rows, run

LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


def start(data: Path, rank: int, *flags: str, size: int = 32) -> subprocess.Popen[str]:
    """One of two processes, as torchrun would start it."""
    environment = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "here"}
    argv = ["--data_dir", str(data), "--size", str(size), "--num_workers", "1"]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "preprocess_data.py"), *argv, *flags],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def end(*processes: subprocess.Popen[str]) -> tuple[list[int], str]:
    """Exit codes, and what all have said."""
    said = [process.communicate(timeout=120)[0] for process in processes]
    return [process.returncode for process in processes], "\n".join(said)


def test_two_processes_make_the_same_bytes_as_one(tmp_path):
    uids = make_data(tmp_path / "a", count=5)
    shutil.rmtree(tmp_path / "a" / "series" / uids[4])
    (tmp_path / "a" / "series" / uids[0] / "text.dcm").write_bytes(b"")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert run(tmp_path / "a") == EXIT_REJECTED
    codes, said = end(start(tmp_path / "b", 0), start(tmp_path / "b", 1))
    assert codes == [EXIT_REJECTED, 0], said
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")
    assert run(tmp_path / "b") == EXIT_REJECTED
    codes, said = end(start(tmp_path / "b", 0), start(tmp_path / "b", 1))
    assert codes == [EXIT_REJECTED, 0], said
    assert "nothing to do" in said
    codes, said = end(*(start(tmp_path / "b", rank, size=48) for rank in (1, 0)))
    assert codes == [EXIT_STALE, EXIT_STALE], said


def first_of_rank_1(data: Path) -> bool:
    """Whether rank 1 has finished a series, but not all of its share."""
    try:
        plan = json.loads((data / "ranks" / "plan.json").read_text())
    except FileNotFoundError:
        return False
    (name,) = set(plan["members"]) - {plan["lead"]}
    done = [(data / "npy_sequence" / f"{uid}.json").exists() for uid in plan["shares"][name]]
    return any(done)


def test_after_a_rank_is_killed_the_next_run_does_its_series_once(tmp_path):
    uids = make_data(tmp_path / "a", count=12, slices=24)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert run(tmp_path / "a", "--size", "256") == 0
    pair = [start(tmp_path / "b", rank, "--rank_patience", "2", size=256) for rank in (0, 1)]
    deadline = time.monotonic() + 60
    while not first_of_rank_1(tmp_path / "b") and time.monotonic() < deadline:
        time.sleep(0.002)
    pair[1].kill()
    codes, said = end(*pair)
    assert codes[0] == EXIT_PREEMPTED, said
    assert "rank 1 of 2: no sign of life for 2 s" in said
    missing = [
        uid for uid in uids if not (tmp_path / "b" / "npy_sequence" / f"{uid}.json").exists()
    ]
    assert 0 < len(missing) < 6
    assert any(uid in said for uid in missing)
    assert not (tmp_path / "b" / "preprocess.json").exists()
    finished = [path for path in (tmp_path / "b").rglob("*.npy") if ".partial" not in str(path)]
    times = {path: path.stat().st_mtime_ns for path in finished}
    assert run(tmp_path / "b", "--size", "256") == 0
    assert outputs(tmp_path / "a") == outputs(tmp_path / "b")
    again = {path for path in times if path.stat().st_mtime_ns != times[path]}
    assert not [
        path for path in again if path.stem not in missing and path.parent.name not in missing
    ]
    assert [meta["SeriesInstanceUID"] for meta in rows(tmp_path / "b" / "train_meta.csv")] == uids


def test_without_a_launcher_nothing_of_torch_distributed_is_imported(tmp_path):
    make_data(tmp_path, count=2)
    code = (
        "import sys\n"
        "from intracranial.runlog import run_stage\n"
        "from intracranial.stages import preprocess_data as p\n"
        f"sys.argv = ['x', '--data_dir', {str(tmp_path)!r}, '--size', '32', '--num_workers', '0']\n"
        "code = run_stage('preprocess_data', p.PreprocessOptions, p.main, '')\n"
        "found = [name for name in sys.modules if name.startswith('torch.distributed')]\n"
        "assert code == 0 and not found, (code, found[:3])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr + ended.stdout
