"""How long threads wait awake for each other before they sleep.

torch shares an operation among as many threads as there are cores, and they meet at its end. GNU
OpenMP lets a thread that has arrived spin for some milliseconds, since waking it would take longer
than most operations. That is right where every thread has a core of its own. Beside another busy
process a thread spins on the core that its partner needs, at every operation: a training takes ten
times the processor time and more. A bound of some hundredths of a millisecond covers the gaps
within a step, and costs little where nothing else runs (benchmarks/busy.py).

The number of threads stays as it is, whatever else runs: it decides the last bits of sums.
"""

import os
import sys

SPINS = 1000
"""Rounds of the waiting loop; GNU OpenMP's own default is 300,000."""

CHOSEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Variables by which a user chooses; either of them leaves everything to the user."""


def bound_spinning() -> None:
    """Let the threads of torch sleep soon; call this before torch is imported.

    OpenMP reads the environment once, when it is loaded, and child processes inherit it. A program
    that has imported torch already is left alone: it would change nothing there.
    """
    if "torch" in sys.modules or any(name in os.environ for name in CHOSEN):
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def cores_for_processes() -> None:
    """Let OpenCV start no threads in this process, for a program whose processes share the cores.

    It is for scripts and for the processes that they start: a program that imports this package
    keeps the number of threads that it has chosen.
    """
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    else:  # OpenCV reads it when it is imported, which not every script needs
        os.environ["OPENCV_FOR_THREADS_NUM"] = "1"
