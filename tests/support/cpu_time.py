"""CPU time in steps: what a fixed piece of work takes on this machine at this moment."""

import time
from collections.abc import Callable

TRIES = 20


def cpu_s(work: Callable[[], object]) -> float:
    before_s = time.thread_time()
    work()
    return time.thread_time() - before_s


def steps_of(work: Callable[[], object], enough: float) -> float:
    """Return the CPU time of the work in steps, the least of up to 20 tries.

    A step is a sort, of some milliseconds. It is timed beside each try: a machine may be half as
    fast as another, or as it was a second before.

    Args:
        work: what to time.
        enough: a try that took fewer steps is the last one.
    """
    steps = []
    while True:
        steps.append(cpu_s(work) / cpu_s(lambda: sorted(range(25_000), key=str)))
        if steps[-1] < enough or len(steps) == TRIES:
            return min(steps)
