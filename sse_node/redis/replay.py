"""Replays from the event log: after ids, or of last entries, that the history does not hold.

One task serves all requests in passes. In each pass it looks up the ids in the log, extends the
window step by step to the oldest one, and answers after each step what memory or the window can
prove by then. A request stays for another pass while Redis does not answer, or while its id is
ahead of this node; at its deadline it is answered with `unavailable`. One for the last entries
waits a second for more than have been read.
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial

from sse_node.delivery.history import Entry, History, Replay
from sse_node.errors import PositionLostError, RedisError
from sse_node.lifetimes.background_task import BackgroundTask
from sse_node.redis.event_log import EventLog
from sse_node.redis.window_cache import WindowCache

# How long a client waits for its replay while Redis does not answer, or while this node has not
# received the id that the log holds. Longer than a restart of Redis.
_DEADLINE_S = 5.0
# How long a client waits for last entries that memory and window do not have. Arbitrary: a person
# waits for the page, and a log of 200,000 entries takes three seconds.
_LAST_ENTRIES_S = 1.0
# From one pass to the next: to ask Redis again, and to look whether this node has caught up.
_RETRY_S = 0.1
_CAUGHT_UP_LOOK_S = 0.01

logger = logging.getLogger(__name__)

# A replay, and the position up to which it is complete.
_Answer = tuple[Replay, int]


@dataclass(eq=False, slots=True)
class _Request:
    """A client's request for a replay.

    Attributes:
        position: what the client has seen last.
        count: how many of the last entries it asks for instead; 0 for those after `position`.
        audiences: whose entries it asks for.
        answer: its entries, or PositionLostError.
        deadline_s: when it is answered anyway, in the event loop's time.
        enough_s: when the last entries that have been read are enough.
        is_in_log: the log holds its id. If the id is ahead of this node, the node will receive it.
        tail: where the log ended when the id, ahead of this node, was looked up; else 0.
    """

    position: int
    count: int
    audiences: tuple[str, ...]
    answer: asyncio.Future[_Answer]
    deadline_s: float
    enough_s: float
    is_in_log: bool = False
    tail: int = 0

    def resolve(self, answer: _Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def reject(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(PositionLostError(reason))


class LogReplay:
    """Reads replays from the log; lives as long as the node.

    Args:
        log: what is read.
        history: what memory holds.
        limit_bytes: the most that is read; replays from older ids are `unavailable`.
    """

    def __init__(self, log: EventLog, history: History, limit_bytes: int) -> None:
        self._log = log
        self._history = history
        self._new_window = partial(WindowCache, log, history, limit_bytes)
        self._window = self._new_window()
        self._new: list[_Request] = []
        self._waiting: list[_Request] = []
        self._task = BackgroundTask(self._run)
        self._log_begins = 0  # its first position that a replay may have, when last looked up
        self.log_reads = 0

    async def entries_since(
        self, position: int, audiences: tuple[str, ...]
    ) -> tuple[list[Entry], int]:
        """Return the entries after `position`, and a position up to which they are complete.

        The history held that position a moment ago, and most likely still does.

        Raises:
            PositionLostError: `trimmed`, `unknown-id`, `rollback` or `unavailable`.
        """
        if self._window.covers(position):
            return self._window.since(position, audiences)
        replay, reached = await self._request(position, 0, audiences)
        return replay.entries, reached

    @property
    def memory_is_whole(self) -> bool:
        """Whether the log is known to hold nothing that the history does not."""
        return self._history.oldest <= self._log_begins

    async def last_entries(self, count: int, audiences: tuple[str, ...]) -> tuple[Replay, int]:
        """Return the last entries up to a position.

        They are fewer than `count` if log or limit has no more, or it takes too long to read them.

        Args:
            count: 1 or more.
            audiences: whose entries.

        Raises:
            PositionLostError: `unavailable`: the log could not be read.
        """
        return self._last(count, audiences) or await self._request(0, count, audiences)

    def _last(self, count: int, audiences: tuple[str, ...]) -> _Answer | None:
        oldest = self._window.oldest
        if oldest is None:
            return None
        answer = self._window.last(count, audiences)
        is_all = self._window.is_full or oldest <= self._log_begins
        return answer if is_all or len(answer[0].entries) == count else None

    async def _request(self, position: int, count: int, audiences: tuple[str, ...]) -> _Answer:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer] = loop.create_future()
        now_s = loop.time()
        deadline_s, enough_s = now_s + _DEADLINE_S, now_s + _LAST_ENTRIES_S
        self._new.append(_Request(position, count, audiences, answer, deadline_s, enough_s))
        self._task.start()
        return await answer

    def forget(self) -> None:
        """Read the log again for every replay: the history has other entries than before."""
        self._window.shutdown()
        self._window = self._new_window()

    async def shutdown(self) -> None:
        """Answer every request with `unavailable`, also those being served."""
        await self._task.shutdown()
        self._window.shutdown()
        for request in (*self._new, *self._waiting):
            request.reject("unavailable")

    async def _run(self) -> None:
        while self._new or self._waiting:
            self._waiting += self._new
            self._new = []
            self._answer_waiting()
            unread = [request for request in self._waiting if not self._is_ahead(request)]
            if unread:
                await self._read_log(unread)
                self._answer_waiting()
            if any(not self._is_ahead(request) for request in self._waiting):
                await asyncio.sleep(_RETRY_S)
            elif self._waiting and not self._new:
                await asyncio.sleep(_CAUGHT_UP_LOOK_S)

    def _is_ahead(self, request: _Request) -> bool:
        """Return whether the log holds an id that this node has yet to receive."""
        return request.is_in_log and request.position > self._history.position

    def _answer_waiting(self, *, is_reading: bool = False) -> None:
        """Answer what memory or the window can prove, and what has waited long enough.

        While the log is read, a request for an id waits beyond its deadline, instead of a reset.
        """
        now_s = asyncio.get_running_loop().time()
        for request in self._waiting:
            if answer := self._answer(request):
                request.resolve(answer)
            elif request.count and self._window.oldest is not None:
                if now_s >= request.enough_s:
                    request.resolve(self._window.last(request.count, request.audiences))
            elif now_s >= request.deadline_s and not is_reading:
                request.reject("unavailable")
        self._waiting = [request for request in self._waiting if not request.answer.done()]

    def _answer(self, request: _Request) -> _Answer | None:
        position = request.position
        if request.count:
            return self._last(request.count, request.audiences)
        if self._history.contains(position):
            return Replay(position, []), position
        if self._window.covers(position):
            entries, reached = self._window.since(position, request.audiences)
            return Replay(position, entries), reached
        return None

    async def _read_log(self, requests: list[_Request]) -> None:
        """Look the ids up, reject those that are lost, extend the window for the others."""
        self.log_reads += 1
        try:
            await self._look_up(requests)
            older = [
                request
                for request in requests
                if request.is_in_log and request.position <= self._history.position
            ]
            wanted = older + [request for request in requests if request.count]
            while wanted and await self._window.extend_to(min(map(self._reach_of, wanted))):
                self._answer_waiting(is_reading=True)
                wanted = [request for request in wanted if not request.answer.done()]
        except RedisError:
            logger.debug("the log could not be read for a replay")
            return
        except Exception:
            logger.exception("a replay from the log failed")
            for request in requests:
                request.reject("unavailable")
            return
        if self._window.is_full:
            for request in older:
                if not self._window.covers(request.position):
                    request.reject("unavailable")

    def _reach_of(self, request: _Request) -> int:
        """Return how far back the log may have to be read for a request."""
        return self._log_begins if request.count else request.position

    async def _look_up(self, requests: list[_Request]) -> None:
        """Find out which ids the log holds; reject those that are lost.

        An id ahead of this node is lost only when the node has reached the end of the log as it
        was: rejected earlier, at the node's older position, a client would see events again.
        """
        requests = [request for request in requests if not request.count]
        first, held = await self._log.find(sorted({request.position for request in requests}))
        rollback = (await self._log.rollback()).position
        self._log_begins = max(first, rollback)
        ahead = [r for r in requests if r.position > self._history.position and not r.tail]
        if ahead:
            tail = await self._log.open()
            for request in ahead:
                request.tail = tail
        for request in requests:
            request.is_in_log = request.position in held and request.position >= rollback
            if request.is_in_log or self._history.position < min(request.position, request.tail):
                continue
            if request.position in held:
                request.reject("rollback")
            else:
                request.reject("trimmed" if request.position < first else "unknown-id")
