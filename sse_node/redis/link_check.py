"""End-to-end check of the Redis link: a probe through the write path, the log's tail and ours.

Every half interval the node writes a probe and publishes it to itself. A probe that fails or is
not heard, or a position that has not reached the tail the probe before saw, is a miss; two misses
in a row and the link is rebuilt, which makes it catch up.
"""

import asyncio
import logging
from collections.abc import Callable

from sse_node.delivery.history import History
from sse_node.errors import RedisError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.event_log import EventLog
from sse_node.redis.link import Link
from sse_node.redis.namesakes import Namesakes

_MISSES = 2

logger = logging.getLogger(__name__)


class LinkCheck:
    """The link check of one node; lives as long as it.

    Args:
        log: probes go through its script.
        history: its position is the node's.
        link: rebuilt when it is silent, hurried when Redis answers again.
        server_id: names the probe's channel.
        interval_s: a dead link is found within twice this time.
        on_health: called after every probe with whether Redis took it.
        namesakes: hears the probes of other processes with the same name.
    """

    def __init__(
        self,
        log: EventLog,
        history: History,
        link: Link,
        *,
        server_id: str,
        interval_s: float,
        on_health: Callable[[bool], None],
        namesakes: Namesakes,
    ) -> None:
        self._log = log
        self._history = history
        self._link = link
        self._server_id = server_id
        self._interval_s = interval_s
        self._on_health = on_health
        self._namesakes = namesakes
        self._task = BackgroundTask(self._run)
        self._number = 0
        self._heard = 0
        self._tail = 0
        self.misses = 0
        self.rebuilds = 0

    def start(self) -> None:
        """Start to check; needs a running event loop."""
        self._task.start()

    async def shutdown(self) -> None:
        """Stop checking."""
        await self._task.shutdown()

    def on_probe(self, payload: bytes) -> None:
        """A message has arrived on this node's probe channel.

        Probes of another process with the same name prove nothing.
        """
        number, _, sender = payload.partition(b" ")
        if sender != self._namesakes.own:
            self._namesakes.hear(sender)
        elif number == b"%d" % self._number:
            self._heard = self._number

    async def _run(self) -> None:
        while True:
            try:
                await self._probe()
            except Exception:
                logger.exception("the link check failed")
            await asyncio.sleep(self._interval_s / 2)

    async def _probe(self) -> None:
        up = self._link.up.is_set()
        position = self._history.position
        is_heard = self._heard == self._number
        if up and self._number:
            in_time = is_heard and position >= self._tail
            self.misses = 0 if in_time else self.misses + 1
        self._number += 1
        try:
            payload = b"%d %b" % (self._number, self._namesakes.own)
            self._tail, holds = await self._log.probe(self._server_id, payload, position)
            rollback = await self._log.rollback()
        except RedisError:
            self._on_health(False)
        else:
            self._on_health(True)
            self._link.wake()
            if up and not holds:
                self._rebuild("the log does not hold this node's position")
                return
            if up and rollback > self._history.rollback:
                self._rebuild("another node has found that the log was rolled back")
                return
        if self.misses >= _MISSES:
            self._rebuild(
                "the log has entries that were not heard; have all nodes the same --channels?"
                if is_heard
                else f"{_MISSES} probes were not heard in time"
            )

    def _rebuild(self, why: str) -> None:
        self.misses = 0
        self.rebuilds += 1
        self._link.reconnect(why)
