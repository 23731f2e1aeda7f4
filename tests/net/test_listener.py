"""Sockets to listen on: their options reach accepted connections, their errors the operator."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from sse_node.errors import ConfigError
from sse_node.net.listener import remove_socket, tcp_listener, unix_listener

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def listen(host: str = "127.0.0.1", port: int = 0, user_timeout_ms: int = 30_000) -> socket.socket:
    return tcp_listener(host, port, send_buffer_bytes=65536, user_timeout_ms=user_timeout_ms)


@contextlib.contextmanager
def accepted_by(listener: socket.socket) -> Iterator[socket.socket]:
    """Connect a client; yield what the listener accepts."""
    listener.listen()
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname())
        listener.setblocking(True)
        accepted, _ = listener.accept()
        with accepted:
            yield accepted


def test_accepted_connections_have_the_listener_s_options() -> None:
    with listen() as listener, accepted_by(listener) as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 65536
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_a_user_timeout_of_0_leaves_the_kernel_s() -> None:
    with listen(user_timeout_ms=0) as listener, accepted_by(listener) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_the_kernel_may_choose_the_port() -> None:
    with listen() as one, listen() as other:
        assert one.getsockname()[1] != other.getsockname()[1]
        assert not one.getblocking()


def test_a_port_can_be_listened_on_again_at_once() -> None:
    with listen() as listener, accepted_by(listener):
        port = listener.getsockname()[1]
    with listen(port=port) as again:
        assert again.getsockname()[1] == port


def test_a_port_that_is_taken_is_the_operator_s_fault() -> None:
    with listen() as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*Address already in use"):
            listen(port=port)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_an_address_that_is_not_ours_is_the_operator_s_fault(host: str) -> None:
    with pytest.raises(ConfigError, match=r"--host, --port: .* expected an address to listen on"):
        listen(host)


def test_others_may_connect_to_a_socket_at_a_path(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    with unix_listener(str(path)) as listener, accepted_by(listener) as accepted:
        assert accepted.family is socket.AF_UNIX
        assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_a_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    unix_listener(str(path)).close()
    assert path.is_socket()
    with unix_listener(str(path)) as listener, accepted_by(listener):
        pass


def test_a_socket_that_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "node.sock")
    with unix_listener(path) as listener:
        listener.listen()
        with pytest.raises(ConfigError, match="a socket that no other process listens on"):
            unix_listener(path)
        with accepted_by(listener):
            pass


def test_a_socket_whose_backlog_is_full_is_somebody_s(tmp_path: Path) -> None:
    path = str(tmp_path / "node.sock")
    with unix_listener(path) as listener, contextlib.ExitStack() as clients:
        listener.listen(0)
        for _ in range(100):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(path) == errno.EAGAIN:
                break
        assert client.connect_ex(path) == errno.EAGAIN
        with pytest.raises(ConfigError, match="a socket that no other process listens on"):
            unix_listener(path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file", "Address already in use"),
        ("no/such/directory", "No such file or directory"),
        ("x" * 120, "path too long"),
    ],
)
def test_a_path_that_is_none_for_a_socket_is_the_operator_s_fault(
    tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ConfigError, match=rf"--uds: .* expected a path for a socket \(.*{reason}"):
        unix_listener(str(tmp_path / name))
    assert (tmp_path / "file").read_text() == "precious"


def test_a_socket_is_removed_but_not_its_successor_s(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    unix_listener(str(path)).close()
    old_inode = path.stat().st_ino
    holds_the_inode = tmp_path / "old.sock"
    os.link(path, holds_the_inode)
    unix_listener(str(path)).close()
    remove_socket(str(path), old_inode)
    assert path.is_socket()
    remove_socket(str(path), path.stat().st_ino)
    assert not path.exists()
    remove_socket(str(path), old_inode)
