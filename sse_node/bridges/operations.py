"""The listener of a bridge for operators: `/health*` and `/metrics`."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from sse_node.bridges.figures import Figures
from sse_node.config.bridges import BridgeSettings
from sse_node.config.hosts import ANY
from sse_node.config.sections import HttpSettings
from sse_node.errors import RequestError
from sse_node.http.connection import HttpConnection
from sse_node.http.cors import Cors
from sse_node.http.hosts import AllowedHosts
from sse_node.http.listener import tcp_listener
from sse_node.http.router import Resource, Router, general_headers
from sse_node.http.site import HttpSite
from sse_node.lifetimes.periodic import Periodic
from sse_node.wire.http_head import NO_STORE, Request, Response, json_response
from sse_node.wire.prometheus import CONTENT_TYPE, expose

_MAX_CONNECTIONS: Final = 32  # arbitrary; a scraper and a prober have one each
_TICK_S: Final = 0.5

logger = logging.getLogger(__name__)


class Operations:
    """What a bridge answers; lives as long as it.

    Args:
        figures: of the bridge.
    """

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def live(self, request: Request) -> Response:
        """Answer that the process serves."""
        figures = self._figures
        return json_response(
            200,
            {
                "status": "ok",
                "published": figures.published,
                "repeated": figures.repeated,
                "deadLetters": figures.bad.total(),
                "lag": sum(figures.lag.values()),
                "redisConnected": figures.redis_up,
                "brokerConnected": figures.broker_up,
            },
        )

    def ready(self, request: Request) -> Response:
        """Answer 503 while records are not published, with the reason."""
        if self._figures.obstacle:
            raise RequestError(503, f"not ready: {self._figures.obstacle}")
        if not self._figures.broker_up:
            raise RequestError(503, "not ready: the broker is away")
        return json_response(200, {"status": "ready"})

    def metrics(self, request: Request) -> Response:
        """Answer with the metrics in Prometheus' text format."""
        content = expose(self._figures.families())
        return Response(200, ((b"Content-Type", CONTENT_TYPE), NO_STORE), content)

    @contextlib.asynccontextmanager
    async def listening(self, settings: BridgeSettings, http: HttpSettings) -> AsyncIterator[None]:
        """Listen inside the block, where the settings give a port.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        if not settings.health_port:
            yield
            return
        router = Router(
            [
                Resource("/health", {"GET": self.live}),
                Resource("/health/live", {"GET": self.live}),
                Resource("/health/ready", {"GET": self.ready}),
                Resource("/metrics", {"GET": self.metrics}),
            ],
            Cors(()),
            AllowedHosts((ANY,)),
            general_headers("bridge"),
        )
        site = HttpSite(
            find_route=router.find,
            response_headers=router.response_headers,
            settings=http,
            room=lambda: _MAX_CONNECTIONS - len(site.connections),
        )
        listener = tcp_listener(
            settings.health_host,
            settings.health_port,
            user_timeout_ms=0,
            setting="--health-host, --health-port",
        )
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: HttpConnection(site), sock=listener)
        overdue = Periodic(_TICK_S, lambda: site.close_overdue(loop.time()))
        overdue.start()
        host, port = listener.getsockname()[:2]
        logger.info("listening on http://%s:%d", host, port)
        try:
            yield
        finally:
            overdue.shutdown()
            server.close()
            for connection in list(site.connections):
                connection.abort()
