"""What the machine and the control groups of this process give it."""

import os
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path, PurePosixPath

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")


def memory_bytes(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return the memory of the machine, or the least limit of a control group if that is less.

    Args:
        proc: where procfs is; elsewhere than on Linux it is not there.
        cgroups: where the hierarchies of control groups are, of version 1 or 2.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(proc, cgroups)])


def usable_cores(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return the cores that this process may use, at most 1024; part of a core counts as one.

    Args:
        proc: where procfs is; elsewhere than on Linux it is not there.
        cgroups: where the hierarchies of control groups are, of version 1 or 2.
    """
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    machine = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return min([machine, 1024, *_core_limits(proc, cgroups)])


def _limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield the memory limits of this process's control group and of all above it."""
    for group, is_new in _groups(proc, cgroups, "memory"):
        text = _read(group / ("memory.max" if is_new else "memory.limit_in_bytes"))
        if text.isascii() and text.isdigit():  # "max" is no limit
            yield int(text)


def _core_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield the limits of cores of this process's control group and of all above it."""
    for group, is_new in _groups(proc, cgroups, "cpu"):
        if is_new:
            quota, _, period = _read(group / "cpu.max").partition(" ")
        else:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():  # "max" and -1 are no limit
            yield max(1, ceil(int(quota) / int(period)))


def _groups(proc: Path, cgroups: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of each control group from this process's up, and if it is of version 2."""
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controller if controllers else cgroups
        # In a container the path may be the host's: then only the root is there.
        own = PurePosixPath(path.lstrip("/"))
        for group in (own, *own.parents):
            yield root / group, not controllers


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
