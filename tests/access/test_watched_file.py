"""A file that changes in the ways that editors, Kubernetes and careless operators change it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sse_node.access.watched_file import WatchedFile
from sse_node.errors import ConfigError


def write_again(path: Path) -> None:
    path.write_bytes(b"newer")


def write_as_long(path: Path) -> None:
    path.write_bytes(b"new")
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"new")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def link_anew(path: Path) -> None:
    target = path.with_name("target")
    target.write_bytes(b"new")
    path.unlink()
    path.symlink_to(target)


def remove(path: Path) -> None:
    path.unlink()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize("change", [write_again, write_as_long, replace, link_anew, remove])
def test_a_change_is_seen_once(path: Path, change: Callable[[Path], None]) -> None:
    file = WatchedFile("--api-keys", str(path))
    assert not file.has_changed()
    change(path)
    assert file.has_changed()
    assert not file.has_changed()


def test_a_file_that_comes_back_has_changed(path: Path) -> None:
    file = WatchedFile("--api-keys", str(path))
    path.unlink()
    assert file.has_changed()
    path.write_bytes(b"old")
    assert file.has_changed()
    assert file.read() == b"old"


def test_what_cannot_be_read_names_the_setting_and_the_path(path: Path) -> None:
    path.unlink()
    with pytest.raises(ConfigError, match=r"--api-keys: '.*keys' .*No such file"):
        WatchedFile("--api-keys", str(path)).read()
    with pytest.raises(ConfigError, match="Is a directory"):
        WatchedFile("--api-keys", str(path.parent)).read()


def test_a_file_of_a_mebibyte_is_read_and_no_larger_one(path: Path) -> None:
    path.write_bytes(b"x" * 1024 * 1024)
    assert len(WatchedFile("--api-keys", str(path)).read()) == 1024 * 1024
    path.write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="at most 1048576 bytes"):
        WatchedFile("--api-keys", str(path)).read()
