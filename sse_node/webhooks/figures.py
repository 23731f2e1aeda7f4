"""Health and metrics of the process that delivers webhooks."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from time import time
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sse_node.errors import RedisError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.event_log import EventLog
from sse_node.webhooks.in_flight import InFlight
from sse_node.webhooks.schedule import Outcome
from sse_node.wire.http_head import Request, Response, json_response
from sse_node.wire.prometheus import CONTENT_TYPE, expose

if TYPE_CHECKING:
    from sse_node.webhooks.dispatcher import Dispatcher

_LOOK_S: Final = 2.0


class _Seen(NamedTuple):
    """What Redis has of one shard."""

    webhooks: int
    due: int
    waiting_bytes: int
    lag_s: float


class Figures:
    """Answers `/health` and `/metrics`; lives as long as the process.

    Args:
        in_flight: of all shards.
        dispatchers: those of all shards, once Redis has said how many there are.

    Attributes:
        draining: nothing more is begun.
    """

    def __init__(self, in_flight: InFlight, dispatchers: Sequence["Dispatcher"]) -> None:
        self._in_flight = in_flight
        self._dispatchers = dispatchers
        self._task = BackgroundTask(self._look_again)
        self._seen: dict[EventLog, _Seen] = {}
        self._logs: Iterable[EventLog] = ()
        self.draining = False

    def start(self, logs: Iterable[EventLog]) -> None:
        """Begin to look at the logs of all shards; needs a running event loop."""
        self._logs = logs
        self._task.start()

    async def shutdown(self) -> None:
        """Stop looking."""
        await self._task.shutdown()

    async def _look_again(self) -> None:
        while True:
            await asyncio.gather(*(self._look_at(log) for log in self._logs))
            await asyncio.sleep(_LOOK_S)

    async def _look_at(self, log: EventLog) -> None:
        with contextlib.suppress(RedisError):  # logged, and shown by `sse_node_redis_up`
            self._seen[log] = await _look(log)

    def _ups(self) -> list[bool]:
        """Return for each shard whether Redis answers: one that is away leaves the others alone."""
        return [log.commands.up for log in self._logs]

    def live(self, request: Request) -> Response:
        """Answer `GET /health/live`."""
        return json_response(200, {"status": "ok"})

    def ready(self, request: Request) -> Response:
        """Answer `GET /health` and `GET /health/ready`: 503 while nothing is delivered."""
        status = "draining" if self.draining else "ready" if any(self._ups()) else "redis-away"
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
            messages.add_metric([outcome.value], self._in_flight.outcomes[outcome])
        yield messages
        dispatchers = self._dispatchers
        seen = self._seen.values()
        read = sum(each.dispatched for each in dispatchers)
        queued = sum(each.queued for each in dispatchers)
        gaps = sum(each.gaps for each in dispatchers)
        waiting_bytes, due = (
            sum(each.waiting_bytes for each in seen),
            sum(each.due for each in seen),
        )
        lag_s = max((each.lag_s for each in seen), default=0.0)
        counters = {
            "entries_read": ("Entries of the log that were read.", read),
            "queued": ("Messages queued, or counted as a gap.", queued),
            "log_gaps": ("Times that the log lost unread entries.", gaps),
            "refused": ("Attempts to forbidden or unknown places.", self._in_flight.refused),
        }
        gauges = {
            "in_flight": ("Webhooks that are delivered to.", len(self._in_flight)),
            "broken_hosts": ("Hosts that do not answer.", self._in_flight.hosts.broken),
            "waiting_bytes": ("Bytes of messages that wait, in Redis.", waiting_bytes),
            "due": ("Webhooks with something to send, in Redis.", due),
            "lag_seconds": ("Age of the oldest entry that was not read.", lag_s),
        }
        for name, (about, value) in counters.items():
            yield CounterMetricFamily(f"sse_node_webhook_{name}", about, value=value)
        for name, (about, level) in gauges.items():
            yield GaugeMetricFamily(f"sse_node_webhook_{name}", about, value=level)
        count = sum(each.webhooks for each in seen)
        yield GaugeMetricFamily("sse_node_webhooks", "Webhooks, in Redis.", value=count)
        ups = self._ups()
        yield GaugeMetricFamily(
            "sse_node_redis_up",
            "Whether Redis answers, for every shard.",
            value=int(bool(ups) and all(ups)),
        )


async def _look(log: EventLog) -> _Seen:
    execute, keys = log.commands.execute, log.keys
    webhooks = await execute("ZCARD", keys.webhooks)
    due = await execute("ZCARD", keys.webhooks_due)
    waiting, position = await execute("HMGET", keys.webhooks_state, "bytes", "position")
    after = b"(" + position if position else b"-"
    unread = await execute("XRANGE", keys.log, after, "+", "COUNT", 1)
    is_behind = bool(unread) and webhooks > 0
    lag_s = max(0.0, time() - int(unread[0][0].split(b"-")[0]) / 1000) if is_behind else 0.0
    return _Seen(webhooks, due, int(waiting or 0), lag_s)
