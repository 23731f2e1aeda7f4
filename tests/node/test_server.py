"""One process of a node: how it listens, and what goes wrong at its start."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from sse_node.config.reading import read_settings
from sse_node.errors import ConfigError
from sse_node.node.server import Server

if TYPE_CHECKING:
    from pathlib import Path


async def test_an_address_that_two_nodes_bind_at_once_is_named() -> None:
    with contextlib.ExitStack() as sockets:
        other = sockets.enter_context(socket.socket())
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        server = Server(read_settings({"port": str(port)}, {}), "unix:///nowhere/redis.sock")
        listener = sockets.enter_context(server._make_socket())
        other.listen()
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}"):
            await server._listen(listener)


@pytest.mark.parametrize(("flag", "size"), [("uds", 0), ("port", 65536)])
async def test_only_tcp_connections_get_a_small_send_buffer(
    tmp_path: Path, flag: str, size: int
) -> None:
    flags = {"uds": str(tmp_path / "node.sock")} if flag == "uds" else {"port": "0"}
    server = Server(read_settings(flags, {}), "unix:///nowhere/redis.sock")
    with server._make_socket() as listener:
        await server._listen(listener)
        assert server.node.streams.send_buffer_bytes == size
        assert server._listener is not None
        server._listener.close()
