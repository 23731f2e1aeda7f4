"""THE PER-EVENT PATH begins here: one batch from Redis, without internal messages, delivered.

A batch is what one read from Redis brought. Nothing here raises.
"""

from collections.abc import Callable, Mapping, Sequence

from sse_node.delivery.fanout import Fanout, Message
from sse_node.delivery.histogram import Histogram
from sse_node.delivery.history import History
from sse_node.wire.envelope import position_of
from sse_node.wire.event_id import milliseconds_of


class Ingest:
    """Takes batches from the subscription; lives as long as the node.

    Args:
        fanout: delivers events.
        history: its position shows whether a batch had anything new.
        control: by the node's internal channels, what is called with each payload; must not raise.
        now_s: the wall clock, in seconds since the Unix epoch.
        publish_to_write: observes the latency; one of its own by default.
    """

    def __init__(
        self,
        fanout: Fanout,
        history: History,
        *,
        control: Mapping[bytes, Callable[[bytes], None]],
        now_s: Callable[[], float],
        publish_to_write: Histogram | None = None,
    ) -> None:
        self._fanout = fanout
        self._history = history
        self._control = control
        self._now_s = now_s
        self.publish_to_write = publish_to_write or Histogram()

    def receive(self, batch: Sequence[Message]) -> None:
        """Deliver the messages of one read, in their order."""
        control = self._control
        events = [message for message in batch if message[1] not in control]
        if len(events) < len(batch):
            for _, channel, payload in batch:
                if channel in control:
                    control[channel](payload)
        before = self._history.position
        self._fanout.deliver(events)
        if self._history.position > before:
            self._observe_latency(events, before)

    def _observe_latency(self, events: Sequence[Message], before: int) -> None:
        """Observe the time from publishing to writing of the oldest new event of a batch."""
        oldest = self._history.position
        if len(events) > 1:
            log_name = self._fanout.log_name
            positions = (position_of(message[2], log_name) for message in events)
            oldest = next((p for p in positions if p is not None and p > before), oldest)
        published_s = milliseconds_of(oldest) / 1000
        self.publish_to_write.observe(max(0.0, self._now_s() - published_s))
