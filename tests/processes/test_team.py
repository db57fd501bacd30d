"""Sharing the series of a run among ranks: who is there, who reads what, who was lost."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from intracranial.errors import (
    EXIT_STALE,
    InputError,
    PipelineError,
    Preempted,
    StaleArtifact,
    UsageError,
)
from intracranial.processes import children, team
from intracranial.processes.team import Neighbours, Rank, Team, find_rank, share_out

CONFIG = {"size": 32}
SIZES = {"1.1": 50, "1.2": 40, "1.3": 30, "1.4": 20, "1.5": 10}
PATIENCE = 1.0


def test_a_plain_start_is_no_team():
    assert find_rank({}) is None


def test_torchrun_tells_rank_and_number():
    started = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
    assert find_rank(started) == Rank(1, 4, "a 29500 ")


def test_one_process_of_torchrun_is_no_team():
    assert find_rank({"RANK": "0", "WORLD_SIZE": "1"}) is None


def test_srun_tells_rank_and_number_of_its_step():
    step = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3", "SLURM_NTASKS": "8"}
    assert find_rank({**step, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}) == Rank(2, 3, "7 0")


def test_a_plain_python_in_an_sbatch_script_or_salloc_shell_is_alone():
    batch = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_NPROCS": "8", "SLURM_JOB_ID": "7"}
    assert find_rank(batch) is None
    shell = {**batch, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_ID": "4294967290"}
    assert find_rank(shell) is None


def test_torchrun_inside_srun_decides():
    step = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}
    assert find_rank({**step, "RANK": "5", "WORLD_SIZE": "8"}) == Rank(5, 8, "  ")


@pytest.mark.parametrize("values", [("2", "2"), ("-1", "2"), ("x", "2"), ("0", "")])
def test_variables_that_contradict_each_other_are_refused(values):
    with pytest.raises(UsageError, match="RANK="):
        find_rank({"RANK": values[0], "WORLD_SIZE": values[1]})


SLEEPING = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """Rank 1 of two."""
    with subprocess.Popen(["sleep", "60"], env=SLEEPING) as started:
        yield started
        started.kill()


@pytest.fixture
def launched() -> Rank:
    """Rank 0 of the same launch."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("there is no /proc")
    return Rank(0, 2, "a 29500 ")


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_neighbour_that_has_gone_is_lost_and_others_are_none(launched, neighbour):
    with subprocess.Popen(["sleep", "60"], env={**SLEEPING, "MASTER_PORT": "1"}) as stranger:
        with Neighbours(launched) as neighbours:
            wait_until(lambda: neighbour.pid in neighbours._find())
            assert neighbours.lost() == set()
            stranger.kill()
            stranger.wait()
            assert neighbours.lost() == set()
            neighbour.kill()
            wait_until(lambda: neighbours.lost() == {1})


HERE = {"MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize(
    ("environment", "here"),
    [
        (HERE, True),
        ({"MASTER_ADDR": "node1"}, False),
        ({"MASTER_ADDR": "node1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}, True),
        ({"MASTER_ADDR": "node1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "1"}, True),
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}, False),
        ({}, False),
    ],
)
def test_a_launcher_says_whether_all_processes_are_on_this_machine(environment, here):
    assert team._all_are_here(environment) == here


def test_a_neighbour_that_never_comes_is_lost_while_all_gather(launched, neighbour, monkeypatch):
    monkeypatch.setattr(team, "GATHERING_SECONDS", 0.3)
    monkeypatch.setattr(Neighbours, "_can_be_seen", lambda self: True)
    three = Rank(0, 3, launched.launch)
    with Neighbours(three) as neighbours:
        assert neighbours.lost(gathering=True) == set()
        time.sleep(0.4)
        assert neighbours.lost(gathering=True) == set()  # they may be on other machines
        monkeypatch.setenv("MASTER_ADDR", "localhost")
        assert neighbours.lost(gathering=True) == {1, 2}  # the one that sleeps is one of two
        assert neighbours.lost() == set()


def test_what_a_neighbour_has_started_is_none(launched):
    command = ["sh", "-c", "sleep 60 & wait"]
    with subprocess.Popen(command, env=SLEEPING, start_new_session=True) as started:
        with Neighbours(launched) as neighbours:
            wait_until(lambda: started.pid in neighbours._find())
            time.sleep(0.3)
            assert neighbours._find() == [started.pid]
        os.killpg(started.pid, signal.SIGKILL)


def test_a_neighbour_that_stays_stopped_is_ended(launched, neighbour, monkeypatch):
    monkeypatch.setattr(children, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(children, "STOPPED_SECONDS", 0.3)
    with Neighbours(launched):
        neighbour.send_signal(signal.SIGSTOP)
        assert neighbour.wait(10) == -signal.SIGKILL


def test_the_first_rank_ends_before_the_others_but_not_while_one_of_them_is_stopped(
    launched, neighbour, monkeypatch
):
    monkeypatch.setattr(children, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(children, "STOPPED_SECONDS", 0.3)
    with Neighbours(launched) as neighbours:
        wait_until(lambda: neighbours._find())
        neighbours.see_off()  # it runs
        neighbour.send_signal(signal.SIGSTOP)
        wait_until(lambda: children.is_stopped(neighbour.pid))
        neighbours.see_off()
        assert neighbour.wait(1) == -signal.SIGKILL


def test_a_later_rank_ends_after_the_earlier_ones(launched, neighbour, monkeypatch):
    with Neighbours(Rank(2, 2, launched.launch)) as neighbours:  # as if there were three
        wait_until(lambda: neighbours._find())
        begin = time.monotonic()
        neighbours.see_off()  # it runs another command, the shell round a rank say
        assert time.monotonic() - begin < 0.4
        monkeypatch.setattr(team, "command_of", lambda pid: b"train_stage1.py")
        begin = time.monotonic()
        threading.Timer(0.5, neighbour.kill).start()
        neighbours.see_off()
        assert 0.4 < time.monotonic() - begin < 5


def test_nobody_waits_for_ever_for_a_stopped_rank_that_cannot_be_ended(
    launched, neighbour, monkeypatch
):
    monkeypatch.setattr(team, "STOPPED_SECONDS", 0.2)
    monkeypatch.setattr(children, "STOPPED_SECONDS", 60)  # as if the guard could not
    with Neighbours(launched) as neighbours:
        wait_until(lambda: neighbours._find())
        neighbour.send_signal(signal.SIGSTOP)
        wait_until(lambda: children.is_stopped(neighbour.pid))
        begin = time.monotonic()
        neighbours.see_off()
        assert time.monotonic() - begin < 5


def test_rank_0_waits_for_no_neighbour_that_has_gone(launched, neighbour, tmp_path, caplog):
    caplog.set_level("WARNING", logger="intracranial")
    begin = time.monotonic()
    threading.Timer(0.5, neighbour.kill).start()
    with Team(launched, tmp_path / "ranks", patience=60) as team:
        assert sorted(team.hand_out(SIZES, CONFIG)) == sorted(SIZES)
        team.collect(lambda outcome: None, lambda uid: True)
    assert time.monotonic() - begin < 10
    assert "rank 1 did not come within 60 s (--rank_patience), or ended before" in caplog.text


def test_nobody_waits_for_a_rank_0_that_has_gone(neighbour, tmp_path):
    threading.Timer(0.5, neighbour.kill).start()
    with (
        pytest.raises(Preempted, match="rank 0 has ended without a word"),
        Team(Rank(1, 2, "a 29500 "), tmp_path / "ranks", patience=60) as team,
    ):
        team._neighbours._ranks[neighbour.pid] = 0  # as if it led
        team.share(CONFIG)


def test_shares_are_balanced_by_size_and_cover_every_series_once():
    shares = share_out(SIZES, [0, 1])
    assert sorted(itertools.chain(*shares.values())) == sorted(SIZES)
    assert [sum(SIZES[uid] for uid in shares[rank]) for rank in (0, 1)] == [80, 70]


def test_shares_do_not_depend_on_the_order_of_the_table():
    backwards = dict(reversed(SIZES.items()))
    assert share_out(SIZES, [0, 1, 2]) == share_out(backwards, [0, 1, 2])


def start(action: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Another rank in a thread; its result or its error goes to the list."""
    ended: list[Any] = []

    def act() -> None:
        try:
            ended.append(action())
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=act)
    thread.start()
    return thread, ended


def helper(folder: Path, index: int, count: int = 2, **report: Any) -> Callable[[], object]:
    def act() -> list[str] | None:
        with Team(Rank(index, count, "launch"), folder, PATIENCE) as team:
            uids = team.share(CONFIG)
            if uids is not None:
                team.report([{"uid": uid} for uid in uids], **report)
            return uids

    return act


def lead(folder: Path, count: int = 2) -> tuple[list[str], list[str]]:
    """Own share, and the series whose outcomes the others have reported."""
    taken: list[Mapping[str, Any]] = []
    with Team(Rank(0, count, "launch"), folder, PATIENCE) as team:
        own = team.hand_out(SIZES, CONFIG)
        team.collect(taken.append, is_finished=lambda uid: False)
    return own, [outcome["uid"] for outcome in taken]


def test_rank_0_hands_out_shares_and_takes_the_outcomes(tmp_path):
    others = [start(helper(tmp_path / "ranks", k, 3)) for k in (1, 2)]
    own, taken = lead(tmp_path / "ranks", 3)
    for thread, _ in others:
        thread.join()
    assert own == share_out(SIZES, [0, 1, 2])[0]
    assert [ended[0] for _, ended in others] == [share_out(SIZES, [0, 1, 2])[k] for k in (1, 2)]
    assert sorted([*own, *taken]) == sorted(SIZES)
    assert not (tmp_path / "ranks").exists()


def test_ranks_may_begin_at_the_same_moment(tmp_path):
    folder = tmp_path / "ranks"
    for _ in range(8):
        folder.mkdir()
        for k in range(200):
            (folder / f"done-{k}.json").touch()
        thread, ended = start(helper(folder, 1))
        lead(folder)
        thread.join()
        assert ended == [share_out(SIZES, [0, 1])[1]]


def test_messages_of_an_earlier_run_are_never_taken(tmp_path):
    folder = tmp_path / "ranks"
    thread, _ = start(helper(folder, 1))
    with Team(Rank(0, 2, "launch"), folder, PATIENCE) as team:
        team.hand_out({"9.9": 1, "9.8": 1}, CONFIG)
        thread.join()
        shutil.copytree(folder, tmp_path / "old")  # as a killed rank 0 leaves it
    shutil.copytree(tmp_path / "old", folder)
    thread, ended = start(helper(folder, 1))
    time.sleep(0.5)
    assert not ended, "the old plan was taken"
    own, taken = lead(folder)
    thread.join()
    assert ended == [share_out(SIZES, [0, 1])[1]]
    assert sorted([*own, *taken]) == sorted(SIZES)


def test_a_rank_that_never_comes_gets_nothing(tmp_path, caplog):
    caplog.set_level("WARNING", logger="intracranial")
    own, taken = lead(tmp_path / "ranks")
    assert sorted(own) == sorted(SIZES)
    assert taken == []
    assert "rank 1 did not come within 1 s" in caplog.text


def test_a_rank_that_comes_too_late_ends_in_peace(tmp_path):
    folder = tmp_path / "ranks"
    with Team(Rank(0, 2, "launch"), folder, PATIENCE) as team:
        assert sorted(team.hand_out(SIZES, CONFIG)) == sorted(SIZES)
        assert helper(folder, 1)() is None
        team.collect(lambda outcome: None, lambda uid: True)


def test_a_lost_rank_is_named_with_what_is_missing(tmp_path):
    folder = tmp_path / "ranks"
    missing = share_out(SIZES, [0, 1])[1]

    def vanish() -> None:
        with Team(Rank(1, 2, "launch"), folder, PATIENCE) as team:
            team.share(CONFIG)

    thread, _ = start(vanish)
    with (
        pytest.raises(Preempted, match="rank 1 of 2: no sign of life for 1 s") as lost,
        Team(Rank(0, 2, "launch"), folder, PATIENCE) as team,
    ):
        team.hand_out(SIZES, CONFIG)
        team.collect(lambda outcome: None, lambda uid: uid == missing[0])
    thread.join()
    assert f"{len(missing) - 1} series ({', '.join(missing[1:])})" in str(lost.value)


def test_a_rank_at_work_is_waited_for_however_long_it_takes(tmp_path):
    folder = tmp_path / "ranks"

    def slow() -> None:
        with Team(Rank(1, 2, "launch"), folder, PATIENCE) as team:
            uids = team.share(CONFIG)
            time.sleep(2.5 * PATIENCE)
            team.report([{"uid": uid} for uid in uids or ()])

    thread, _ = start(slow)
    _, taken = lead(folder)
    thread.join()
    assert taken == share_out(SIZES, [0, 1])[1]


def test_a_rank_that_stops_ends_the_run_with_its_reason(tmp_path):
    thread, _ = start(helper(tmp_path / "ranks", 1, failure="no space left"))
    with pytest.raises(InputError, match="rank 1 has stopped: no space left"):
        lead(tmp_path / "ranks")
    thread.join()


def test_what_stops_rank_0_before_the_plan_stops_the_others_with_its_code(tmp_path):
    thread, ended = start(helper(tmp_path / "ranks", 1))
    with (
        pytest.raises(StaleArtifact),
        Team(Rank(0, 2, "launch"), tmp_path / "ranks", PATIENCE),
    ):
        raise StaleArtifact("options have changed")
    thread.join()
    assert isinstance(ended[0], PipelineError)
    assert ended[0].exit_code == EXIT_STALE


def test_nothing_to_do_ends_all_ranks_in_peace(tmp_path):
    thread, ended = start(helper(tmp_path / "ranks", 1))
    with Team(Rank(0, 2, "launch"), tmp_path / "ranks", PATIENCE):
        pass
    thread.join()
    assert ended == [None]


def test_other_options_than_rank_0_are_refused(tmp_path):
    folder = tmp_path / "ranks"

    def differs() -> None:
        with Team(Rank(1, 2, "launch"), folder, PATIENCE) as team:
            team.share({"size": 48})

    thread, ended = start(differs)
    with pytest.raises(Preempted):
        lead(folder)
    thread.join()
    assert isinstance(ended[0], UsageError)
    assert "give all the same" in str(ended[0])


def test_without_rank_0_a_rank_gives_up_and_says_what_to_check(tmp_path):
    with pytest.raises(Preempted, match="file system that all machines share"):
        helper(tmp_path / "ranks", 1)()


def test_a_process_of_another_launch_is_not_taken_for_one_of_this(tmp_path):
    folder = tmp_path / "ranks"

    def other_launch() -> None:
        with Team(Rank(1, 2, "another job"), folder, PATIENCE) as team:
            team.share(CONFIG)

    thread, ended = start(other_launch)
    own, _ = lead(folder)
    thread.join()
    assert sorted(own) == sorted(SIZES)
    assert ended == [None] or isinstance(ended[0], Preempted)


def test_a_half_written_message_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    assert team._read(path) is None
    path.write_text('{"lead": ')
    assert team._read(path) is None
    path.write_text(json.dumps(CONFIG))
    assert team._read(path) == CONFIG
