"""Keeps one connection to a server up that carries the subscriptions of its shards."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

from sse_node.errors import RedisError, reason_of
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.address import RedisAddress
from sse_node.redis.backoff import Backoff
from sse_node.redis.shard_link import ShardLink
from sse_node.redis.shard_subscriber import ShardSubscriberConnection
from sse_node.redis.subscriber import Message
from sse_node.wire.resp import is_unavailable

# To connect and to be let in; on one's own network this takes milliseconds.
_CONNECT_TIMEOUT_S = 2.0
_ROUTE = tuple[Callable[[list[Message]], None], bytes]

logger = logging.getLogger(__name__)


class MasterLink:
    """The connection to one server, over all attempts; lives until its shards are elsewhere.

    Args:
        address: of the server.
        name: what CLIENT LIST shows.
        ping_interval_s: of the connection.
        on_refused: called with a shard that the server does not have, and its words; without it
            the connection is made again.
        on_failure: called after an attempt that failed.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        name: str,
        ping_interval_s: float,
        on_refused: Callable[[ShardLink, str], None] | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._name = name
        self._ping_interval_s = ping_interval_s
        self._on_refused = on_refused
        self._on_failure = on_failure
        self._links: list[ShardLink] = []
        self._routes: dict[bytes, _ROUTE] = {}
        self._connection: ShardSubscriberConnection | None = None
        self._is_open = False
        self._refusal = ""
        self._task = BackgroundTask(self._run)
        self._backoff = Backoff(most_s=address.longest_wait_s)
        self._retry = asyncio.Event()
        self._waits = True  # between two attempts
        if address.finder is not None:
            address.finder.follow(self._on_new_master)

    def __len__(self) -> int:
        return len(self._links)

    def start(self) -> None:
        """Begin to connect; needs a running event loop."""
        self._task.start()

    async def shutdown(self) -> None:
        """End the connection for good."""
        await self._task.shutdown()

    # Shards

    def add(self, link: ShardLink) -> None:
        """Carry a shard's subscription from now on, or subscribe to it again."""
        if link not in self._links:
            self._links.append(link)
            link.carrier = self
        if self._is_open:
            self._subscribe(link)

    def remove(self, link: ShardLink) -> None:
        """Carry a shard's subscription no more."""
        if link in self._links:
            self._links.remove(link)
            was_subscribed = self._forget(link)
            if self._is_open and self._connection is not None and was_subscribed:
                self._connection.unsubscribe(tuple(link.routes))
            link.go_down()
            link.carrier = None

    def _subscribe(self, link: ShardLink) -> None:
        assert self._connection is not None
        self._forget(link)
        shard = link.begin()
        self._routes.update((name, (link.receive, plain)) for name, plain in link.routes.items())
        self._connection.subscribe(shard)

    def _forget(self, link: ShardLink) -> bool:
        """Pass on no more messages of a shard; return whether it was subscribed to."""
        kept = {name: route for name, route in self._routes.items() if route[0] != link.receive}
        was_there = len(kept) < len(self._routes)
        self._routes = kept
        return was_there

    def _receive(self, batch: list[Message]) -> None:
        """THE PER-EVENT PATH: give each shard its messages of one read, by their plain channels."""
        routes = self._routes
        run: list[Message] = []
        last = plain = b""
        take: Callable[[list[Message]], None] | None = None
        for message in batch:
            if message[1] != last:
                last = message[1]
                taker, plain = routes.get(last, (None, b""))
                if taker is not take:
                    if take is not None:
                        take(run)
                    run, take = [], taker
            message[1] = plain
            run.append(message)
        if take is not None:
            take(run)

    # The connection

    async def read_out(self) -> None:
        """Wait until everything that has arrived is given to its shard."""
        if self._connection is not None:
            await self._connection.read_out()

    def reconnect(self, why: str) -> None:
        """Give the present connection up and make a new one at once."""
        if self._connection is not None and self._is_open:
            logger.warning("%s: rebuilding the connection: %s", self._name, why)
            self._is_open = False
            self._backoff.reset()
            self._connection.end()

    def wake(self) -> None:
        """Cut the waiting time short: somebody else has seen Redis answer."""
        self._retry.set()

    def _on_new_master(self) -> None:
        self.reconnect("Redis has a new master")
        self._waits = False
        self.wake()

    def on_refused(self, link: ShardLink, why: str) -> None:
        """The server does not have a shard; where no other one has it, try again."""
        if self._on_refused is not None:
            self._on_refused(link, why)
            return
        hint = "; several shards need Redis 7.0 or Valkey" if is_unavailable(why) else ""
        self._refusal = f"Redis refused the subscription of {link}: {why}{hint}"
        if self._connection is not None:
            self._is_open = False
            self._connection.abort()

    async def _run(self) -> None:
        while True:
            try:
                await self._live()
            except (OSError, UnicodeError, RedisError) as exc:  # UnicodeError: no host's name
                self._go_down(reason_of(exc))
            except Exception:
                logger.exception("%s: failed", self._name)
            finally:
                self._go_down("")
            self._retry.clear()
            if self._waits:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._retry.wait(), self._backoff.next_s())
            self._waits = True

    async def _live(self) -> None:
        """One connection, from connecting to its end."""
        self._refusal = ""
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            connection = await self._connect()
            await connection.subscribed
        self._is_open = True
        for link in self._links:
            self._subscribe(link)
        reason = await connection.closed
        raise RedisError(self._refusal or reason)

    async def _connect(self) -> ShardSubscriberConnection:
        def make_connection() -> ShardSubscriberConnection:
            self._connection = ShardSubscriberConnection(
                self._address,
                name=self._name,
                on_batch=self._receive,
                ping_interval_s=self._ping_interval_s,
            )
            # Nobody may be awaiting it when it fails.
            self._connection.subscribed.add_done_callback(lambda f: f.cancelled() or f.exception())
            return self._connection

        _, connection = await self._address.connect(make_connection)
        return connection

    def _go_down(self, why: str) -> None:
        self._is_open = False
        self._routes = {}
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        links: Iterable[ShardLink] = tuple(self._links)
        for link in links:
            if link.up.is_set():
                self._backoff.reset()
            link.go_down()
            if why:
                link.on_failure(why)
        if why:
            self._on_failure()
