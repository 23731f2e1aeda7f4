"""What the deliverers of all shards share while requests are in flight."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

from sse_node.webhooks.hosts import Hosts
from sse_node.webhooks.schedule import Outcome

_MOST: Final = 256  # arbitrary: a quarter of the usual limit of open files
_MOST_DOUBTFUL: Final = _MOST // 2


class InFlight:
    """Webhooks that are being delivered to; lives as long as the process.

    Args:
        hosts: what is known of the receivers' hosts.

    Attributes:
        hosts: as given.
        doubtful: webhooks in flight whose last attempt failed, or whose host has not answered yet.
        outcomes: messages by what became of them.
        refused: attempts for which no connection was allowed.
    """

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.doubtful = 0
        self.outcomes: Counter[Outcome] = Counter()
        self.refused = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._reserved = 0
        self._followers: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def reserve(self, most: int) -> int:
        """Keep room for a claim of up to `most` webhooks; return for how many there is room."""
        room = min(most, max(0, _MOST - len(self._tasks) - self._reserved))
        self._reserved += room
        return room

    def claimed(self, room: int) -> None:
        """Give back the room that `reserve` has returned, when the claim is over."""
        self._reserved -= room

    @property
    def has_room_for_doubtful(self) -> bool:
        """Whether another doubtful webhook may be tried; others always find room beside these."""
        return self.doubtful < _MOST_DOUBTFUL

    def follow(self, on_room: Callable[[], None]) -> None:
        """Call a function when there is room after there was none; it must not raise or block."""
        self._followers.append(on_room)

    def add(
        self,
        delivery: Coroutine[Any, Any, None],
        on_done: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """Deliver to a webhook, while others are delivered to."""
        task = asyncio.get_running_loop().create_task(delivery)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        task.add_done_callback(on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        was_full = len(self._tasks) + self._reserved >= _MOST
        self._tasks.discard(task)
        if was_full:
            for on_room in self._followers:
                on_room()

    async def wait(self, timeout_s: float) -> None:
        """Wait until nothing is in flight, for `timeout_s` at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def shutdown(self) -> None:
        """Stop at once; what is in flight is sent again by another process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
