"""A node's sockets, made as its settings say."""

import socket
from pathlib import Path

from sse_node.config.reading import read_settings
from sse_node.node.listening import make_listener


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
