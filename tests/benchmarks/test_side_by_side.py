"""Clocks, ratios and verdicts of the benchmarks."""

import subprocess
import sys
import time

from benchmarks.side_by_side import (
    Measured,
    Target,
    alternate,
    measure,
    print_comparison,
    ratio,
)

BUSY = "import time\nwhile time.process_time() < 0.3: pass"


def test_cpu_time_of_a_child_counts_and_sleeping_does_not() -> None:
    child = measure(lambda: subprocess.run([sys.executable, "-c", BUSY], check=True))
    asleep = measure(lambda: time.sleep(0.3))
    assert 0.25 < child.cpu < 2 and asleep.wall >= 0.3
    assert asleep.cpu < 0.2


def test_every_way_is_measured_in_every_round_and_the_first_one_turns() -> None:
    order: list[str] = []

    def way(name: str):
        return lambda: order.append(name) or Measured(1.0, 2.0)

    found = alternate({name: way(name) for name in "abc"}, 3)
    assert "".join(order) == "abcbcacab"
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys("abc", 3)


def test_a_ratio_is_taken_round_by_round() -> None:
    slow_machine_once = {
        "a": [Measured(2.0, 2.0), Measured(20.0, 20.0), Measured(2.0, 2.0)],
        "b": [Measured(1.0, 1.0), Measured(10.0, 10.0), Measured(1.0, 4.0)],
    }
    assert ratio(slow_machine_once, "a", "b") == Measured(2.0, 2.0)


def test_a_target_says_reached_missed_or_why_it_was_not_run() -> None:
    assert str(Target("CPU time", 1.15, True, 1.1)) == "CPU time, at most 1.15: 1.1, reached"
    assert str(Target("speed", 3.0, False, 2.5)) == "speed, at least 3: 2.5, MISSED"
    assert str(Target("GPU", 0.95, False, None, "no CUDA device")).endswith(
        "not run: no CUDA device"
    )


def test_the_table_has_rates_times_and_multiples(capsys) -> None:
    found = {"ours": [Measured(0.1, 0.05)], "limit": [Measured(0.08, 0.04)]}
    print_comparison("Title", found, "stack", ["limit"])
    assert "| ours | 20.0 | 100.0 | 50.0 | 1.25 (1.25) |" in capsys.readouterr().out
