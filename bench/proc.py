"""What /proc says about a process, and which core is whose (Linux only)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SETTLE_INTERVAL_S = 0.1  # arbitrary
_SETTLE_READINGS = 5  # arbitrary: so many readings in a row that hardly differ
_SETTLE_BYTES = 16 * 1024  # arbitrary: four pages
_SETTLE_TIMEOUT_S = 10.0  # arbitrary


class CpuTime(msgspec.Struct, frozen=True):
    """CPU time of a process and all its threads, in seconds; the kernel counts in 10 ms."""

    user_s: float
    system_s: float

    @property
    def total_s(self) -> float:
        """User and system together."""
        return self.user_s + self.system_s

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        """What was used since ``earlier``."""
        return CpuTime(self.user_s - earlier.user_s, self.system_s - earlier.system_s)


def parse_stat(stat: str, ticks_per_s: int = _TICKS_PER_S) -> CpuTime:
    """The CPU time in the text of /proc/PID/stat (proc_pid_stat(5), fields 14 and 15)."""
    after_name = stat.rpartition(")")[2].split()  # the name may hold blanks and parentheses
    return CpuTime(int(after_name[11]) / ticks_per_s, int(after_name[12]) / ticks_per_s)


def parse_pss(smaps_rollup: str) -> int:
    """The proportional set size in the text of /proc/PID/smaps_rollup, in bytes."""
    for line in smaps_rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no line 'Pss:' in smaps_rollup; expected Linux 4.14 or newer")


def cpu_time(pid: int) -> CpuTime:
    """The CPU time that a process has used so far."""
    return parse_stat(Path(f"/proc/{pid}/stat").read_text())


def pss_bytes(pid: int) -> int:
    """The memory of a process now: its own pages and its share of those it shares."""
    return parse_pss(Path(f"/proc/{pid}/smaps_rollup").read_text())


def settled_pss_bytes(pid: int) -> int:
    """The memory of a process once it hardly changes any more, or after ten seconds."""
    deadline_s = time.monotonic() + _SETTLE_TIMEOUT_S
    readings = [pss_bytes(pid)]
    while time.monotonic() < deadline_s:
        newest = readings[-_SETTLE_READINGS:]
        if len(newest) == _SETTLE_READINGS and max(newest) - min(newest) <= _SETTLE_BYTES:
            break
        time.sleep(_SETTLE_INTERVAL_S)
        readings.append(pss_bytes(pid))
    return readings[-1]


def reserve_core() -> int:
    """Choose the core for what is measured and keep this process and its children off it.

    With a single core they share it, and the figures are those of a busy machine.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:-1])
    return cores[-1]
