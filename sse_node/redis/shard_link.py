"""The subscription of one shard: holds live messages while this shard catches up.

Shards share the connection to their server. Each of them catches up for itself, so that one that
cannot leaves the others alone.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from sse_node.errors import RedisError, reason_of
from sse_node.redis.backoff import Backoff
from sse_node.redis.holding import Holding
from sse_node.redis.shard_subscriber import ShardChannels
from sse_node.redis.subscriber import Message

_LONGEST_WAIT_S = 1.0  # arbitrary: the subscription stands, only the log cannot be read

logger = logging.getLogger(__name__)


class Carrier(Protocol):
    """The connection that carries shards."""

    def reconnect(self, why: str) -> None:
        """Give the present connection up and make a new one at once."""

    def wake(self) -> None:
        """Cut the waiting time short."""

    def on_refused(self, link: "ShardLink", why: str) -> None:
        """The server does not have this shard, or not any more; why: in its words."""


class ShardLink:
    """A shard's subscription over all its connections; lives as long as the node.

    Args:
        name: in the log.
        channels: by their plain names, which messages have too.
        prefix: that they have on Redis.
        on_batch: called with this shard's messages of one read; must neither raise nor block.
        catch_up: awaited after every (re)subscription, while live messages wait; again as long as
            it raises RedisError.
        sharers: how many shards there are.

    Attributes:
        up: set while it is subscribed and has caught up.
        subscriptions: how often that has become so.
        failures: attempts since it was up the last time.
        carrier: the connection that carries it at the moment; None for none.
    """

    def __init__(
        self,
        name: str,
        channels: Sequence[bytes],
        *,
        prefix: bytes,
        on_batch: Callable[[list[Message]], None],
        catch_up: Callable[[], Awaitable[None]],
        sharers: int,
    ) -> None:
        self._name = name
        self._prefix = prefix
        self._holding = Holding(name, on_batch, catch_up, sharers)
        self.receive = self._holding.receive
        self._catching_up: asyncio.Task[None] | None = None
        self._retry = asyncio.Event()
        self.routes: dict[bytes, bytes] = {}
        """The plain name of each channel by that on Redis."""
        self._set_channels(channels)
        self.carrier: Carrier | None = None
        self.up = asyncio.Event()
        self.subscriptions = 0
        self.failures = 0

    def __str__(self) -> str:
        return self._name

    def _set_channels(self, channels: Sequence[bytes]) -> None:
        self.routes = {self._prefix + channel: channel for channel in channels}

    # Asked for by the node

    def reconnect(self, why: str) -> None:
        """Subscribe again, over a new connection."""
        if self.carrier is not None:
            self.carrier.reconnect(f"{self._name}: {why}")

    def wake(self) -> None:
        """Cut the waiting time short: somebody else has seen Redis answer."""
        self._retry.set()
        if self.carrier is not None:
            self.carrier.wake()

    def change_channels(self, channels: Sequence[bytes]) -> None:
        """Subscribe to other channels, by their plain names, and catch up."""
        self._set_channels(channels)
        self.reconnect("the channels have changed")

    # Asked for by the connection

    def begin(self) -> ShardChannels:
        """Hold messages from now on; return what to subscribe to."""
        self.go_down()
        self._holding.begin()
        return ShardChannels(tuple(self.routes), self._on_subscribed, self._on_lost)

    def go_down(self) -> None:
        """The subscription is over."""
        self.up.clear()
        if self._catching_up is not None:
            self._catching_up.cancel()
            self._catching_up = None

    def on_failure(self, why: str) -> None:
        """An attempt has failed."""
        self.failures += 1
        if self.failures == 1:  # once per outage
            logger.warning("%s: Redis is away: %s", self._name, why)

    def _on_lost(self, why: str) -> None:
        self.go_down()
        if self.carrier is not None:
            self.carrier.on_refused(self, why)

    def _on_subscribed(self) -> None:
        self._catching_up = asyncio.get_running_loop().create_task(self._catch_up())

    async def _catch_up(self) -> None:
        backoff = Backoff(most_s=_LONGEST_WAIT_S)
        while True:
            try:
                await self._holding.end()
            except RedisError as exc:
                self.on_failure(reason_of(exc))
            except Exception:
                logger.exception("%s: failed", self._name)
            else:
                self._go_up()
                return
            self._retry.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._retry.wait(), backoff.next_s())

    def _go_up(self) -> None:
        logger.log(logging.INFO if self.failures else logging.DEBUG, "%s: up", self._name)
        self.subscriptions += 1
        self.failures = 0
        self.up.set()
