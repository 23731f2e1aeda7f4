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
from sse_node.http.listener import listen, remove_socket, share_port, tcp_listener, unix_listener

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def listen_at(
    host: str = "127.0.0.1",
    port: int = 0,
    user_timeout_ms: int = 30_000,
    *,
    shares_port: bool = False,
) -> socket.socket:
    return tcp_listener(
        host,
        port,
        user_timeout_ms=user_timeout_ms,
        shares_port=shares_port,
    )


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
    with listen_at() as listener, accepted_by(listener) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_a_user_timeout_of_0_leaves_the_kernel_s() -> None:
    with listen_at(user_timeout_ms=0) as listener, accepted_by(listener) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_the_kernel_may_choose_the_port() -> None:
    with listen_at() as one, listen_at() as other:
        assert one.getsockname()[1] != other.getsockname()[1]
        assert not one.getblocking()


def test_a_port_can_be_listened_on_again_at_once() -> None:
    with listen_at() as listener, accepted_by(listener):
        port = listener.getsockname()[1]
    with listen_at(port=port) as again:
        assert again.getsockname()[1] == port


def test_a_port_that_is_taken_is_the_operator_s_fault() -> None:
    with listen_at() as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*Address already in use"):
            listen_at(port=port)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_an_address_that_is_not_ours_is_the_operator_s_fault(host: str) -> None:
    with pytest.raises(ConfigError, match=r"--host, --port: .* expected an address to listen on"):
        listen_at(host)


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


def test_who_listens_alone_has_the_address_alone() -> None:
    with listen_at() as one:
        port = one.getsockname()[1]
        with listen_at(port=port) as other:  # nobody listens yet
            listen(one, 8)
            with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*in use"):
                listen(other, 8)
        for shares_port in (False, True):
            with pytest.raises(ConfigError, match="in use"):
                listen_at(port=port, shares_port=shares_port)


def test_connections_are_dealt_out_to_all_who_share_a_port() -> None:
    with contextlib.ExitStack() as sockets:
        listeners = [sockets.enter_context(listen_at())]
        listen(listeners[0], 128)
        share_port(listeners[0])
        port = listeners[0].getsockname()[1]
        with pytest.raises(ConfigError, match="in use"):
            listen_at(port=port)
        listeners.append(sockets.enter_context(listen_at(port=port, shares_port=True)))
        listen(listeners[1], 128)
        for _ in range(64):
            sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
        accepted = [0, 0]
        for number, listener in enumerate(listeners):
            with contextlib.suppress(BlockingIOError):
                while True:
                    sockets.enter_context(listener.accept()[0])
                    accepted[number] += 1
    assert sum(accepted) == 64
    assert min(accepted) > 0  # the odds against it are 1 to 2^63
