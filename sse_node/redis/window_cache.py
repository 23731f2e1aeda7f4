"""The window: a part of the event log that continues the history in memory backwards.

It is read once for all clients that ask, and kept for a while after its last use, so that ten
thousand clients that come back together cost one reading. Like the history it holds nothing from
before the newest rollback of the log, and it is dropped when there is another rollback.
"""

import asyncio

from sse_node.delivery.history import Entry, History, Replay
from sse_node.redis.event_log import EventLog, LogEntry
from sse_node.redis.log_window import LogWindow

_KEEP_S = 30.0  # arbitrary; longer than clients that were cut off together take to come back
# Entries that one call reads at least, if there are as many: some 0.2 s. A call at most doubles the
# window, so that moving its entries costs no more than reading them, however long the log is.
_STEP = 16384


class WindowCache:
    """Fills the window and drops it; created by LogReplay, lives as long as the node.

    Only one caller may extend it at a time.

    Args:
        log: what is read.
        history: what the window continues.
        limit_bytes: payloads read from the log are at most about this many bytes.
    """

    def __init__(self, log: EventLog, history: History, limit_bytes: int) -> None:
        self._log = log
        self._history = history
        self._limit_bytes = limit_bytes
        self._is_extending = False
        self._drop_timer: asyncio.TimerHandle | None = None
        self._drop()

    @property
    def is_full(self) -> bool:
        """Whether the window has reached its limit, so that it can cover nothing older."""
        return self._window.read_bytes >= self._limit_bytes

    @property
    def oldest(self) -> int | None:
        """The first position of the window; None while it does not continue the history."""
        window = self._window
        continues = (
            bool(window)
            and self._history.contains(window.newest)
            and self._rollback == self._history.rollback
        )
        return window.oldest if continues else None

    def covers(self, position: int) -> bool:
        """Return whether a replay from `position` can be proven complete."""
        return self.oldest is not None and self._window.contains(position)

    def since(self, position: int, audiences: tuple[str, ...]) -> tuple[list[Entry], int]:
        """Return the entries after a covered position, and the position up to which they go."""
        self._restart_drop_timer()
        return self._window.since(position, audiences), self._window.newest

    def last(self, count: int, audiences: tuple[str, ...]) -> tuple[Replay, int]:
        """Return the newest entries of these audiences, and the position up to which they go."""
        self._restart_drop_timer()
        return self._window.last(count, audiences), self._window.newest

    async def extend_to(self, lowest: int) -> bool:
        """Extend the window back towards `lowest` or its limit, and forward to the newest event.

        The window overlaps the history: entries that the history evicts while the log is read
        would otherwise leave a gap between the two.

        Returns:
            Whether a further call may reach further back.

        Raises:
            RedisError: the log cannot be read.
        """
        self._restart_drop_timer()
        self._is_extending = True
        try:
            if self._rollback != self._history.rollback:
                self._drop()
            await self._close_gap()
            goes_on = await self._extend_back(lowest)
            await self._close_gap()
            if self._window:
                await self._window.reach_into(self._history)
        finally:
            self._is_extending = False
        return goes_on

    async def _extend_back(self, lowest: int) -> bool:
        """Read older entries; return whether there may be more of them to read."""
        window = self._window
        is_new = not window
        await window.reach_into(self._history)
        if not window:
            return False
        older: list[LogEntry] = []
        bytes_left = self._limit_bytes - window.read_bytes
        before = window.oldest + is_new
        step = max(_STEP, len(window))
        while before > lowest and bytes_left > 0 and len(older) < step:
            batch = await self._log.read_back(before, self._log.portion)
            if is_new and before > window.oldest:
                if not batch or batch[0].position != window.oldest:
                    self._drop()  # the log was rolled back, or trimmed to nothing
                    return False
                del batch[0]
            batch = [entry for entry in batch if entry.position >= self._rollback.position]
            if not batch:
                lowest = before
                break
            for entry in batch:
                if bytes_left > 0:
                    older.append(entry)
                    bytes_left -= len(entry.payload)
            before = older[-1].position
        older.reverse()
        if older:
            await window.prepend(older, self._log.name)
        return before > lowest and bytes_left > 0

    async def _close_gap(self) -> None:
        """Read the entries that the history evicted after the window's newest one."""
        window = self._window
        while window and not self._history.contains(window.newest):
            newest = window.newest
            entries = await self._log.read_from(newest, self._log.portion + 1)
            follows = len(entries) > 1 and entries[0].position == newest
            if not follows or window.read_bytes > 2 * self._limit_bytes:
                self._drop()  # trimmed, rolled back, or grown too long with time
                return
            window.append(entries[1:], self._log.name)

    def _drop(self) -> None:
        self._window = LogWindow()
        self._rollback = self._history.rollback

    def _restart_drop_timer(self) -> None:
        self.shutdown()
        self._drop_timer = asyncio.get_running_loop().call_later(_KEEP_S, self._on_drop_timer)

    def _on_drop_timer(self) -> None:
        if self._is_extending:
            self._restart_drop_timer()
        else:
            self._drop()

    def shutdown(self) -> None:
        """Stop the timer."""
        if self._drop_timer is not None:
            self._drop_timer.cancel()
