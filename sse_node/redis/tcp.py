"""TCP connections to Redis servers and sentinels, with TLS where the URL asks for it."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Server(NamedTuple):
    """Where a server listens; shown as HOST:PORT."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the server for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Dialer:
    """How connections are opened; the same for every server of a URL.

    Attributes:
        tls: None for connections without TLS.
        family: of the hosts' addresses.
    """

    tls: ssl.SSLContext | None = None
    family: socket.AddressFamily = socket.AF_UNSPEC

    async def connect(
        self, server: Server, make_protocol: Callable[[], P]
    ) -> tuple[asyncio.Transport, P]:
        """Open a connection.

        Raises:
            OSError: there is no connection, or the server's certificate is not trusted.
        """
        transport, protocol = await asyncio.get_running_loop().create_connection(
            make_protocol, server.host, server.port, ssl=self.tls, family=self.family
        )
        connected: socket.socket | None = transport.get_extra_info("socket")
        if connected is None:
            raise ConnectionAbortedError("the connection was closed as soon as it was open")
        _keep_alive(connected)
        return transport, protocol


def _keep_alive(connected: socket.socket) -> None:
    """Find a peer that vanished while nothing was sent; the times are redis-py's."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if option := getattr(socket, name, None):  # macOS has no TCP_KEEPIDLE
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
