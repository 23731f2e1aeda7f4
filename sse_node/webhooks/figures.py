"""Health and metrics of the process that delivers webhooks."""

import asyncio
import contextlib
from collections.abc import Iterator
from time import time
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sse_node.errors import RedisError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.commands import RedisCommands
from sse_node.redis.keys import Keys
from sse_node.webhooks.schedule import Outcome
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.prometheus import CONTENT_TYPE, expose

if TYPE_CHECKING:
    from sse_node.webhooks.deliverer import Deliverer
    from sse_node.webhooks.dispatcher import Dispatcher

_LOOK_S: Final = 2.0


class Figures:
    """Answers `/health` and `/metrics`; lives as long as the process.

    Args:
        commands: the process's connections to Redis.
        keys: of the namespace.
        dispatcher: whose numbers are shown.
        deliverer: whose numbers are shown.
    """

    def __init__(
        self, commands: RedisCommands, keys: Keys, dispatcher: "Dispatcher", deliverer: "Deliverer"
    ) -> None:
        self._commands = commands
        self._keys = keys
        self._dispatcher = dispatcher
        self._deliverer = deliverer
        self._task = BackgroundTask(self._look_again)
        self._waiting_bytes = self._due = self._webhooks = 0
        self._lag_s = 0.0
        self.draining = False

    def start(self) -> None:
        """Begin to look at Redis; needs a running event loop."""
        self._task.start()

    async def shutdown(self) -> None:
        """Stop looking."""
        await self._task.shutdown()

    async def _look_again(self) -> None:
        while True:
            with contextlib.suppress(RedisError):  # logged, and shown by `sse_node_redis_up`
                await self._look()
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        execute = self._commands.execute
        self._webhooks = await execute("ZCARD", self._keys.webhooks)
        self._due = await execute("ZCARD", self._keys.webhooks_due)
        waiting, position = await execute("HMGET", self._keys.webhooks_state, "bytes", "position")
        self._waiting_bytes = int(waiting or 0)
        after = b"(" + position if position else b"-"
        unread = await execute("XRANGE", self._keys.log, after, "+", "COUNT", 1)
        is_behind = bool(unread) and self._webhooks > 0
        self._lag_s = max(0.0, time() - int(unread[0][0].split(b"-")[0]) / 1000) if is_behind else 0

    def live(self, request: Request) -> Response:
        """Answer `GET /health/live`."""
        return json_response(200, {"status": "ok"})

    def ready(self, request: Request) -> Response:
        """Answer `GET /health` and `GET /health/ready`: 503 while nothing is delivered."""
        status = "draining" if self.draining else "ready" if self._commands.up else "redis-away"
        return json_response(200 if status == "ready" else 503, {"status": status})

    def metrics(self, request: Request) -> Response:
        """Answer `GET /metrics`."""
        return Response(200, ((b"Content-Type", CONTENT_TYPE),), expose(self.families()))

    def families(self) -> Iterator[Metric]:
        """Yield every metric family with its present values."""
        messages = CounterMetricFamily(
            "sse_node_webhook_messages", "Attempts by their outcome.", labels=["outcome"]
        )
        for outcome in Outcome:
            messages.add_metric([outcome.value], self._deliverer.outcomes[outcome])
        yield messages
        counters = {
            "entries_read": ("Entries of the log that were read.", self._dispatcher.dispatched),
            "queued": ("Messages queued, or counted as a gap.", self._dispatcher.queued),
            "log_gaps": ("Times that the log lost unread entries.", self._dispatcher.gaps),
            "refused": ("Attempts to forbidden or unknown places.", self._deliverer.refused),
        }
        gauges = {
            "in_flight": ("Webhooks that are delivered to.", self._deliverer.in_flight),
            "broken_hosts": ("Hosts that do not answer.", self._deliverer.hosts.broken),
            "waiting_bytes": ("Bytes of messages that wait, in Redis.", self._waiting_bytes),
            "due": ("Webhooks with something to send, in Redis.", self._due),
            "lag_seconds": ("Age of the oldest entry that was not read.", self._lag_s),
        }
        for name, (about, value) in counters.items():
            yield CounterMetricFamily(f"sse_node_webhook_{name}", about, value=value)
        for name, (about, level) in gauges.items():
            yield GaugeMetricFamily(f"sse_node_webhook_{name}", about, value=level)
        yield GaugeMetricFamily("sse_node_webhooks", "Webhooks, in Redis.", value=self._webhooks)
        yield GaugeMetricFamily(
            "sse_node_redis_up", "Whether Redis answers.", value=int(self._commands.up)
        )
