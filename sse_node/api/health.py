"""The resources `/health*`, `/status` and `/metrics`."""

import os
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, Protocol

from sse_node.errors import RequestError
from sse_node.redis.server_checks import ServerChecks
from sse_node.streams.admission import LAG, MEMORY
from sse_node.streams.registry import Streams
from sse_node.wire.http_head import NO_STORE, Request, Response, json_response
from sse_node.wire.prometheus import CONTENT_TYPE

_OVERLOADS: Final = {
    MEMORY: "memory is over --memory-limit",
    LAG: "the event loop is later than --lag-limit",
}


class Users(Protocol):
    """Knows the users with a stream."""

    @property
    def connected_users(self) -> int:
        """How many there are."""


class Health:
    """The node's own resources; lives as long as the node.

    Args:
        server_id: of this node.
        users: for the number of connected users.
        streams: for the number of streams.
        server_checks: what is wrong with the Redis server.
        redis_usable: returns whether events can be published and are received.
        draining: returns whether this process is draining.
        leaving: returns whether the whole node stops, with no replacement for this process.
        exposition: returns the metrics in Prometheus' text format.

    Attributes:
        shows_figures: whether `/health` has those of `/status`, for every caller.
        shard_figures: returns what `/status` and `/health/ready` say of several shards.
    """

    def __init__(
        self,
        server_id: str,
        users: Users,
        streams: Streams,
        server_checks: ServerChecks,
        *,
        redis_usable: Callable[[], bool],
        draining: Callable[[], bool],
        leaving: Callable[[], bool],
        exposition: Callable[[], bytes],
    ) -> None:
        self._server_id = server_id
        self._users = users
        self._streams = streams
        self._server_checks = server_checks
        self._redis_usable = redis_usable
        self._draining = draining
        self._leaving = leaving
        self._exposition = exposition
        self.shows_figures = True
        self.shard_figures: Callable[[], dict[str, Any]] = dict
        self._started = monotonic()

    def health(self, request: Request) -> Response:
        """Answer `GET /health`: 200 while the process serves; figures are for observers only."""
        warnings = [*self._server_checks.warnings.values()]
        figures = self.figures() if self.shows_figures else {"serverId": self._server_id}
        return json_response(200, {"status": "ok", **figures, "warnings": warnings})

    def live(self, request: Request) -> Response:
        """Answer `GET /health/live`: 200 without a look at Redis."""
        return json_response(200, {"status": "ok", "serverId": self._server_id})

    def ready(self, request: Request) -> Response:
        """Answer `GET /health/ready`: 503 while new streams should go to another node."""
        if self._leaving():
            raise RequestError(503, "not ready: the node is draining")
        if not self._redis_usable():
            raise RequestError(503, "not ready: Redis is not usable")
        if self._server_checks.obstacle:
            raise RequestError(503, f"not ready: {self._server_checks.obstacle}")
        if self._streams.full:
            raise RequestError(503, "not ready: the node holds all the streams it may")
        if overload := self._streams.overload:
            raise RequestError(503, f"not ready: {_OVERLOADS[overload]}")
        answer = {"status": "ready", "serverId": self._server_id, **self.shard_figures()}
        return json_response(200, answer)

    def status(self, request: Request) -> Response:
        """Answer `GET /status`."""
        return json_response(200, self.figures())

    def metrics(self, request: Request) -> Response:
        """Answer `GET /metrics`."""
        return Response(200, ((b"Content-Type", CONTENT_TYPE), NO_STORE), self._exposition())

    def figures(self) -> dict[str, Any]:
        """Return the status of this process."""
        return {
            "serverId": self._server_id,
            "pid": os.getpid(),
            "connectedUsers": self._users.connected_users,
            "activeStreams": len(self._streams),
            "maxStreams": self._streams.max_streams,
            "redisConnected": self._redis_usable(),
            "draining": self._draining(),
            "uptime_s": round(monotonic() - self._started, 3),
            **self.shard_figures(),
        }
