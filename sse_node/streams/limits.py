"""Limits of event streams: how many a user, and how many and how fast a client address, may have.

An address is kept for each stream only where there is a limit for it.
"""

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Final

from sse_node.access.rate_table import RateTable
from sse_node.config.limits import LimitsSettings
from sse_node.streams.event_stream import OpenStream

STREAMS_PER_ADDRESS: Final = "streams-per-address"
NEW_STREAMS_PER_ADDRESS: Final = "new-streams-per-address"


class StreamLimits:
    """The limits, and the open streams of each address; lives as long as the node.

    Args:
        settings: the limits.
        now: returns seconds that never go back.

    Attributes:
        per_user: streams of one user; 0 for no limit.
    """

    def __init__(self, settings: LimitsSettings, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._clients: dict[OpenStream, str] = {}
        self._streams: Counter[str] = Counter()
        self.configure(settings)

    def configure(self, settings: LimitsSettings) -> None:
        """Take other limits; streams that are open stay, and count where addresses were kept."""
        self.per_user = settings.streams_per_user
        self._per_address = settings.streams_per_address
        rate = settings.new_streams_per_address
        self._openings = RateTable(rate, settings.rate_window, self._now) if rate else None

    def __len__(self) -> int:
        """Return the number of streams whose address is kept."""
        return len(self._clients)

    def is_full(self, client: str) -> bool:
        """Return whether a client address has all the streams it may; an empty one never has."""
        return 0 < self._per_address <= self._streams[client] if client else False

    def obstacle(self, client: str) -> str:
        """Count a request for a stream.

        Returns:
            The name of the limit that a client address is over; empty for none.
        """
        if not client:
            return ""
        if self.is_full(client):
            return STREAMS_PER_ADDRESS
        if self._openings is not None and self._openings.take(client).wait_s:
            return NEW_STREAMS_PER_ADDRESS
        return ""

    def add(self, stream: OpenStream, client: str) -> None:
        """Count a stream that is open."""
        if self._per_address and client:
            self._clients[stream] = client
            self._streams[client] += 1

    def remove(self, stream: OpenStream) -> None:
        """Forget a stream that is gone."""
        client = self._clients.pop(stream, None)
        if client is not None:
            self._streams[client] -= 1
            if not self._streams[client]:
                del self._streams[client]
