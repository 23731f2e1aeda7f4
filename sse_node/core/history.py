"""The recent events of the log, in memory: replay, or "cannot be proven".

The history holds every log entry after its oldest one up to the position, so an id that it knows
proves that nothing after it is missing. Ids that it does not know prove nothing.
"""

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

Entry = tuple[int, bytes]


class RollbackMark(NamedTuple):
    """Where the log says that events before may have been lost.

    Attributes:
        number: of the mark; rises with every rollback, also when ids do not.
        position: a position below it proves nothing.
    """

    number: int = 0
    position: int = 0


_position_of = itemgetter(0)


class _AudienceEntries(deque[Entry]):
    """The entries of one audience, which knows its name: one string for all of them."""

    __slots__ = ("audience",)

    def __init__(self, audience: str) -> None:
        super().__init__()
        self.audience = audience


class History:
    """The last log entries by audience; lives as long as the node.

    Args:
        limit: entries kept, 1 or more.
        limit_bytes: bytes of payloads kept; the newest entry is kept whatever its size.
    """

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self.limit_bytes = limit_bytes
        self._in_order: OrderedDict[int, _AudienceEntries] = OrderedDict()
        self._entries: dict[str, _AudienceEntries] = {}
        self.position = 0
        self.rollback = RollbackMark()
        """The newest mark that the log had; entries before it are not held."""
        self.payload_bytes = 0

    def __len__(self) -> int:
        return len(self._in_order)

    @property
    def oldest(self) -> int:
        """The lowest position from which a replay can be proven; the position when empty."""
        return next(iter(self._in_order), self.position)

    def append(self, position: int, audience: str, payload: bytes) -> bool:
        """Take the next entry of the log; False when it has been seen (not above the position)."""
        if position <= self.position:
            return False
        self.position = position
        entries = self._entries.get(audience)
        if entries is None:
            entries = self._entries[audience] = _AudienceEntries(audience)
        entries.append((position, payload))
        self._in_order[position] = entries
        self.payload_bytes += len(payload)
        while len(self._in_order) > self._limit or (
            self.payload_bytes > self.limit_bytes and len(self._in_order) > 1
        ):
            self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        _, entries = self._in_order.popitem(last=False)
        _, payload = entries.popleft()
        self.payload_bytes -= len(payload)
        if not entries:
            del self._entries[entries.audience]

    def knows(self, position: int) -> bool:
        """Say whether every entry after `position` up to now is held here."""
        return position in self._in_order or position == self.position

    def since(self, position: int, audiences: Iterable[str]) -> list[Entry]:
        """Return the entries of these audiences after a known position, in the log's order."""
        found: list[Entry] = []
        for audience in audiences:
            entries = self._entries.get(audience)
            if entries is not None and entries[-1][0] > position:
                found += _entries_after(entries, position)
        found.sort(key=_position_of)
        return found

    def all_since(self, position: int) -> list[tuple[int, str, bytes]]:
        """Return (position, audience, payload) of every entry after a known position, in order."""
        found: list[tuple[int, str, bytes]] = []
        newest_first: dict[str, Iterator[Entry]] = {}
        for at, entries in reversed(self._in_order.items()):
            if at <= position:
                break
            if entries.audience not in newest_first:
                newest_first[entries.audience] = reversed(entries)
            _, payload = next(newest_first[entries.audience])
            found.append((at, entries.audience, payload))
        found.reverse()
        return found

    def restart(self, position: int) -> None:
        """Forget all entries and go on from another position: the log was not continued."""
        self._in_order.clear()
        self._entries.clear()
        self.payload_bytes = 0
        self.position = position


def _entries_after(entries: deque[Entry], position: int) -> list[Entry]:
    as_list = list(entries)
    return as_list[bisect_right(as_list, position, key=_position_of) :]
