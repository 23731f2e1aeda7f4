"""Refuses new streams while this process is overloaded: too much memory, or a late event loop.

It is looked at once a second. Freed memory is not all returned to the operating system, so streams
are admitted again not only when memory has fallen, but also in the place of streams that have left.
"""

import logging
from collections.abc import Callable
from math import inf
from typing import Final

from sse_node.config.limits import LimitsSettings

MEMORY: Final = "memory"
LAG: Final = "lag"

# How long the event loop has to be late, or in time again. Arbitrary.
_LAG_TIME_S: Final = 5.0
# What has to be free again of the limit, or of the streams that reached it. Arbitrary.
_RECOVERED: Final = 0.95
_REDUCED: Final = 0.9
_RELEASE_INTERVAL_S: Final = 10.0

logger = logging.getLogger(__name__)


class Admission:
    """Whether this process may have more streams; lives as long as the node.

    Args:
        settings: the limits.
        resident_bytes: returns the memory of this process; 0 where that is unknown.
        release: returns freed memory to the operating system; takes 0.1 ms per MB.

    Attributes:
        resident_bytes: at the last look.
    """

    def __init__(
        self,
        settings: LimitsSettings,
        resident_bytes: Callable[[], int] = lambda: 0,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.configure(settings)
        self.resident_bytes = 0
        self._read_resident_bytes = resident_bytes
        self._release = release
        # Memory
        self._most_streams = inf  # while memory is short
        self._peak_bytes = 0
        self._released_at = -inf
        # Lag
        self._is_late = False
        self._worst_lag_s = 0.0
        self._changing_since: float | None = None

    def configure(self, settings: LimitsSettings) -> None:
        """Take other limits; they hold from the next look on."""
        self.memory_limit = settings.memory_limit
        self._lag_limit_s = settings.lag_limit

    def obstacle(self, streams: int) -> str:
        """Return why a further stream is refused, MEMORY or LAG; empty when it is not.

        Args:
            streams: that are open.
        """
        if streams >= self._most_streams:
            return MEMORY
        return LAG if self._is_late else ""

    def on_lag(self, lag_s: float) -> None:
        """Note how late a timer of the event loop was."""
        self._worst_lag_s = max(self._worst_lag_s, lag_s)

    def look(self, streams: int, now_s: float) -> None:
        """Look at this process; called once a second.

        Args:
            streams: that are open.
            now_s: the event loop's time.
        """
        self.resident_bytes = self._read_resident_bytes()
        self._look_at_memory(streams, now_s)
        self._look_at_lag(now_s)

    def _look_at_memory(self, streams: int, now_s: float) -> None:
        is_short = self._most_streams < inf
        if is_short and now_s - self._released_at >= _RELEASE_INTERVAL_S:
            self._released_at = now_s
            self._release()
        if is_short and self.resident_bytes < self.memory_limit * _RECOVERED:
            self._most_streams = inf
            logger.warning("memory: %d bytes; accepting new streams", self.resident_bytes)
        elif not is_short and self.resident_bytes > self.memory_limit:
            self._limit_streams(streams)
            logger.warning(
                "memory: %d bytes, limit %d; refusing new streams",
                self.resident_bytes,
                self.memory_limit,
            )
        elif is_short and self.resident_bytes * _RECOVERED > self._peak_bytes:
            self._limit_streams(streams)

    def _limit_streams(self, streams: int) -> None:
        self._peak_bytes = self.resident_bytes
        self._most_streams = min(self._most_streams, int(streams * _REDUCED))

    def _look_at_lag(self, now_s: float) -> None:
        lag_s, self._worst_lag_s = self._worst_lag_s, 0.0
        limit_s = self._lag_limit_s / 2 if self._is_late else self._lag_limit_s
        if not limit_s or (lag_s > limit_s) is self._is_late:
            self._changing_since = None
        elif self._changing_since is None:
            self._changing_since = now_s
        elif now_s - self._changing_since >= _LAG_TIME_S:
            self._is_late = not self._is_late
            self._changing_since = None
            what = "refusing" if self._is_late else "accepting"
            logger.warning("event loop: %.3f s late; %s new streams", lag_s, what)
