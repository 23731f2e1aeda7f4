"""What all HTTP connections of a process share: routes, headers, timeouts, counters."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import time
from typing import Final, Protocol

from sse_node.config.sections import HttpSettings
from sse_node.http.backlog import Backlog, Holder
from sse_node.http.peer import peer_of
from sse_node.wire.http_head import Headers, Request, Response, http_date

_CLOSE: Final = (b"Connection", b"close")
_WITHOUT_CONTENT: Final = frozenset({204, 304})  # RFC 9110 §8.6: they have no Content-Length of 0
# Connections over the limit, for health checks while no idle one can make room: arbitrary, a third
# of the file descriptors that are not for clients.
_RESERVE: Final = 32
# Connections looked at to find an idle one, in 0.2 ms; busy ones are skipped the next time.
_LOOKED_AT: Final = 1000


class Connection(Holder, Protocol):
    """A connection as the site sees it.

    Attributes:
        deadline: when its client is too slow, in the event loop's time.
    """

    deadline: float

    @property
    def busy(self) -> bool:
        """Whether a request has begun and is not answered."""

    def close_if_idle(self) -> bool:
        """Close when no request has begun; return whether that was so."""

    def on_deadline(self) -> bool:
        """Answer or close, unless the client has made progress; return whether it was too slow."""

    def close(self) -> None:
        """Close in order; what has been written is still sent."""


class Upgrade(Protocol):
    """An answer that keeps the connection: what is opened on it."""

    def open(self, transport: asyncio.Transport, headers: Headers) -> None:
        """Take the transport over; write the response head, which has these headers."""


Answer = Response | Upgrade


@dataclass(frozen=True, slots=True)
class Route:
    """What answers a request.

    Attributes:
        handler: called with the whole request; returns the answer, or an awaitable of it. May
            raise RequestError.
        max_content_bytes: the most content that is accepted.
        has_reserve: it is answered where there is no room for other requests.
    """

    handler: Callable[[Request], Answer | Awaitable[Answer]]
    max_content_bytes: int = 64 * 1024
    has_reserve: bool = False


@dataclass(slots=True)
class HttpSite:
    """What all HTTP connections of a node share; lives as long as the node.

    Attributes:
        find_route: returns the route of a request whose head has arrived; must not raise.
        settings: the timeouts: for a head, from its first byte or the accept; for the content,
            from the end of the head; for keep-alive, from a response to the next request.
        room: returns how many more connections the process may have, streams included; a new one
            is counted already. Below zero it takes the place of an idle one.
        response_headers: returns the headers that every response to a request has; the request
            is None when its head could not be read.
        needs_peers: requests get the address of their client, which takes 0.5 us.
        draining: connections are closed after their answer.
        connections: all of them, the ones that have been idle for longest first.
        backlog: what they hold.
    """

    find_route: Callable[[Request], Route]
    response_headers: Callable[[Request | None], Headers]
    settings: HttpSettings
    room: Callable[[], int]
    needs_peers: bool = False
    draining: bool = field(init=False, default=False)
    connections: dict[Connection, None] = field(init=False, default_factory=dict)
    answered: dict[int, int] = field(init=False, default_factory=dict)
    refused_connections: int = field(init=False, default=0)
    replaced_connections: int = field(init=False, default=0)
    timed_out: int = field(init=False, default=0)
    backlog: Backlog = field(init=False)
    _none_left: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.backlog = Backlog(self.settings.http_limit_total)

    def add(self, connection: Connection) -> bool:
        """Add a new connection, or close it where there is no room even in the reserve.

        Returns:
            Whether it may ask for anything; if not, it is there for routes with a reserve.
        """
        self.connections[connection] = None
        if self.make_room(connection):
            return True
        if self.room() < -_RESERVE:
            self.refuse(connection)
        return False

    def make_room(self, newcomer: Connection) -> bool:
        """Return whether there is room, having closed idle connections where there was none."""
        if self.room() >= 0:
            return True
        for _ in range(min(_LOOKED_AT, len(self.connections))):
            connection = next(iter(self.connections))
            if connection is not newcomer and connection.close_if_idle():
                self.discard(connection)
                self.replaced_connections += 1
                if self.room() >= 0:
                    return True
            else:
                self.on_idle(connection)  # looked at again after all others
        return False

    def refuse(self, connection: Connection) -> None:
        """Close a connection for which there is no room."""
        self.refused_connections += 1
        connection.abort()

    def on_idle(self, connection: Connection) -> None:
        """Note that a connection has just become idle: it is the last to make room."""
        if connection in self.connections:
            del self.connections[connection]
            self.connections[connection] = None

    def route_of(self, request: Request, transport: asyncio.BaseTransport | None) -> Route:
        """Return the route of a request that has come over a connection."""
        if self.needs_peers:
            request.peer = peer_of(transport)
        return self.find_route(request)

    def close_overdue(self, now: float) -> None:
        """Close the connections whose deadline (event loop time, seconds) has passed."""
        self.backlog.look()
        for connection in [c for c in self.connections if c.deadline <= now]:
            self.timed_out += connection.on_deadline()

    async def wait_closed(self) -> None:
        """Wait until no connection is left."""
        while self.connections:
            self._none_left.clear()
            await self._none_left.wait()

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is closed, or a stream from now on."""
        self.connections.pop(connection, None)
        self.backlog.discard(connection)
        if not self.connections:
            self._none_left.set()

    def close_idle(self) -> None:
        """Close the connections that have no request in hand."""
        for connection in [c for c in self.connections if not c.busy]:
            connection.close()

    def count(self, response: Response) -> None:
        """Count a response by its status."""
        self.answered[response.status] = self.answered.get(response.status, 0) + 1

    def headers_of(
        self, response: Response, request: Request | None, *, closes: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """Return all headers of a response.

        Args:
            response: may have a Connection header of its own.
            request: None when it could not be read.
            closes: the connection is closed after it, as it is while draining.
        """
        headers = [
            (b"Date", http_date(int(time()))),
            *self.response_headers(request),
            *response.headers,
        ]
        if response.status not in _WITHOUT_CONTENT:
            headers.append((b"Content-Length", b"%d" % len(response.content)))
        if (closes or self.draining) and _CLOSE not in headers:
            headers.append(_CLOSE)
        return headers
