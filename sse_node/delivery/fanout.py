"""THE PER-EVENT PATH: from the messages of one read to one write per stream.

Synchronous, in batches: decode once, frame once, join the frames of an audience, write the joined
bytes to each of its streams. Nothing here raises: what cannot be delivered is counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from sse_node.delivery.history import History
from sse_node.delivery.hub import Hub, Stream, channel_audience
from sse_node.errors import PublisherError
from sse_node.wire.envelope import (
    CHANNEL_EVENTS,
    USER_EVENTS,
    channel_of,
    decode_envelope,
    encode_frame,
    position_of,
    user_of,
)

# ["message", channel, payload], as hiredis returns it
Message = Sequence[bytes]
_Take = Callable[[bytes, bytes, int | None, dict[str, list[bytes]]], None]


class Fanout:
    """One message to many streams; lives as long as the node.

    Args:
        hub: who wants what.
        history: where entries of the log are remembered, and recognised when they come again.
        max_event_bytes: the largest payload delivered.
        event_names: put event types into the `event` field.
        on_dropped: called with the error of each payload that is not delivered; must not raise.

    Attributes:
        log_name: of the event log; the ids of other logs are not positions.
    """

    def __init__(
        self,
        hub: Hub,
        history: History,
        *,
        max_event_bytes: int,
        event_names: bool,
        on_dropped: Callable[[PublisherError], None],
    ) -> None:
        self._hub = hub
        self._history = history
        self._max_event_bytes = max_event_bytes
        self._event_names = event_names
        self._on_dropped = on_dropped
        self._named: list[tuple[str, bytes]] = []  # pending frames of named channels, in order
        self.log_name = b""
        self.messages = 0
        self.duplicates = 0
        self.deliveries = 0
        self.delivered_bytes = 0
        self.dropped: Counter[str] = Counter()

    def deliver(self, batch: Sequence[Message]) -> None:
        """Write what one read from Redis brought to the streams that want it, in its order."""
        pending: dict[str, list[bytes]] = {}
        take: _Take = self._take
        last_channel = USER_EVENTS
        self.messages += len(batch)
        for _, channel, payload in batch:
            if channel != last_channel:  # audiences of different channels share streams
                self._write(pending)
                last_channel = channel
                take = self._take_named if channel == CHANNEL_EVENTS else self._take
            position = position_of(payload, self.log_name)
            try:
                take(channel, payload, position, pending)
            except PublisherError as error:
                self.dropped[error.reason] += 1
                self._on_dropped(error)
                if position is not None:  # the log has it, and the node has seen it
                    self._history.append(position, "", b"")
        self._write(pending)

    def _take(
        self,
        channel: bytes,
        payload: bytes,
        position: int | None,
        pending: dict[str, list[bytes]],
    ) -> None:
        envelope = decode_envelope(payload, self._max_event_bytes)
        if channel == USER_EVENTS:
            audience = user_of(envelope)
        else:
            audience = channel_audience(channel.decode(errors="replace"))  # the log holds any
        if position is not None and not self._history.append(position, audience, payload):
            self.duplicates += 1
        elif self._hub.streams_of(audience) is not None:
            frame = encode_frame(envelope, position, event_names=self._event_names)
            if audience in pending:
                pending[audience].append(frame)
            else:
                pending[audience] = [frame]

    def _take_named(
        self,
        _channel: bytes,
        payload: bytes,
        position: int | None,
        pending: dict[str, list[bytes]],
    ) -> None:
        envelope = decode_envelope(payload, self._max_event_bytes, named=True)
        audience = channel_audience(channel_of(envelope))
        if position is not None and not self._history.append(position, audience, payload):
            self.duplicates += 1
        elif self._hub.streams_of(audience) is not None:
            frame = encode_frame(envelope, position, event_names=self._event_names)
            pending.setdefault(audience, []).append(frame)
            self._named.append((audience, frame))

    def _write(self, pending: dict[str, list[bytes]]) -> None:
        if self._named:
            if len(pending) > 1 and self._share_streams(pending):
                self._write_in_order(self._named)
                pending.clear()
            self._named.clear()
        for audience, frames in pending.items():
            streams = self._hub.streams_of(audience)
            if streams is None:
                continue
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            for stream in streams:
                stream.write(data)
            self.deliveries += len(frames) * len(streams)
            self.delivered_bytes += len(data) * len(streams)
        pending.clear()

    def _share_streams(self, audiences: Iterable[str]) -> bool:
        """Return whether a stream has several of these audiences."""
        seen: set[Stream] = set()
        count = 0
        for audience in audiences:
            streams = self._hub.streams_of(audience) or ()
            seen.update(streams)
            count += len(streams)
        return len(seen) < count

    def _write_in_order(self, frames: list[tuple[str, bytes]]) -> None:
        """Write frames of audiences that share streams; joined per stream, for the order."""
        by_stream: dict[Stream, list[bytes]] = {}
        for audience, frame in frames:
            for stream in self._hub.streams_of(audience) or ():
                if stream in by_stream:
                    by_stream[stream].append(frame)
                else:
                    by_stream[stream] = [frame]
        for stream, own in by_stream.items():
            data = b"".join(own)
            stream.write(data)
            self.deliveries += len(own)
            self.delivered_bytes += len(data)
