"""What the deliverers of all shards share: requests in flight, receivers' hosts, and counts."""

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
        self._followers: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def room(self) -> int:
        """How many webhooks more may be delivered to."""
        return _MOST - len(self._tasks)

    @property
    def has_room_for_doubtful(self) -> bool:
        """Whether one more doubtful one may be tried: those that work always find room."""
        return self.doubtful < _MOST_DOUBTFUL

    def follow(self, on_room: Callable[[], None]) -> None:
        """Call a function whenever there is room again; it must neither raise nor block."""
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
        self._tasks.discard(task)
        for on_room in self._followers:
            on_room()

    async def wait(self, timeout_s: float) -> None:
        """Wait until nothing is in flight, so long at the most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def shutdown(self) -> None:
        """Stop at once; what is in flight is sent again by another process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
