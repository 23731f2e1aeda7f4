"""Closes streams at a jittered age, so that load spreads over new nodes. One timer for all."""

import asyncio
import random
from collections.abc import Callable

from sse_node.lifetimes.periodic import Periodic
from sse_node.streams.event_stream import OpenStream

_JITTER = 0.2


class MaxAge:
    """The streams by the second they end in; lives as long as the node.

    Args:
        max_age_s: the mean age at which a stream ends.
        on_aged: called with each stream that has reached its age.
    """

    def __init__(self, max_age_s: float, on_aged: Callable[[OpenStream], None]) -> None:
        self._max_age_s = max_age_s
        self._on_aged = on_aged
        self._streams: dict[int, set[OpenStream]] = {}
        self._second = 0
        self._timer = Periodic(1.0, self._look)

    def start(self) -> None:
        """Start to watch; needs a running event loop."""
        self._second = int(asyncio.get_running_loop().time())
        self._timer.start()

    def shutdown(self) -> None:
        """Stop the timer."""
        self._timer.shutdown()

    def add(self, stream: OpenStream) -> None:
        """Add a stream that has just been opened."""
        age_s = self._max_age_s * random.uniform(1 - _JITTER, 1 + _JITTER)
        stream.end_second = max(self._second + 1, int(asyncio.get_running_loop().time() + age_s))
        self._streams.setdefault(stream.end_second, set()).add(stream)

    def remove(self, stream: OpenStream) -> None:
        """Remove a stream that is gone."""
        streams = self._streams.get(stream.end_second)
        if streams is not None:
            streams.discard(stream)
            if not streams:
                del self._streams[stream.end_second]

    def _look(self) -> None:
        now = int(asyncio.get_running_loop().time())
        while self._second < now:
            self._second += 1
            for stream in self._streams.pop(self._second, ()):
                self._on_aged(stream)
