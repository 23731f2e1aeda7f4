"""Live messages wait while a node reads what it missed from the log, and are released after it."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from sse_node.redis.subscriber import Message

# Of payloads that arrive while the node catches up; with more of them it starts again.
_MAX_HELD_BYTES = 64 * 1024 * 1024
_BATCHES_AT_ONCE = 20  # arbitrary: one read is a batch, of 256 KiB at most

logger = logging.getLogger(__name__)


class Holding:
    """What waits for one subscription to catch up; lives as long as the subscription.

    Args:
        name: in the log.
        on_batch: called with the messages of one read, in order; must neither raise nor block.
        catch_up: reads what was missed.
        sharers: subscriptions that share the limit of what waits.
    """

    def __init__(
        self,
        name: str,
        on_batch: Callable[[list[Message]], None],
        catch_up: Callable[[], Awaitable[None]],
        sharers: int = 1,
    ) -> None:
        self._name = name
        self._on_batch = on_batch
        self._catch_up = catch_up
        self._sharers = sharers
        self._held: deque[list[Message]] = deque()
        self._held_bytes = 0
        self._is_holding = True
        self._overflows = 0

    def begin(self) -> None:
        """Hold from now on; what has waited before is dropped, because the log has it."""
        self._is_holding = True
        self._drop()

    def receive(self, batch: list[Message]) -> None:
        """Take the messages of one read: hold them, or pass them on."""
        if not self._is_holding:
            self._on_batch(batch)
            return
        self._held.append(batch)
        self._held_bytes += _bytes_of(batch)
        # The log has them, except those without an id.
        if self._held_bytes > _MAX_HELD_BYTES // self._sharers:
            self._drop()
            self._overflows += 1

    async def end(self, check: Callable[[], None] = lambda: None) -> None:
        """Catch up, then deliver what arrived meanwhile, until nothing is held any more.

        Args:
            check: called after each catch-up; raises when the subscription is over.

        Raises:
            RedisError: the log cannot be read; messages are still held.
        """
        while self._is_holding:
            overflows = self._overflows
            await self._catch_up()
            check()
            await self._release(overflows)
            if overflows == self._overflows:
                self._is_holding = False
            else:
                logger.warning("%s: too much arrived meanwhile; catching up again", self._name)

    async def _release(self, overflows: int) -> None:
        released = 0
        while self._held and overflows == self._overflows:
            batch = self._held.popleft()
            self._held_bytes -= _bytes_of(batch)
            self._on_batch(batch)
            released += 1
            if released % _BATCHES_AT_ONCE == 0:
                await asyncio.sleep(0)  # the pings of the streams have their turn

    def _drop(self) -> None:
        self._held.clear()
        self._held_bytes = 0


def _bytes_of(batch: list[Message]) -> int:
    return sum(len(message[2]) for message in batch)
