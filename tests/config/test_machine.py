"""The memory that control groups of both versions leave, in made-up trees of files."""

import os
from pathlib import Path

import pytest

from sse_node.config.machine import memory_bytes

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
