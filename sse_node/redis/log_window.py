"""A part of the log that continues the history in memory backwards, entry by entry."""

import asyncio
from collections.abc import Iterable, Sequence

from sse_node.delivery.history import Entry, History, Replay
from sse_node.redis.event_log import LogEntry

_NO_LIMIT = 1 << 62  # WindowCache bounds it
# Entries taken before other work gets its turn: some 5 ms (2 us an entry, measured).
_SLICE = 2500


class LogWindow:
    """Entries without a gap, growing at both ends; created by WindowCache, never partly evicted."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, str, bytes]] = []
        self._index = History(_NO_LIMIT, _NO_LIMIT)
        self.read_bytes = 0
        """Bytes of the payloads that came from the log and not from memory."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def oldest(self) -> int:
        """The position of the first entry; the window is not empty."""
        return self._entries[0][0]

    @property
    def newest(self) -> int:
        """The position of the last entry; the window is not empty."""
        return self._entries[-1][0]

    def contains(self, position: int) -> bool:
        """Return whether a replay from `position` up to the newest entry can be made."""
        return bool(self._entries) and self._index.contains(position)

    def since(self, position: int, audiences: tuple[str, ...]) -> list[Entry]:
        """Return the entries of these audiences after a known position, in the log's order."""
        return self._index.since(position, audiences)

    def last(self, count: int, audiences: tuple[str, ...]) -> Replay:
        """Return the newest entries of these audiences, at most `count`."""
        return self._index.last(count, audiences)

    def append(self, entries: Iterable[LogEntry], log_name: bytes) -> None:
        """Take the entries that follow the newest one."""
        for entry in entries:
            self.read_bytes += len(entry.payload)
            self._take(entry.position, entry.audience, entry.as_message(log_name)[2])

    async def reach_into(self, history: History) -> None:
        """Take all that memory holds after the newest entry, if it knows that; else nothing.

        An empty window takes all there is. Others work meanwhile, but for the walk over memory
        (0.4 us an entry, measured).
        """
        while True:
            position = self.newest if self._entries else history.oldest - 1
            if self._entries and not history.contains(position):
                return
            entries = history.all_since(position)
            for start in range(0, len(entries), _SLICE):
                if start:
                    await asyncio.sleep(0)
                for entry in entries[start : start + _SLICE]:
                    self._take(*entry)
            if len(entries) <= _SLICE:  # nobody else has worked, so there is nothing newer
                return

    async def prepend(self, entries: Sequence[LogEntry], log_name: bytes) -> None:
        """Take the entries before the oldest one, in the log's order; others work meanwhile."""
        later, self._entries = self._entries, []
        index, self._index = self._index, History(_NO_LIMIT, _NO_LIMIT)
        read_bytes = self.read_bytes
        try:
            self._index.reset(entries[0].position - 1 if entries else index.oldest - 1)
            for start in range(0, len(entries), _SLICE):
                self.append(entries[start : start + _SLICE], log_name)
                await asyncio.sleep(0)
            for start in range(0, len(later), _SLICE):
                for position, audience, payload in later[start : start + _SLICE]:
                    self._take(position, audience, payload)
                await asyncio.sleep(0)
        except BaseException:
            self._entries, self._index, self.read_bytes = later, index, read_bytes
            raise

    def _take(self, position: int, audience: str, payload: bytes) -> None:
        self._entries.append((position, audience, payload))
        self._index.append(position, audience, payload)
