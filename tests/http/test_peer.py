"""The peer of a connection, on both event loops; what has no address is not taken for a socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest

from sse_node.http.connection import HttpConnection
from sse_node.http.peer import UNIX, UNKNOWN, peer_of
from tests.support.fakes import BOTH_LOOPS, FAKE_CLOCK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.door import Client, Door

GET = b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


class ResetTransport(asyncio.BaseTransport):
    """A connection over TCP that the client has reset: getpeername(2) fails."""

    def __init__(self, connection: socket.socket | None) -> None:
        super().__init__()
        self._socket = connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        return self._socket if name == "socket" else default


def test_a_connection_that_was_reset_is_not_taken_for_a_unix_socket() -> None:
    with socket.socket() as connection:
        assert peer_of(ResetTransport(connection)) == UNKNOWN
    assert peer_of(ResetTransport(None)) == UNKNOWN
    assert peer_of(None) == UNKNOWN


async def peer_at(door: Door, address: socket.socket) -> str:
    """Return the peer of a request that is sent to a listener; the site is the door's."""
    loop = asyncio.get_running_loop()
    with contextlib.closing(address):
        client = socket.socket(address.family)
        with contextlib.closing(client):
            client.setblocking(False)
            await loop.sock_connect(client, address.getsockname())
            await loop.sock_sendall(client, GET)
            while await loop.sock_recv(client, 65536):
                pass
    return door.requests[-1].peer


@BOTH_LOOPS
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_peer_of_tcp_is_an_address(door: Door, host: str) -> None:
    door.site.needs_peers = True
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.bind((host, 0))
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpConnection(door.site), sock=listener
    )
    assert await peer_at(door, listener.dup()) == host
    server.close()


@BOTH_LOOPS
async def test_the_peer_of_a_unix_socket_is_empty(door: Door, tmp_path: Path) -> None:
    door.site.needs_peers = True
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "node.sock"))
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: HttpConnection(door.site), sock=listener
    )
    assert await peer_at(door, listener.dup()) == UNIX
    server.close()


@FAKE_CLOCK
async def test_nobody_looks_for_a_peer_that_nothing_needs(
    door: Door, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_for: list[asyncio.BaseTransport | None] = []

    def peer_of(transport: asyncio.BaseTransport | None) -> str:
        looked_for.append(transport)
        return "a"

    monkeypatch.setattr("sse_node.http.site.peer_of", peer_of)
    connect().send(GET)
    assert not looked_for
    door.site.needs_peers = True
    connect().send(GET)
    assert [request.peer for request in door.requests] == ["", "a"]
