"""Keeps the subscription up: connects, backs off, subscribes again, lets the node catch up.

Live messages wait while the node reads what it missed from the log, and are released in order
after it; nothing is delivered between two subscriptions but what was caught up.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

from sse_node.errors import RedisError, reason_of
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.address import RedisAddress
from sse_node.redis.backoff import Backoff
from sse_node.redis.holding import Holding
from sse_node.redis.subscriber import Message, RedisSubscriberConnection

logger = logging.getLogger(__name__)

# To connect and to have the subscription confirmed; on one's own network this takes milliseconds.
_CONNECT_TIMEOUT_S = 2.0


class Subscription:
    """The subscription of a node over all its connections; lives as long as the node.

    Args:
        address: the server.
        name: what CLIENT LIST shows.
        channels: to subscribe to, by their plain names, which messages have too.
        on_batch: called with the messages of one read; must neither raise nor block.
        catch_up: awaited after every (re)subscription, while live messages wait. When it raises
            RedisError, the connection is closed and retried.
        ping_interval_s: of the subscriber connection.
        prefix: that the channels have on Redis.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        name: str,
        channels: Sequence[bytes],
        on_batch: Callable[[list[Message]], None],
        catch_up: Callable[[], Awaitable[None]],
        ping_interval_s: float,
        prefix: bytes = b"",
    ) -> None:
        self._address = address
        self._name = name
        self._prefix = prefix
        self._prefix_bytes = len(prefix)
        self._channels = [prefix + channel for channel in channels]
        self._holding = Holding(name, on_batch, catch_up)
        self._ping_interval_s = ping_interval_s
        self._subscriber: RedisSubscriberConnection | None = None
        self._task = BackgroundTask(self._run)
        self._backoff = Backoff(most_s=address.longest_wait_s)
        self._retry = asyncio.Event()
        self._waits = True
        self.up = asyncio.Event()
        self.subscriptions = 0
        self.failures = 0
        if address.finder is not None:
            address.finder.follow(self._on_new_master)

    def start(self) -> None:
        """Begin to connect; needs a running event loop."""
        self._task.start()

    async def shutdown(self) -> None:
        """End the subscription for good."""
        await self._task.shutdown()

    def reconnect(self, why: str) -> None:
        """Give the present connection up and make a new one at once."""
        if self._subscriber is not None:
            logger.warning("%s: rebuilding the connection: %s", self._name, why)
            self._backoff.reset()
            self._subscriber.end()

    def change_channels(self, channels: Sequence[bytes]) -> None:
        """Subscribe to other channels, over a new connection: the node then catches up."""
        self._channels = [self._prefix + channel for channel in channels]
        self.reconnect("the channels have changed")

    def wake(self) -> None:
        """Cut the waiting time short: somebody else has seen Redis answer."""
        self._retry.set()

    def _on_new_master(self) -> None:
        self.reconnect("Redis has a new master")
        self._waits = False
        self.wake()

    async def _run(self) -> None:
        while True:
            try:
                await self._live()
            except (OSError, UnicodeError, RedisError) as exc:  # UnicodeError: no host's name
                self._on_failure(exc)
            except Exception:
                logger.exception("%s: failed", self._name)
            finally:
                self._go_down()
            await self._pause()

    async def _pause(self) -> None:
        self._retry.clear()
        if self._waits:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._retry.wait(), self._backoff.next_s())
        self._waits = True

    def _on_failure(self, exc: Exception) -> None:
        self.failures += 1
        if self.failures == 1:  # once per outage
            logger.warning("%s: Redis is away: %s", self._name, reason_of(exc))

    async def _live(self) -> None:
        """One connection, from connecting to its end."""
        self._holding.begin()
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            subscriber = await self._connect()
            await subscriber.subscribed

        def check() -> None:
            if subscriber.closed.done():
                raise RedisError(subscriber.closed.result())

        await self._holding.end(check)
        self._go_up()
        raise RedisError(await subscriber.closed)

    async def _connect(self) -> RedisSubscriberConnection:
        def make_subscriber() -> RedisSubscriberConnection:
            self._subscriber = RedisSubscriberConnection(
                self._address,
                name=self._name,
                channels=self._channels,
                on_batch=self._receive,
                ping_interval_s=self._ping_interval_s,
            )
            # Nobody may be awaiting it when it fails.
            self._subscriber.subscribed.add_done_callback(lambda f: f.cancelled() or f.exception())
            return self._subscriber

        _, subscriber = await self._address.connect(make_subscriber)
        return subscriber

    def _receive(self, batch: list[Message]) -> None:
        if self._prefix_bytes:
            for message in batch:
                message[1] = message[1][self._prefix_bytes :]
        self._holding.receive(batch)

    def _go_up(self) -> None:
        logger.info("%s: up", self._name)
        self.subscriptions += 1
        self.failures = 0
        self._backoff.reset()
        self.up.set()

    def _go_down(self) -> None:
        self.up.clear()
        if self._subscriber is not None:
            self._subscriber.abort()
            self._subscriber = None
