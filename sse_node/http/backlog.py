"""What waits in this process for the clients of HTTP connections, under one limit.

Responses that are not read, requests that are not complete and requests behind others. Over the
limit the connections that have stalled for the longest time are closed; a client that reads or
sends steadily comes last. Event streams have a limit of their own (`streams/slow_clients.py`), so
that no stream is cut for a response.
"""

from typing import Final, Protocol

# What a connection may hold without being counted, arbitrary: 20,000 hold 80 MB at most. Requests
# and most responses are smaller, and clients that have just begun one must not be the first to go.
UNCOUNTED_BYTES: Final = 4096


class Holder(Protocol):
    """A connection as the backlog sees it."""

    @property
    def held_bytes(self) -> int:
        """Bytes that wait in this process."""

    def abort(self) -> None:
        """Close at once."""


class Backlog:
    """All connections that hold bytes, those that have stalled for longest first.

    Lives as long as the site.

    Args:
        limit_bytes: what they may hold together.

    Attributes:
        held_bytes: what they hold; what was read since the last look still counts.
        cut: connections closed over the limit.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._holders: dict[Holder, int] = {}  # by the time of their last progress
        self._peak_bytes = 0
        self.held_bytes = 0
        self.cut = 0

    def update(self, holder: Holder, held_bytes: int) -> None:
        """Note what a connection holds now that it has made progress."""
        self.held_bytes -= self._holders.pop(holder, 0)
        if held_bytes > UNCOUNTED_BYTES:
            self._holders[holder] = held_bytes
            self.held_bytes += held_bytes
            self._peak_bytes = max(self._peak_bytes, self.held_bytes)
            if self.held_bytes > self._limit_bytes:
                self._cut()

    def discard(self, holder: Holder) -> None:
        """Forget a connection."""
        self.held_bytes -= self._holders.pop(holder, 0)

    def take_peak(self) -> int:
        """Return the most bytes that were held at a time since the last call."""
        peak_bytes, self._peak_bytes = self._peak_bytes, self.held_bytes
        return peak_bytes

    def look(self) -> None:
        """Note which clients have read something since the last look."""
        for holder, known_bytes in list(self._holders.items()):
            if (held_bytes := holder.held_bytes) < known_bytes:
                self.update(holder, held_bytes)

    def _cut(self) -> None:
        while self.held_bytes > self._limit_bytes:
            holder = next(iter(self._holders))
            known_bytes = self._holders.pop(holder)
            self.held_bytes -= known_bytes
            if (held_bytes := holder.held_bytes) < known_bytes:
                self._holders[holder] = held_bytes
                self.held_bytes += held_bytes
            else:
                self.cut += 1
                holder.abort()
