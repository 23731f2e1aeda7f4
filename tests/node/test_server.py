"""One process of a node: what goes wrong at its start."""

import contextlib
import socket

import pytest

from sse_node.config.reading import read_settings
from sse_node.errors import ConfigError
from sse_node.node.server import Server


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
