"""Lanes of requests: shares of the connections, so that no kind of request waits for another.

As many requests of a lane use Redis at once as it has connections. Further ones wait in order,
bounded in time and number. The node's own commands (link check, catch-up, replays, jobs) are few
and have no lane: the lanes leave connections for them.
"""

import asyncio
from typing import Final

from sse_node.errors import RedisBusyError

# Redis and the event loop take 0.3 ms for a short command: more would not be served in time.
_MAX_WAITING: Final = 4096


class Lane:
    """The requests of one kind, `async with` it; lives as long as the node's connections.

    Args:
        kind: of the requests, for the message.
        connections: requests that may use Redis at once.
        wait_s: the most that a request waits for its turn.

    Attributes:
        refused: requests that did not get their turn.

    Raises:
        RedisBusyError: the turn has not come in time, or too many requests wait.
    """

    def __init__(self, kind: str, connections: int, wait_s: float) -> None:
        self._kind = kind
        self._connections = connections
        self._wait_s = wait_s
        self._turn = asyncio.Semaphore(connections)
        self._waiting = 0
        self.refused = 0

    async def __aenter__(self) -> None:
        if not self._turn.locked():
            await self._turn.acquire()  # at once
        elif self._waiting >= _MAX_WAITING:
            raise self._busy()
        else:
            await self._wait()

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turn.acquire()
        except TimeoutError:
            raise self._busy() from None
        finally:
            self._waiting -= 1

    def _busy(self) -> RedisBusyError:
        self.refused += 1
        return RedisBusyError(
            f"{self._waiting} {self._kind} requests wait; {self._connections} run at once"
        )


def make_lanes(connections: int, wait_s: float) -> tuple[Lane, Lane]:
    """Return the lanes for reads and writes that share so many connections.

    A quarter is for reads: a page of 1,000 accounts takes the event loop several milliseconds. A
    quarter is left for the node itself. With less than three, they have to share.
    """
    quarter = max(1, connections // 4)
    writes = max(1, connections - 2 * quarter)
    return Lane("read", quarter, wait_s), Lane("write", writes, wait_s)
