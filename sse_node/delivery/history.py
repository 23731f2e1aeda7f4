"""The recent events of the log, in memory: replay, or "cannot be proven".

The history holds every log entry after its oldest one up to the position, so an id that it knows
proves that nothing after it is missing. Ids that it does not know prove nothing.
"""

from collections import OrderedDict
from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace
from operator import itemgetter
from typing import NamedTuple

Entry = tuple[int, bytes]


class Replay(NamedTuple):
    """Entries in the log's order, without a gap for their audiences.

    Attributes:
        start: a position after which the first of them is the next; None for unknown.
        entries: as a stream gets them.
    """

    start: int | None
    entries: list[Entry]


class RollbackMark(NamedTuple):
    """Where the log marks that events before it may have been lost.

    Attributes:
        number: of the mark; rises with every rollback, also when ids do not.
        position: a position below it proves nothing.
        reached: the highest position that was known of in what the log has lost.
    """

    number: int = 0
    position: int = 0
    reached: int = 0


_position_of = itemgetter(0)


class History:
    """The last log entries by audience; lives as long as the node.

    Args:
        limit: entries kept, 1 or more.
        limit_bytes: bytes of payloads kept; the newest entry is kept whatever its size.
    """

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self.limit_bytes = limit_bytes
        # By position: audience, payload, and the position of the audience's entry before, or 0.
        self._entries: OrderedDict[int, tuple[str, bytes, int]] = OrderedDict()
        self._newest: dict[str, int] = {}
        self.position = 0
        self.rollback = RollbackMark()
        """The newest mark that the log had; entries before it are not held."""
        self.payload_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def oldest(self) -> int:
        """The lowest position from which a replay can be proven; the position when empty."""
        return next(iter(self._entries), self.position)

    def append(self, position: int, audience: str, payload: bytes) -> bool:
        """Take the next entry of the log; False when it has been seen (not above the position)."""
        if position <= self.position:
            return False
        self.position = position
        before = self._newest.get(audience, 0)
        if before:
            audience = self._entries[before][0]  # one string for all of them
        self._entries[position] = (audience, payload, before)
        self._newest[audience] = position
        self.payload_bytes += len(payload)
        while len(self._entries) > self._limit or (
            self.payload_bytes > self.limit_bytes and len(self._entries) > 1
        ):
            self._forget_oldest()
        return True

    def _forget_oldest(self) -> None:
        position, (audience, payload, _) = self._entries.popitem(last=False)
        self.payload_bytes -= len(payload)
        if self._newest[audience] == position:
            del self._newest[audience]

    def contains(self, position: int) -> bool:
        """Return whether every entry after `position` up to now is held here."""
        return position in self._entries or position == self.position

    def since(self, position: int, audiences: Iterable[str]) -> list[Entry]:
        """Return the entries of these audiences after a position, in the log's order.

        Raises:
            KeyError: the position is not known, and an entry after it has been forgotten.
        """
        found: list[Entry] = []
        for audience in audiences:
            at = self._newest.get(audience, 0)
            while at > position:
                _, payload, before = self._entries[at]
                found.append((at, payload))
                at = before
        found.sort(key=_position_of)
        return found

    def last(self, count: int, audiences: Iterable[str]) -> Replay:
        """Return the newest entries of these audiences that are held, at most `count`."""
        newest = [-at for audience in audiences if (at := self._newest.get(audience, 0))]
        heapify(newest)
        found: list[Entry] = []
        while newest and len(found) <= count:  # one more, to begin after it
            at = -newest[0]
            _, payload, before = self._entries[at]
            found.append((at, payload))
            if before in self._entries:
                heapreplace(newest, -before)
            else:
                heappop(newest)
        found.reverse()
        if len(found) > count:
            return Replay(found[0][0], found[1:])
        begins_with_oldest = bool(found) and found[0][0] == self.oldest
        return Replay(None if begins_with_oldest else self.oldest, found)

    def all_since(self, position: int) -> list[tuple[int, str, bytes]]:
        """Return (position, audience, payload) of every entry held after a position, in order."""
        found: list[tuple[int, str, bytes]] = []
        for at, (audience, payload, _) in reversed(self._entries.items()):
            if at <= position:
                break
            found.append((at, audience, payload))
        found.reverse()
        return found

    def reset(self, position: int) -> None:
        """Forget all entries and go on from another position: the log was not continued."""
        self._entries.clear()
        self._newest.clear()
        self.payload_bytes = 0
        self.position = position
