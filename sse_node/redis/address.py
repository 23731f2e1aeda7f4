"""Where Redis is and how to connect to it: the same for commands, jobs and the subscriber."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from sse_node.config.redis_tls import make_tls_context
from sse_node.config.redis_url import ClusterUrl, SentinelUrl, parse_redis_url
from sse_node.redis.cluster import Cluster, ClusterPlace
from sse_node.redis.sentinel import SentinelPlaces, Sentinels
from sse_node.redis.tcp import Dialer, P, Server
from sse_node.wire.resp import authentication
from sse_node.wire.sharding import slot_of

_FAMILIES: Final = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
_WITHOUT_TLS: Final = Dialer()
# Between two attempts to connect. Others answer while there is no master: they are asked often.
_LONGEST_WAIT_S: Final = 5.0
_LONGEST_WAIT_WITH_FINDER_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A Redis server and who connects to it.

    Attributes:
        host: of the server, as port; neither counts with sentinels or in a cluster.
        unix_socket_path: empty for TCP.
        dialer: opens TCP connections.
        username: empty for the default user.
        password: empty for no password.
        database: 0 or higher; Pub/Sub does not know databases, the keys do.
        finder: the sentinels, or the place in a cluster, that name the server; None where it is
            always the same.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    unix_socket_path: str = ""
    dialer: Dialer = _WITHOUT_TLS
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: int = 0
    finder: Sentinels | ClusterPlace | None = None

    def __str__(self) -> str:
        """Return the server for people, without user and password."""
        if self.finder is not None:
            return str(self.finder)
        return self.unix_socket_path or str(Server(self.host, self.port))

    @property
    def master(self) -> Server | None:
        """The server to which new connections lead; None where it is always the same."""
        return self.finder.master if self.finder is not None else None

    @property
    def sentinels(self) -> Sentinels | None:
        """The sentinels; None without them."""
        return self.finder if isinstance(self.finder, Sentinels) else None

    @property
    def cluster(self) -> Cluster | None:
        """The cluster; None outside of one."""
        return self.finder.cluster if isinstance(self.finder, ClusterPlace) else None

    @property
    def longest_wait_s(self) -> float:
        """The most to wait between two attempts to connect."""
        return _LONGEST_WAIT_S if self.finder is None else _LONGEST_WAIT_WITH_FINDER_S

    def of_key(self, key: str) -> "RedisAddress":
        """Return the address of the server that has a key: another one in clusters only."""
        if self.cluster is None:
            return self
        return replace(self, finder=ClusterPlace(self.cluster, slot_of(key)))

    def of_server(self, server: Server) -> "RedisAddress":
        """Return the address of one server of a cluster, or of those that sentinels watch."""
        return replace(self, host=server.host, port=server.port, finder=None)

    def authentication(self) -> list[tuple[bytes, ...]]:
        """Return the commands that authenticate a new connection."""
        return authentication(self.username, self.password)

    def sentinel_addresses(self) -> list["RedisAddress"]:
        """Return the address of every sentinel; empty without sentinels."""
        if self.sentinels is None:
            return []
        located = self.sentinels.located
        return [
            RedisAddress(
                place.host,
                place.port,
                dialer=self.dialer,
                username=located.username,
                password=located.password,
            )
            for place in located.places
        ]

    async def connect(self, make_protocol: Callable[[], P]) -> tuple[asyncio.Transport, P]:
        """Connect; authentication and the rest of the handshake are the protocol's.

        Raises:
            OSError: there is no connection, or the server's certificate is not trusted.
            RedisError: there is no master.
        """
        if self.finder is not None:
            return await self.finder.connect(self.authentication(), make_protocol)
        if self.unix_socket_path:
            loop = asyncio.get_running_loop()
            return await loop.create_unix_connection(make_protocol, self.unix_socket_path)
        return await self.dialer.connect(Server(self.host, self.port), make_protocol)


def redis_address(url: str, setting: str = "--redis-url") -> RedisAddress:
    """Return the address in a URL.

    Args:
        url: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.
        setting: names the setting in errors.

    Raises:
        SecretConfigError: a part of the URL is not allowed.
    """
    parts = parse_redis_url(setting, url)
    tls = make_tls_context(setting, parts.tls) if parts.tls is not None else None
    dialer = Dialer(tls, _FAMILIES[parts.family])
    finder: Sentinels | ClusterPlace | None = None
    if isinstance(parts, SentinelUrl):
        finder = _sentinels(parts, dialer)
    elif isinstance(parts, ClusterUrl):
        servers = tuple(Server(host, port) for host, port in parts.servers)
        first = authentication(parts.username, parts.password)
        finder = ClusterPlace(Cluster(servers, dialer, first), None)
    return RedisAddress(
        host=parts.host,
        port=parts.port,
        unix_socket_path=parts.unix_socket_path,
        dialer=dialer,
        username=parts.username,
        password=parts.password,
        database=parts.database,
        finder=finder,
    )


def _sentinels(parts: SentinelUrl, dialer: Dialer) -> Sentinels:
    located = SentinelPlaces(
        tuple(Server(host, port) for host, port in parts.sentinels),
        parts.sentinel_username,
        parts.sentinel_password,
    )
    return Sentinels(parts.service, located, dialer)
