"""One timer for all streams: every stream gets a ping once an interval, spread over it.

Streams are dealt round to the beats of an interval, so that 20,000 of them don't burst. How late
the timer comes is the event loop's lag.
"""

from collections.abc import Callable, Iterator
from itertools import chain

from sse_node.lifetimes.periodic import Periodic
from sse_node.streams.event_stream import OpenStream

_BEATS_PER_SECOND = 10


class Heartbeat:
    """The timer and the streams of each beat; lives as long as the node.

    Args:
        interval_s: time between two pings of a stream, more than 0.
        make_ping: called at each beat that has streams, returns the frame to write.
        on_lag: called at each beat with how late it was, in seconds.
    """

    def __init__(
        self, interval_s: float, make_ping: Callable[[], bytes], on_lag: Callable[[float], None]
    ) -> None:
        self._beats: list[dict[OpenStream, None]] = [
            {} for _ in range(max(1, round(interval_s * _BEATS_PER_SECOND)))
        ]
        self._make_ping = make_ping
        self._on_lag = on_lag
        self._now = 0
        self._next = 0
        # Missed beats of one interval at most are made up for: a stopped process that is continued
        # owes nobody a hundred pings.
        self._timer = Periodic(interval_s / len(self._beats), self._on_beat, catch_up_s=interval_s)

    def __iter__(self) -> Iterator[OpenStream]:
        """Iterate over all streams."""
        return chain.from_iterable(self._beats)

    def start(self) -> None:
        """Start the timer; needs a running event loop."""
        self._timer.start()

    def shutdown(self) -> None:
        """Stop the timer."""
        self._timer.shutdown()

    def add(self, stream: OpenStream) -> None:
        """Add a stream to the next beat in turn."""
        stream.beat = self._next
        self._beats[self._next][stream] = None
        self._next = (self._next + 1) % len(self._beats)

    def remove(self, stream: OpenStream) -> None:
        """Remove a stream."""
        del self._beats[stream.beat][stream]

    def _on_beat(self) -> None:
        self._on_lag(self._timer.lag_s)
        if streams := self._beats[self._now]:
            ping = self._make_ping()
            for stream in streams:
                stream.write(ping)
        self._now = (self._now + 1) % len(self._beats)
