"""Where Redis is and how to connect to it: the same for commands, jobs and the subscriber."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sse_node.config.redis_tls import make_tls_context
from sse_node.config.redis_url import parse_redis_url

P = TypeVar("P", bound=asyncio.BaseProtocol)

_FAMILIES: Final = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A Redis server and who connects to it.

    Attributes:
        unix_socket_path: empty for TCP.
        tls: None for a connection without TLS.
        username: empty for the default user.
        password: empty for no password.
        database: 0 or higher; Pub/Sub does not know databases, the keys do.
        family: of the host's addresses.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    unix_socket_path: str = ""
    tls: ssl.SSLContext | None = None
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: int = 0
    family: socket.AddressFamily = socket.AF_UNSPEC

    def __str__(self) -> str:
        """Return the server for people, without user and password."""
        return self.unix_socket_path or f"{self.host}:{self.port}"

    async def connect(self, make_protocol: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        """Connect; authentication and the rest of the handshake are the protocol's.

        Raises:
            OSError: there is no connection, or the server's certificate is not trusted.
        """
        loop = asyncio.get_running_loop()
        if self.unix_socket_path:
            return await loop.create_unix_connection(make_protocol, self.unix_socket_path)
        transport, protocol = await loop.create_connection(
            make_protocol, self.host, self.port, ssl=self.tls, family=self.family
        )
        _keep_alive(transport.get_extra_info("socket"))
        return transport, protocol


def _keep_alive(connected: socket.socket) -> None:
    """Find a peer that vanished while nothing was sent; the times are redis-py's."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if option := getattr(socket, name, None):  # macOS has no TCP_KEEPIDLE
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


def redis_address(url: str, setting: str = "--redis-url") -> RedisAddress:
    """Return the address in a URL.

    Args:
        url: redis://, rediss:// or unix://.
        setting: names the setting in errors.

    Raises:
        SecretConfigError: a part of the URL is not allowed.
    """
    parts = parse_redis_url(setting, url)
    return RedisAddress(
        host=parts.host,
        port=parts.port,
        unix_socket_path=parts.unix_socket_path,
        tls=make_tls_context(setting, parts.tls) if parts.tls is not None else None,
        username=parts.username,
        password=parts.password,
        database=parts.database,
        family=_FAMILIES[parts.family],
    )
