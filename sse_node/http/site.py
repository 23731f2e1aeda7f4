"""What all HTTP connections of a process share: routes, headers, timeouts, counters."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import time
from typing import Protocol

from sse_node.config.sections import HttpSettings
from sse_node.http.peer import peer_of
from sse_node.wire.http_head import Headers, Request, Response, http_date


class Connection(Protocol):
    """A connection as the site sees it.

    Attributes:
        deadline: when its client is too slow, in the event loop's time.
    """

    deadline: float

    @property
    def busy(self) -> bool:
        """Whether a request has begun and is not answered."""

    def on_deadline(self) -> bool:
        """Answer or close, unless the client has made progress; return whether it was too slow."""

    def close(self) -> None:
        """Close in order; what has been written is still sent."""

    def abort(self) -> None:
        """Close at once."""


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
    """

    handler: Callable[[Request], Answer | Awaitable[Answer]]
    max_content_bytes: int = 64 * 1024


@dataclass(slots=True)
class HttpSite:
    """What all HTTP connections of a node share; lives as long as the node.

    Attributes:
        find_route: returns the route of a request whose head has arrived; must not raise.
        settings: the timeouts: for a head, from its first byte or the accept; for the content,
            from the end of the head; for keep-alive, from a response to the next request.
        has_room: returns whether the process may accept one more connection, streams included;
            if not, new connections are closed at once.
        response_headers: returns the headers that every response to a request has; the request
            is None when its head could not be read.
        needs_peers: requests get the address of their client, which takes 0.5 us.
        draining: connections are closed after their answer.
    """

    find_route: Callable[[Request], Route]
    response_headers: Callable[[Request | None], Headers]
    settings: HttpSettings
    has_room: Callable[[], bool]
    needs_peers: bool = False
    draining: bool = field(init=False, default=False)
    connections: set[Connection] = field(init=False, default_factory=set)
    answered: dict[int, int] = field(init=False, default_factory=dict)
    refused_connections: int = field(init=False, default=0)
    timed_out: int = field(init=False, default=0)
    _none_left: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def route_of(self, request: Request, transport: asyncio.BaseTransport | None) -> Route:
        """Return the route of a request that has come over a connection."""
        if self.needs_peers:
            request.peer = peer_of(transport)
        return self.find_route(request)

    def close_overdue(self, now: float) -> None:
        """Close the connections whose deadline (event loop time, seconds) has passed."""
        for connection in [c for c in self.connections if c.deadline <= now]:
            self.timed_out += connection.on_deadline()

    async def wait_closed(self) -> None:
        """Wait until no connection is left."""
        while self.connections:
            self._none_left.clear()
            await self._none_left.wait()

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is closed, or a stream from now on."""
        self.connections.discard(connection)
        if not self.connections:
            self._none_left.set()

    def close_idle(self) -> None:
        """Close the connections that have no request in hand."""
        for connection in [c for c in self.connections if not c.busy]:
            connection.close()

    def count(self, response: Response) -> None:
        """Count a response by its status."""
        self.answered[response.status] = self.answered.get(response.status, 0) + 1

    def headers_of(self, response: Response, request: Request | None) -> list[tuple[bytes, bytes]]:
        """Return all headers of a response but `Connection`; None for an unreadable request."""
        headers = [
            (b"Date", http_date(int(time()))),
            *self.response_headers(request),
            *response.headers,
        ]
        if response.status != 204:
            headers.append((b"Content-Length", b"%d" % len(response.content)))
        return headers
