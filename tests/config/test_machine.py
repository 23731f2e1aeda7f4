"""The memory and cores that control groups of both versions leave, in made-up trees of files."""

import os
from pathlib import Path

import pytest

from sse_node.config.machine import memory_bytes, usable_cores

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_with(root: Path, cgroup: str, files: dict[str, str]) -> int:
    """Return the memory of a process in these control groups, with these limits."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return memory_bytes(root / "proc", root / "cgroup")


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "1000000\n"}, 1_000_000),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        ("0::/\n", {}, MACHINE),
        ("", {"memory.max": "1000000\n"}, MACHINE),
        ("0::/a/b\n", {"a/b/memory.max": "3000\n", "a/memory.max": "max\n"}, 3000),
        ("0::/a/b\n", {"a/b/memory.max": "3000\n", "a/memory.max": "2000\n"}, 2000),
        ("0::/of/the/host\n", {"memory.max": "1000\n"}, 1000),
        ("0::/../other\n", {"memory.max": "1000\n"}, 1000),
        (
            "5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n",
            {"memory/a/b/memory.limit_in_bytes": "5000\n",
             "memory/memory.limit_in_bytes": "9223372036854771712\n"},
            5000,
        ),
        (
            "4:hugetlb,memory:/of/the/host\n",
            {"memory/memory.limit_in_bytes": "6000\n"},
            6000,
        ),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
    ],
    ids=["container", "no limit", "no file", "no group", "own", "of one above", "host's path",
         "path outside", "version 1", "version 1, host's path", "version 1, no limit"],
)  # fmt: skip
def test_the_least_limit_counts(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: int
) -> None:
    assert memory_with(tmp_path, cgroup, files) == expected


def test_without_procfs_it_is_the_machines(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path, tmp_path) == MACHINE


def test_this_machine_has_memory() -> None:
    assert 0 < memory_bytes() <= MACHINE


CORES = 2


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, CORES),
        ("0::/\n", {"cpu.max": "99999900000 100000\n"}, CORES),
        ("0::/\n", {}, CORES),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "100000 100000\n"}, 1),
        ("4:cpu,cpuacct:/a\n",
         {"cpu/a/cpu.cfs_quota_us": "10000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 1),
        ("4:cpu,cpuacct:/a\n",
         {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, CORES),
    ],
)  # fmt: skip
def test_cores(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cgroup: str,
    files: dict[str, str],
    expected: int,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(CORES)))
    memory_with(tmp_path, cgroup, files)
    assert usable_cores(tmp_path / "proc", tmp_path / "cgroup") == expected


def test_part_of_a_core_counts_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    memory_with(tmp_path, "0::/\n", {"cpu.max": "250000 100000\n"})
    assert usable_cores(tmp_path / "proc", tmp_path / "cgroup") == 3
