"""A process that runs only while nothing else wants its core."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.measure import background
from bench.measure.background import in_background

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pid() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid


def groups_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text()


def test_it_has_the_lowest_priority_on_the_core(pid: int) -> None:
    core = min(os.sched_getaffinity(0))
    with in_background(pid, core):
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        assert os.sched_getaffinity(pid) == {core}


def test_it_is_in_a_control_group_of_its_own_meanwhile(pid: int) -> None:
    name = f"sse-node-bench-{pid}"
    with in_background(pid, min(os.sched_getaffinity(0))) as means:
        assert (name in groups_of(pid)) == (means == "cpu.idle")
    assert name not in groups_of(pid)
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{name}"))


def test_a_group_goes_after_its_process(pid: int) -> None:
    with in_background(pid, min(os.sched_getaffinity(0))):
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert not list(Path("/sys/fs/cgroup").glob(f"**/sse-node-bench-{pid}"))


def test_a_group_that_cannot_be_idle_is_not_used(
    pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup.procs").write_text("")
    (tmp_path / f"sse-node-bench-{pid}").write_text("")  # no folder can be made
    monkeypatch.setattr(background, "_HIERARCHIES", (tmp_path / "none", tmp_path))
    with in_background(pid, min(os.sched_getaffinity(0))) as means:
        assert means == "nice"
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19


def test_a_hierarchy_without_controllers_is_not_used(
    pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_HIERARCHIES", (tmp_path,))
    with in_background(pid, min(os.sched_getaffinity(0))) as means:
        assert means == "nice"
    assert not list(tmp_path.iterdir())


def test_a_group_without_cpu_idle_is_removed(
    pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup.procs").write_text("")
    monkeypatch.setattr(background, "_HIERARCHIES", (tmp_path,))
    write_text = Path.write_text

    def refuse(path: Path, text: str) -> int:
        """Do as a kernel before 5.15."""
        if path.name == "cpu.idle":
            raise PermissionError(path)
        return write_text(path, text)

    monkeypatch.setattr(Path, "write_text", refuse)
    with in_background(pid, min(os.sched_getaffinity(0))) as means:
        assert means == "nice"
    assert not (tmp_path / f"sse-node-bench-{pid}").exists()
