"""CPU time, memory and connections of processes from /proc, and a core for the server."""

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Self

import msgspec

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TICK_S = 1 / _TICKS_PER_S
"""The resolution of CPU times."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ESTABLISHED = "01"  # a state in /proc/net/tcp
_SETTLE_INTERVAL_S = 0.1  # arbitrary
_SETTLE_READINGS = 5  # arbitrary: this many equal readings in a row
_SETTLE_BYTES = 16 * 1024  # arbitrary: readings within four pages are equal
_SETTLE_TIMEOUT_S = 10.0  # arbitrary


class CpuTime(msgspec.Struct, frozen=True):
    """CPU time of a process and all its threads, in seconds."""

    user_s: float
    system_s: float

    @property
    def total_s(self) -> float:
        """User and system together."""
        return self.user_s + self.system_s

    def __add__(self, other: Self) -> Self:
        """Add the CPU times of two processes."""
        return type(self)(self.user_s + other.user_s, self.system_s + other.system_s)

    def __sub__(self, earlier: Self) -> Self:
        """Return the CPU time used since `earlier`."""
        return type(self)(self.user_s - earlier.user_s, self.system_s - earlier.system_s)


def parse_stat(stat: str, ticks_per_s: int = _TICKS_PER_S) -> CpuTime:
    """Return the CPU time in /proc/PID/stat (proc_pid_stat(5), fields 14 and 15)."""
    after_name = stat.rpartition(")")[2].split()  # the name may hold blanks and parentheses
    return CpuTime(int(after_name[11]) / ticks_per_s, int(after_name[12]) / ticks_per_s)


def parse_kib(text: str, name: str) -> int:
    """Return a line `name: N kB` of a file in /proc, in bytes. Raises ValueError if missing."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no line {name!r} in {text[:200]!r}; expected Linux 4.14 or newer")


def parse_tcp_pages(sockstat: str) -> int:
    """Return the pages that TCP uses, from the text of /proc/net/sockstat."""
    for line in sockstat.splitlines():
        words = line.split()
        if words[:1] == ["TCP:"]:
            return int(words[words.index("mem") + 1])
    raise ValueError("no line 'TCP:' in sockstat")


def parse_connections(net_tcp: str, ports: Collection[int]) -> set[str]:
    """Return the inodes of connections to local ports, from the text of /proc/net/tcp."""
    local = {f"{port:04X}" for port in ports}
    lines = map(str.split, net_tcp.splitlines()[1:])
    return {
        words[9]
        for words in lines
        if words[3] == _ESTABLISHED and words[1].rpartition(":")[2] in local
    }


def parse_listen_overflows(netstat: str) -> int:
    """Return ListenOverflows from the text of /proc/net/netstat: a line of names, one of values."""
    lines = [line.split() for line in netstat.splitlines() if line.startswith("TcpExt:")]
    return int(dict(zip(*lines, strict=True))["ListenOverflows"])


def cpu_time(*pids: int) -> CpuTime:
    """Return the CPU time that processes have used so far, added up."""
    texts = (Path(f"/proc/{pid}/stat").read_text() for pid in pids)
    return sum(map(parse_stat, texts), CpuTime(0.0, 0.0))


def pss_bytes(*pids: int) -> int:
    """Return the memory of processes: their own pages and their part of shared pages."""
    return sum(parse_kib(Path(f"/proc/{pid}/smaps_rollup").read_text(), "Pss") for pid in pids)


def tcp_bytes() -> int:
    """Return the size of the buffers of all TCP sockets of this machine, both ends."""
    return parse_tcp_pages(Path("/proc/net/sockstat").read_text()) * _PAGE_BYTES


def listen_overflows() -> int:
    """Return how many requests to connect the kernel dropped because a queue was full."""
    return parse_listen_overflows(Path("/proc/net/netstat").read_text())


def slab_bytes() -> int:
    """Return the size of the kernel's own objects, sockets included."""
    return parse_kib(Path("/proc/meminfo").read_text(), "Slab")


def connection_counts(pids: Sequence[int], ports: Collection[int]) -> list[int]:
    """Return how many connections to these local ports each process has."""
    sockets = parse_connections(Path("/proc/net/tcp").read_text(), ports)
    return [sum(socket in sockets for socket in _sockets(pid)) for pid in pids]


def _sockets(pid: int) -> Iterator[str]:
    """Return the inode of every open socket of a process."""
    for descriptor in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            kind, _, inode = os.readlink(descriptor.path).partition(":")
            if kind == "socket":
                yield inode.strip("[]")


def children(pid: int) -> list[int]:
    """Return all descendants of a process, each one before its children."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return []
    return [below for child in map(int, text.split()) for below in (child, *children(child))]


def settled_pss_bytes(*pids: int) -> int:
    """Return the memory of processes once it is stable, or after ten seconds."""
    deadline_s = time.monotonic() + _SETTLE_TIMEOUT_S
    enough_bytes = _SETTLE_BYTES * len(pids)
    readings = [pss_bytes(*pids)]
    while time.monotonic() < deadline_s:
        newest = readings[-_SETTLE_READINGS:]
        if len(newest) == _SETTLE_READINGS and max(newest) - min(newest) <= enough_bytes:
            break
        time.sleep(_SETTLE_INTERVAL_S)
        readings.append(pss_bytes(*pids))
    return readings[-1]


def share_core(pid: int, core: int) -> None:
    """Run a process on a core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def reserve_core() -> int:
    """Return the core for the measured server; keep this process and its children off it.

    On a machine with one core they share it.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:-1])
    return cores[-1]
