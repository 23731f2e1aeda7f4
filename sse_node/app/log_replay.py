"""Replays from the log, for ids that the history in memory does not know.

Concurrent asks share their reads: one sweep looks all ids up in one step, then walks the log once,
in bounded portions, and each ask joins it where its own id is found.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from sse_node.app.event_log import EventLog, LogEntry
from sse_node.core.history import Entry, History
from sse_node.errors import PositionLostError, RedisError

_PORTION = 1000
# A node that is behind an id of the log hears of that entry within this time, or is cut off.
_BEHIND_TIMEOUT_S = 2.0
_BEHIND_LOOK_S = 0.01

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Ask:
    position: int
    audiences: tuple[str, ...]
    done: asyncio.Future[None]
    found: list[Entry] = field(default_factory=list)
    found_bytes: int = 0
    reached: int = 0

    def lose(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(PositionLostError(reason))

    def finish(self, reached: int) -> None:
        self.reached = reached
        if not self.done.done():
            self.done.set_result(None)


class LogReplay:
    """Reads replays from the log; lives as long as the node.

    Args:
        log: what to read.
        history: where a replay from the log ends, because memory goes on from there.
        limit_bytes: the most that one stream is given from the log; over it is `unavailable`.
    """

    def __init__(self, log: EventLog, history: History, limit_bytes: int) -> None:
        self._log = log
        self._history = history
        self._limit_bytes = limit_bytes
        self._asks: list[_Ask] = []
        self._task: asyncio.Task[None] | None = None
        self.sweeps = 0

    async def entries_since(
        self, position: int, audiences: tuple[str, ...]
    ) -> tuple[list[Entry], int]:
        """Return the entries after `position`, and a position up to which they are complete.

        The history knew that position a moment ago, and most likely still does.

        Raises:
            PositionLostError: `trimmed`, `unknown-id` or `unavailable`.
        """
        ask = _Ask(position, audiences, asyncio.get_running_loop().create_future())
        self._asks.append(ask)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        await ask.done
        return ask.found, ask.reached

    async def _run(self) -> None:
        try:
            while self._asks:
                asks, self._asks = self._asks, []
                await self._serve(asks)
        finally:
            self._task = None

    async def _serve(self, asks: list[_Ask]) -> None:
        self.sweeps += 1
        try:
            found = await self._find(asks)
            behind = [ask for ask in found if ask.position > self._history.position]
            await self._walk([ask for ask in found if ask.position <= self._history.position])
            await self._wait_for(behind)
        except RedisError:
            logger.debug("a replay could not be read from the log")
        except Exception:
            logger.exception("a replay from the log failed")
        finally:
            for ask in asks:
                ask.lose("unavailable")  # has no effect on those that are done

    async def _find(self, asks: list[_Ask]) -> list[_Ask]:
        """Return the asks whose id the log holds; the others are lost."""
        positions = sorted({ask.position for ask in asks})
        first, held = await self._log.find(positions)
        found = [ask for ask in asks if ask.position in held]
        for ask in asks:
            if ask.position not in held:
                ask.lose("trimmed" if ask.position < first else "unknown-id")
        return found

    async def _walk(self, asks: list[_Ask]) -> None:
        """Read from the lowest id until the history knows where we are."""
        waiting = deque(sorted(asks, key=lambda ask: ask.position))
        walking: defaultdict[str, list[_Ask]] = defaultdict(list)
        position = waiting[0].position if waiting else self._history.position
        while not self._history.knows(position):
            entries = await self._log.read_from(position, _PORTION + 1)
            if not entries or entries[0].position != position:
                return  # trimmed while we read, or gone: all that are left are lost
            self._join(waiting, walking, position)
            for entry in entries[1:]:
                position = entry.position
                self._give(entry, walking.get(entry.audience, ()))
                self._join(waiting, walking, position)
                if self._history.knows(position):
                    break
            else:
                if len(entries) == 1:
                    return  # the log ends before the history begins: it was rolled back
        for ask in asks:
            ask.finish(position)

    @staticmethod
    def _join(waiting: deque[_Ask], walking: defaultdict[str, list[_Ask]], position: int) -> None:
        while waiting and waiting[0].position == position:
            ask = waiting.popleft()
            for audience in ask.audiences:
                walking[audience].append(ask)

    def _give(self, entry: LogEntry, asks: Iterable[_Ask]) -> None:
        payload = entry.as_message()[2]
        for ask in asks:
            ask.found_bytes += len(payload)
            if ask.found_bytes > self._limit_bytes:
                ask.found.clear()
                ask.lose("unavailable")
            else:
                ask.found.append((entry.position, payload))

    async def _wait_for(self, asks: list[_Ask]) -> None:
        """Wait until this node has heard of ids that the log holds and it does not know yet."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _BEHIND_TIMEOUT_S
        while asks and loop.time() < deadline:
            for ask in asks:
                if self._history.knows(ask.position):
                    ask.finish(ask.position)
            asks = [ask for ask in asks if not ask.done.done()]
            await asyncio.sleep(_BEHIND_LOOK_S)
