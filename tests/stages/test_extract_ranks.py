"""extract_features.py as several processes that share the series of one run."""

import re
import time
from pathlib import Path

import pytest

from intracranial.errors import EXIT_PREEMPTED, EXIT_STALE
from tests.forked import Forked
from tests.tiny_runs import Place, read

LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def place(tiny: Place, tmp_path: Path) -> Place:
    """The tiny data set with stage 1 and without features."""
    return tiny.copy(tmp_path / "copy", "features", "features.json")


def start(place: Place, rank: int, *flags: str, count: int = 2) -> Forked:
    """One of several processes, as torchrun would start it."""
    launch = {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "here"}
    return place.start("extract_features", *flags, **launch)


def end(*processes: Forked) -> tuple[list[int], str]:
    """Exit codes, and what all have said."""
    said = [process.communicate(timeout=120)[0] for process in processes]
    return [process.returncode for process in processes], "\n".join(said)


def same_features(one: Place, other: Place, fold: int = 0) -> bool:
    """Whether both have the same files with the same bytes, manifest included."""
    at, there = one.fold(fold), other.fold(fold)
    names = {path.name for path in there.features.iterdir()}
    return (
        {path.name for path in at.features.iterdir()} == names
        and all((at.features / n).read_bytes() == (there.features / n).read_bytes() for n in names)
        and at.features_manifest.read_bytes() == there.features_manifest.read_bytes()
    )


def test_two_processes_make_the_same_bytes_as_one_and_no_series_twice(tiny: Place, place: Place):
    codes, said = end(start(place, 1), start(place, 0))
    assert codes == [0, 0], said
    assert same_features(place, tiny)
    share = int(re.search(r"rank 1 of 2: (\d+) series", said)[1])
    total = read(tiny.fold().features_manifest)["series"]
    assert 0 < share < total
    assert not (place.model_dir / "tiny" / "ranks").exists()
    codes, said = end(start(place, 0), start(place, 1))
    assert codes == [0, 0] and "nothing to do" in said
    codes, said = end(
        start(place, 0, "--augmented_views", "1"), start(place, 1, "--augmented_views", "1")
    )
    assert codes == [EXIT_STALE, EXIT_STALE] and "option augmented_views: 0 -> 1" in said


def test_three_processes_share_one_series_and_what_an_earlier_run_left(tiny: Place, place: Place):
    """More processes than series left: some have nothing to do, and that is fine."""
    assert place.call("extract_features").code == 0
    before = {path: path.stat().st_mtime_ns for path in place.fold().features.iterdir()}
    lost = min(before)
    lost.unlink()
    codes, said = end(*(start(place, rank, count=3) for rank in range(3)))
    assert codes == [0, 0, 0], said
    assert same_features(place, tiny)
    again = [path for path in before if path.stat().st_mtime_ns != before[path]]
    assert again == [lost]


def test_after_a_rank_is_killed_the_same_command_does_its_series(tiny: Place, place: Place):
    pair = [start(place, rank, "--rank_patience", "2") for rank in (0, 1)]
    deadline = time.monotonic() + 90
    while not list(place.fold().features.glob("*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.002)
    pair[1].kill()
    codes, said = end(*pair)
    if codes[0] == 0:  # it had done its share before it was killed
        pytest.skip("rank 1 was done too early")
    assert codes[0] == EXIT_PREEMPTED, said
    assert "rank 1 of 2: no sign of life for 2 s" in said
    assert not read(place.fold().features_manifest)["complete"]
    assert place.call("extract_features").code == 0
    assert same_features(place, tiny)


def test_a_dry_run_says_what_would_be_done_and_touches_nothing(tiny: Place, place: Place):
    before = place.content()
    said = place.call("extract_features", "--dry_run", "--augmented_views", "2")
    assert said.code == 0 and "26 of 26 series would be encoded" in said.text, said.text
    assert "each with up to 2 augmented views" in said.text
    assert place.content() == before and not (place.fold().features).exists()
    said = tiny.call("extract_features", "--dry_run")
    assert said.code == 0 and "complete, would be skipped" in said.text
    said = tiny.call("extract_features", "--dry_run", "--overwrite")
    assert "26 feature files would be deleted" in said.text
    said = tiny.call("extract_features", "--dry_run", "--augmented_views", "2")
    assert said.code == EXIT_STALE and "option augmented_views: 0 -> 2" in said.text


def test_the_threads_that_prepare_change_no_byte(tiny: Place, place: Place):
    assert place.call("extract_features", "--num_workers", "3").code == 0
    assert same_features(place, tiny)
