"""Runs a process only while nothing else wants its core."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from bench.measure import procfs as proc

_LOWEST = 19  # of nice(1)
_HIERARCHIES = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup"))  # cgroup version 1, version 2


@contextlib.contextmanager
def in_background(pid: int, core: int) -> Iterator[Literal["cpu.idle", "nice"]]:
    """Let a process share a core with others that come first; yield how.

    In a control group with `cpu.idle` it gives way at once. With the lowest niceness it does not:
    its slice ends first, and between sessions niceness has no effect (sched(7), autogroup). That
    is what is left to users who may not create a control group.
    """
    proc.share_core(pid, core)
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), _LOWEST)
    for hierarchy in _HIERARCHIES:
        group = hierarchy / f"sse-node-bench-{pid}"
        if _join_idle_group(group, pid):
            break
    else:
        yield "nice"
        return
    try:
        yield "cpu.idle"
    finally:
        for line in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # it has ended
                _move(int(line), hierarchy)
        group.rmdir()


def _join_idle_group(group: Path, pid: int) -> bool:
    """Create a control group with `cpu.idle` for a process; return whether that is possible."""
    if not (group.parent / "cgroup.procs").exists():
        return False
    with contextlib.suppress(OSError):  # version 1 has no such file
        (group.parent / "cgroup.subtree_control").write_text("+cpu")
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        (group / "cpu.idle").write_text("1")
        _move(pid, group)
    except OSError:
        group.rmdir()
        return False
    return True


def _move(pid: int, group: Path) -> None:
    (group / "cgroup.procs").write_text(str(pid))
