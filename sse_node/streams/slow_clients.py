"""Disconnects slow clients: those that stall, and the largest backlogs over the total limit.

A disconnected client comes back with its last event ID; no stream ever has a gap.
"""

import asyncio
from dataclasses import dataclass

from sse_node.lifetimes.periodic import Periodic
from sse_node.streams.event_stream import CloseReason, OpenStream

_LOOK_INTERVAL_S = 1.0
# What the kernel takes of one stream at once, by the default of --send-buffer: it does not wait.
_FEW_BYTES = 65536


@dataclass(slots=True)
class _Progress:
    since: float
    flushed_bytes: int


class SlowClients:
    """All streams with waiting bytes; one timer; lives as long as the node.

    Args:
        timeout_s: how long bytes may wait without any of them leaving.
        total_limit_bytes: what may wait for all streams together; the slowest go first.
    """

    def __init__(self, *, timeout_s: float, total_limit_bytes: int) -> None:
        self._timeout_s = timeout_s
        self._total_limit_bytes = total_limit_bytes
        self._waiting: dict[OpenStream, _Progress] = {}
        self._timer = Periodic(_LOOK_INTERVAL_S, self._look)

    def start(self) -> None:
        """Start to watch; needs a running event loop."""
        self._timer.start()

    def shutdown(self) -> None:
        """Stop the timer."""
        self._timer.shutdown()

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in this process, all streams together."""
        return sum(stream.waiting_bytes for stream in self._waiting)

    def has_room_for(self, more_bytes: int) -> bool:
        """Return whether `more_bytes` fit under the total limit; small writes always do."""
        return more_bytes < _FEW_BYTES or self.waiting_bytes + more_bytes <= self._total_limit_bytes

    def add(self, stream: OpenStream) -> None:
        """Watch a stream whose bytes start to wait."""
        now = asyncio.get_running_loop().time()
        self._waiting.setdefault(stream, _Progress(now, _flushed_bytes(stream)))

    def discard(self, stream: OpenStream) -> None:
        """Stop watching a stream that has no waiting bytes, or is gone."""
        self._waiting.pop(stream, None)

    def _look(self) -> None:
        if self._timer.lag_s > _LOOK_INTERVAL_S:
            return  # this process stalled: what clients have read meanwhile shows at the next look
        now = asyncio.get_running_loop().time()
        for stream, progress in list(self._waiting.items()):
            flushed_bytes = _flushed_bytes(stream)
            if flushed_bytes > progress.flushed_bytes:
                progress.since, progress.flushed_bytes = now, flushed_bytes
            elif now - progress.since >= self._timeout_s:
                stream.abort(CloseReason.SLOW_CLIENT)
        self._cut_to_total()

    def _cut_to_total(self) -> None:
        waiting = [stream for stream in self._waiting if stream.close_reason is None]
        excess = sum(stream.waiting_bytes for stream in waiting) - self._total_limit_bytes
        if excess <= 0:
            return
        for stream in sorted(waiting, key=lambda s: s.waiting_bytes, reverse=True):
            excess -= stream.waiting_bytes
            stream.abort(CloseReason.SLOW_CLIENT_TOTAL)
            if excess <= 0:
                return


def _flushed_bytes(stream: OpenStream) -> int:
    """Return the bytes that have waited and are gone: while they grow, the client reads."""
    return stream.queued_bytes - stream.waiting_bytes
