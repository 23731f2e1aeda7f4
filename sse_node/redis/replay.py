"""Replays for ids that the history in memory does not know: the log, read once for all who ask.

What is read becomes a *window*: entries that continue the history backwards. It is kept for a while
after its last use, so that ten thousand clients that come back together cost one reading. Like the
history it holds nothing from before the newest rollback, and it is dropped when there is another.
"""

import asyncio
import logging
from dataclasses import dataclass

from sse_node.delivery.history import Entry, History
from sse_node.errors import PositionLostError, RedisError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.event_log import EventLog, LogEntry
from sse_node.redis.replay_window import LogWindow

_KEEP_WINDOW_S = 30.0
# How long a client may wait for its replay while Redis does not answer, or while this node has not
# heard yet of an id that the log holds. Longer than a restart of Redis; then it is told.
_PATIENCE_S = 5.0
_AGAIN_S = 0.1
_BEHIND_LOOK_S = 0.01

logger = logging.getLogger(__name__)

Replay = tuple[list[Entry], int]


@dataclass(eq=False, slots=True)
class _Ask:
    position: int
    audiences: tuple[str, ...]
    replay: asyncio.Future[Replay]
    deadline: float
    is_behind: bool = False
    tail: int = 0  # the log's, when it was asked for an id ahead of this node

    def lose(self, reason: str) -> None:
        if not self.replay.done():
            self.replay.set_exception(PositionLostError(reason))

    def answer(self, entries: list[Entry], reached: int) -> None:
        if not self.replay.done():
            self.replay.set_result((entries, reached))


class LogReplay:
    """Reads replays from the log; lives as long as the node.

    Args:
        log: what to read.
        history: what the window continues.
        limit_bytes: the most payload that the window holds; beyond it is `unavailable`.
    """

    def __init__(self, log: EventLog, history: History, limit_bytes: int) -> None:
        self._log = log
        self._history = history
        self._limit_bytes = limit_bytes
        self._asks: list[_Ask] = []
        self._in_service: list[_Ask] = []
        self._behind: list[_Ask] = []
        self._task = BackgroundTask(self._run)
        self._begin_window()
        self._forget_timer: asyncio.TimerHandle | None = None
        self.readings = 0

    async def entries_since(self, position: int, audiences: tuple[str, ...]) -> Replay:
        """Return the entries after `position`, and a position up to which they are complete.

        The history knew that position a moment ago, and most likely still does.

        Raises:
            PositionLostError: `trimmed`, `unknown-id`, `rollback` or `unavailable`.
        """
        if self._covers(position):
            self._keep_for_a_while()
            return self._window.since(position, audiences), self._window.newest
        loop = asyncio.get_running_loop()
        ask = _Ask(position, audiences, loop.create_future(), loop.time() + _PATIENCE_S)
        self._asks.append(ask)
        self._task.start()
        return await ask.replay

    def _begin_window(self) -> None:
        self._window = LogWindow()
        self._rollback = self._history.rollback

    def _covers(self, position: int) -> bool:
        window = self._window
        return (
            window.knows(position)
            and self._history.knows(window.newest)
            and self._rollback == self._history.rollback
        )

    async def _run(self) -> None:
        while self._asks or self._behind:
            asks, self._asks = self._asks, []
            self._in_service = asks
            if asks:
                await self._serve(asks)
            again = [ask for ask in self._still_waiting(asks) if not ask.is_behind]
            heard = self._take_heard()
            self._behind = self._still_waiting(self._behind)
            must_wait = again or (self._behind and not self._asks)
            self._asks += again + heard
            if must_wait:
                await asyncio.sleep(_AGAIN_S if again else _BEHIND_LOOK_S)

    def _take_heard(self) -> list[_Ask]:
        """Return who was ahead of this node and is no more: memory or the log has the answer."""
        position = self._history.position
        heard = [ask for ask in self._behind if ask.position <= position]
        self._behind = [ask for ask in self._behind if ask.position > position]
        for ask in heard:
            ask.is_behind = False
            if self._history.knows(ask.position):
                ask.answer([], ask.position)
        return [ask for ask in heard if not ask.replay.done()]

    def _still_waiting(self, asks: list[_Ask]) -> list[_Ask]:
        """Answer who can be answered from memory by now; return who has patience left."""
        now = asyncio.get_running_loop().time()
        for ask in asks:
            if self._history.knows(ask.position):
                ask.answer([], ask.position)
            elif now >= ask.deadline:
                ask.lose("unavailable")
        return [ask for ask in asks if not ask.replay.done()]

    async def _serve(self, asks: list[_Ask]) -> None:
        """Answer or lose asks; one that Redis has no answer for is left to be served again."""
        asks = self._answer_from_window(asks)
        if not asks:
            return
        self.readings += 1
        try:
            found = await self._find(asks)
            older = [ask for ask in found if ask.position <= self._history.position]
            if older:
                await self._extend(min(ask.position for ask in older))
        except RedisError:
            logger.debug("the log could not be read for a replay")
            return
        except Exception:
            logger.exception("a replay from the log failed")
            for ask in asks:
                ask.lose("unavailable")
            return
        for ask in found:
            ask.is_behind = ask.position > self._history.position
        self._behind += [ask for ask in found if ask.is_behind]
        for ask in self._answer_from_window(older):
            if self._window.read_bytes >= self._limit_bytes:
                ask.lose("unavailable")

    def _answer_from_window(self, asks: list[_Ask]) -> list[_Ask]:
        """Answer who asks for what the window covers; return the others."""
        for ask in asks:
            if self._covers(ask.position):
                entries = self._window.since(ask.position, ask.audiences)
                ask.answer(entries, self._window.newest)
        return [ask for ask in asks if not ask.replay.done()]

    async def _find(self, asks: list[_Ask]) -> list[_Ask]:
        """Return the asks whose id the log holds; the others are lost.

        An id ahead of this node is lost only when the node has come to where the log ended: told
        earlier, at its older position, a client would see events again.
        """
        first, held = await self._log.find(sorted({ask.position for ask in asks}))
        rollback = (await self._log.rollback()).position
        ahead = [ask for ask in asks if ask.position > self._history.position and not ask.tail]
        if ahead:
            tail = await self._log.open()
            for ask in ahead:
                ask.tail = tail
        found = []
        for ask in asks:
            if ask.position in held and ask.position >= rollback:
                found.append(ask)
            elif self._history.position < min(ask.position, ask.tail):
                continue
            elif ask.position in held:
                ask.lose("rollback")
            else:
                ask.lose("trimmed" if ask.position < first else "unknown-id")
        return found

    async def _extend(self, lowest: int) -> None:
        """Make the window reach from an id of the log, or its limit, to the history.

        It begins with what memory holds, and ends with it: memory forgets at its older end while
        events come, and a window that only touched it there would soon continue nothing.
        """
        self._keep_for_a_while()
        if self._rollback != self._history.rollback:
            self._begin_window()
        await self._read_gap()
        window = self._window
        is_new = not window
        await window.reach_into(self._history)
        if not window:
            return
        older: list[LogEntry] = []
        bytes_left = self._limit_bytes - window.read_bytes
        before = window.oldest + is_new
        while before > lowest and bytes_left > 0:
            portion = await self._log.read_back(before, self._log.portion)
            if is_new and before > window.oldest:
                if not portion or portion[0].position != window.oldest:
                    self._begin_window()  # the log was rolled back, or trimmed to nothing
                    return
                del portion[0]
            portion = [entry for entry in portion if entry.position >= self._rollback.position]
            if not portion:
                break
            for entry in portion:
                if bytes_left > 0:
                    older.append(entry)
                    bytes_left -= len(entry.payload)
            before = older[-1].position
        older.reverse()
        if older:
            await window.prepend(older)
        await self._read_gap()
        await self._window.reach_into(self._history)

    async def _read_gap(self) -> None:
        """Read what the history has forgotten since the window's newest entry was its oldest."""
        window = self._window
        while window and not self._history.knows(window.newest):
            newest = window.newest
            entries = await self._log.read_from(newest, self._log.portion + 1)
            follows = len(entries) > 1 and entries[0].position == newest
            if not follows or window.read_bytes > 2 * self._limit_bytes:
                self._begin_window()  # trimmed, rolled back, or grown too long with time
                return
            window.append(entries[1:])

    def _keep_for_a_while(self) -> None:
        if self._forget_timer is not None:
            self._forget_timer.cancel()
        loop = asyncio.get_running_loop()
        self._forget_timer = loop.call_later(_KEEP_WINDOW_S, self._forget)

    def _forget(self) -> None:
        if not self._task.is_running:
            self._begin_window()
        else:
            self._keep_for_a_while()

    async def shutdown(self) -> None:
        """Answer every request with `unavailable`, also those being served; stop the timer."""
        if self._forget_timer is not None:
            self._forget_timer.cancel()
        await self._task.shutdown()
        for ask in (*self._asks, *self._behind, *self._in_service):
            ask.lose("unavailable")
