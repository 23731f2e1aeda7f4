"""After every subscription: read what the node missed, or reset its streams.

Three endings: nothing was missed; it was missed and is delivered from the log; the log does not
hold the node's position any more, and every stream of the node gets `sse.reset`.

When the log was rolled back, clients that are away at that moment may come back with an id that
has survived. So the rollback is marked in the log, and ids below the mark prove nothing.
"""

import asyncio
import logging
from collections.abc import Callable

from sse_node.delivery.fanout import Fanout
from sse_node.delivery.history import History, RollbackMark
from sse_node.errors import PositionLostError
from sse_node.redis.event_log import START, EventLog, LogEntry

# Entries taken before other work gets its turn: some 5 ms (2.2 us an entry, measured).
_SLICE = 2500

logger = logging.getLogger(__name__)


class CatchUp:
    """Brings the history to the log's tail; lives as long as the node.

    Args:
        log: what to read.
        history: its position is the node's.
        fanout: delivers what was missed.
        history_limit: entries read when there is no position to go on from.
        on_position_lost: called with the reason when all streams must be reset; synchronous.

    Attributes:
        filled: the history has been filled from the log.
    """

    def __init__(
        self,
        log: EventLog,
        history: History,
        fanout: Fanout,
        *,
        history_limit: int,
        on_position_lost: Callable[[str], None],
    ) -> None:
        self._log = log
        self._history = history
        self._fanout = fanout
        self._suspects: set[int] = set()  # positions that a former master may have taken along
        self._history_limit = history_limit
        self._on_position_lost = on_position_lost
        self.filled = False
        self._refills_wanted = 0
        self._refills_done = 0

    def want_refill(self) -> None:
        """Fill the history again after the next subscription: it lacks entries of new channels."""
        self._refills_wanted += 1

    @property
    def is_whole(self) -> bool:
        """Whether the history lacks no entries of channels."""
        return self._refills_done == self._refills_wanted

    async def run(self) -> None:
        """Catch up; live messages must wait meanwhile.

        Raises:
            RedisError: the log cannot be read; nothing has been skipped.
        """
        refills = self._refills_wanted  # one that is wanted from now on is for another subscription
        tail = await self._log.open()
        self._fanout.log_name = self._log.name
        rollback = await self._log.rollback()
        lost = await self._lost()
        if not self.filled:
            if lost > rollback.reached:
                rollback = await self._log.mark_rollback(rollback, self._history.rollback, lost)
            await self._fill(rollback)
            self.filled = True
        else:
            await self._go_on(tail, rollback, lost)
        self._suspects.clear()
        self._refills_done = refills

    async def _go_on(self, tail: int, rollback: RollbackMark, lost: int) -> None:
        """Deliver what was missed, or reset every stream."""
        is_marked = rollback > self._history.rollback
        try:
            if is_marked or lost:
                raise PositionLostError("rollback")
            missed = await self._read_missed(tail)
        except PositionLostError as exc:
            logger.warning("the log does not hold this node's position: %s", exc.reason)
            if exc.reason == "rollback" and (not is_marked or lost > rollback.reached):
                # The mark that is there may not cover all that was lost.
                rollback = await self._log.mark_rollback(rollback, self._history.rollback, lost)
            await self._fill(rollback)
            self._on_position_lost(exc.reason)
        else:
            if missed:
                logger.info("caught up: %d events", missed)
            if not self.is_whole:
                await self._refill(rollback)

    async def _lost(self) -> int:
        """Return the highest known position that the log has lost; 0 if it has lost none.

        Known are what this node has received, the last entries of former masters, and what was
        acknowledged to this node: the last counts where a former master cannot be asked.
        """
        self._suspects |= self._log.take_acknowledged()
        suspects = [each for each in self._suspects if not self._history.contains(each)]
        if self.filled:
            suspects.append(self._history.position)
        first, held = await self._log.find(suspects)
        return max((each for each in suspects if each >= first and each not in held), default=0)

    async def _read_missed(self, tail: int) -> int:
        """Deliver what the log holds after our position; return how many entries that were."""
        missed = 0
        while True:
            position, portion = self._history.position, self._log.portion
            entries = await self._log.read_from(position, portion + 1)
            if not entries or entries[0].position != position:
                raise PositionLostError(await self._why_lost(position, tail, entries))
            events = [entry for entry in entries[1:] if not entry.mark]
            self._fanout.deliver([entry.as_message(self._log.name) for entry in events])
            # Marks are not delivered, but advance the position.
            self._history.append(entries[-1].position, "", b"")
            missed += len(entries) - 1
            if len(entries) <= portion:
                return missed

    async def _why_lost(self, position: int, tail: int, entries: list[LogEntry]) -> str:
        """Return `trimmed` when everything up to our position is gone, but nothing after it."""
        was_begun_anew = not entries or entries[0].mark == START
        first, _ = await self._log.find([])
        return "rollback" if tail <= position or was_begun_anew or first < position else "trimmed"

    async def _fill(self, rollback: RollbackMark) -> None:
        """Take the log's last entries after a rollback into the history, delivering none."""
        entries = await self._read_newest(rollback)
        self._begin_history(entries[0].position - 1 if entries else 0, rollback)
        # A stream that opens between two slices gets the reset that follows, as all others do.
        for number, entry in enumerate(entries):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            self._remember(entry)

    async def _refill(self, rollback: RollbackMark) -> None:
        """Take the log's entries up to the position into the history, all in one step.

        No stream may open in the middle of it. It takes 2 us an entry.
        """
        position = self._history.position
        entries = await self._read_newest(rollback, position + 1)
        self._begin_history(entries[0].position - 1 if entries else position, rollback)
        for entry in entries:
            self._remember(entry)

    async def _read_newest(
        self, rollback: RollbackMark, before: int | None = None
    ) -> list[LogEntry]:
        """Return as many entries below a position as the history may hold, oldest first."""
        entries: list[LogEntry] = []
        bytes_left = self._history.limit_bytes
        while len(entries) < self._history_limit and bytes_left > 0:
            count = min(self._log.portion, self._history_limit - len(entries))
            portion = await self._log.read_back(before, count)
            entries += (entry for entry in portion if entry.position >= rollback.position)
            bytes_left -= sum(len(entry.payload) for entry in portion)
            if len(portion) < count or portion[-1].position < rollback.position:
                break
            before = portion[-1].position
        entries.reverse()
        return entries

    def _begin_history(self, position: int, rollback: RollbackMark) -> None:
        self._history.reset(position)
        self._history.rollback = rollback

    def _remember(self, entry: LogEntry) -> None:
        payload = entry.as_message(self._log.name)[2]
        self._history.append(entry.position, entry.audience, payload)
