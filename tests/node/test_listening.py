"""A node's sockets, made as its settings say."""

import contextlib
import socket
from pathlib import Path

import pytest

from bench.harness.addresses import free_port
from sse_node.config.reading import read_settings
from sse_node.errors import ConfigError
from sse_node.node.listening import make_admin_listener, make_listener


def test_the_settings_decide() -> None:
    settings = read_settings({"host": "127.0.0.1", "port": "0"}, {}).listen
    with make_listener(settings) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert not listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_a_port_is_given_to_workers_where_the_settings_have_none() -> None:
    settings = read_settings({"port": "0"}, {}).listen
    with make_listener(settings, shares_port=True) as first:
        port = first.getsockname()[1]
        with make_listener(settings, port=port, shares_port=True) as second:
            assert second.getsockname()[1] == port
        chosen = read_settings({"port": str(port)}, {}).listen
        with make_listener(chosen, port=1, shares_port=True) as third:
            assert third.getsockname()[1] == port


def test_a_path_wins_over_a_port(tmp_path: Path) -> None:
    path = str(tmp_path / "node.sock")
    with make_listener(read_settings({"uds": path, "port": "3000"}, {}).listen) as listener:
        assert listener.family == socket.AF_UNIX
        assert listener.getsockname() == path


def test_operators_have_a_socket_that_only_the_group_may_use(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    access = read_settings({"admin_uds": str(path)}, {}).access
    with contextlib.ExitStack() as on_exit:
        listener = make_admin_listener(access, on_exit)
        assert listener is not None
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()


def test_operators_have_a_port_on_loopback() -> None:
    with contextlib.ExitStack() as on_exit:
        access = read_settings({"admin_port": str(free_port())}, {}).access
        listener = make_admin_listener(access, on_exit)
        assert listener is not None
        assert listener.getsockname() == ("127.0.0.1", access.admin_port)
        with pytest.raises(ConfigError, match="--admin-port: '127"):
            make_admin_listener(access, on_exit)


def test_an_admin_socket_that_is_in_use_is_named(tmp_path: Path) -> None:
    access = read_settings({"admin_uds": str(tmp_path / "admin.sock")}, {}).access
    with contextlib.ExitStack() as on_exit:
        make_admin_listener(access, on_exit)
        with pytest.raises(ConfigError, match="--admin-uds: "):
            make_admin_listener(access, on_exit)


def test_operators_may_have_no_listener() -> None:
    with contextlib.ExitStack() as on_exit:
        assert make_admin_listener(read_settings({}, {}).access, on_exit) is None
