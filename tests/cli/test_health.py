"""Finding the node that runs here: its flags and its environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from sse_node.cli.health import running_nodes

if TYPE_CHECKING:
    from pathlib import Path


def add_process(proc: Path, pid: int, words: list[str], environment: dict[str, str]) -> Path:
    directory = proc / str(pid)
    directory.mkdir()
    (directory / "cmdline").write_bytes("".join(f"{word}\0" for word in words).encode())
    pairs = "".join(f"{name}={value}\0" for name, value in environment.items())
    (directory / "environ").write_bytes(pairs.encode())
    return directory


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["/usr/bin/python3", "/usr/bin/sse-node", "serve"], []),
        (["python", "sse-node", "serve", "--port", "8080"], ["--port", "8080"]),
        (["/app/bin/python", "-m", "sse_node", "serve", "--uds=/a b"], ["--uds=/a b"]),
        (["/sbin/docker-init", "--", "sse-node", "serve", "--port=1"], ["--port=1"]),
    ],
)
def test_node_is_found_with_its_flags(tmp_path: Path, words: list[str], flags: list[str]) -> None:
    add_process(tmp_path, 7, words, {"PORT": "3001", "A": "b=c"})
    assert list(running_nodes(tmp_path)) == [(flags, {"PORT": "3001", "A": "b=c"})]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["bash"],
        ["/usr/bin/python3", "/usr/bin/sse-node", "health"],
        ["/usr/bin/python3", "/usr/bin/sse-node", "publish", "serve", "t", "1"],
        ["python", "-m", "other", "serve"],
        ["sh", "-c", "sse-node serve"],
        ["serve"],
    ],
)
def test_what_is_no_node_is_ignored(tmp_path: Path, words: list[str]) -> None:
    add_process(tmp_path, 7, words, {})
    (tmp_path / "8").mkdir()  # it has just ended
    (tmp_path / "self").mkdir()
    assert list(running_nodes(tmp_path)) == []


def test_system_without_proc(tmp_path: Path) -> None:
    assert list(running_nodes(tmp_path / "nowhere")) == []


def test_environment_that_may_not_be_read_is_taken_for_ours(tmp_path: Path) -> None:
    directory = add_process(tmp_path, 7, ["sse-node", "serve"], {})
    (directory / "environ").unlink()
    assert [environment for _, environment in running_nodes(tmp_path)] == [os.environ]
