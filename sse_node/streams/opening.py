"""THE PER-CLIENT PATH: a connection becomes an open stream.

A stream is registered and given its replay in one synchronous step, so that no event can come
between them. A browser gives up for good on any status but 200 (WHATWG HTML §9.2), so a refusal is
a stream that ends at once.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import lru_cache
from time import time
from typing import Final

import msgspec

from sse_node.access.limits import REQUESTS_PER_ADDRESS, REQUESTS_PER_CALLER
from sse_node.delivery.history import Entry, History, Replay
from sse_node.errors import PublisherError
from sse_node.streams.admission import LAG, MEMORY
from sse_node.streams.event_stream import CloseReason, EventStream
from sse_node.streams.frames import encode_closed, encode_open, encode_reset
from sse_node.streams.limits import NEW_STREAMS_PER_ADDRESS, STREAMS_PER_ADDRESS
from sse_node.streams.registry import Streams
from sse_node.streams.retry import RetryTime
from sse_node.streams.slow_clients import SlowClients
from sse_node.wire.envelope import decode_envelope, encode_frame
from sse_node.wire.http_head import Headers, Response, encode_head, http_date
from sse_node.wire.identity import ANYONE, Identity
from sse_node.wire.sse import CONTENT_TYPE

# The labels of the metric: why a stream is not opened at the moment.
REFUSAL_REASONS: Final = (
    "full",
    "no-keys",
    "not-serving",
    MEMORY,
    LAG,
    REQUESTS_PER_ADDRESS,
    REQUESTS_PER_CALLER,
    STREAMS_PER_ADDRESS,
    NEW_STREAMS_PER_ADDRESS,
)
_STREAM_HEADERS: Final[Headers] = (
    (b"Content-Type", CONTENT_TYPE),
    (b"Cache-Control", b"no-store, no-transform"),
    (b"X-Accel-Buffering", b"no"),
    (b"Connection", b"close"),
)
# Streams that open within a second get the same head. Arbitrary; one for each CORS origin.
_CACHED = 16
_NO_REPLAY: Final = Replay(None, [])

logger = logging.getLogger(__name__)


class StreamPlan(msgspec.Struct):
    """The answer to a request that becomes a stream: what to open.

    Attributes:
        opening: opens it.
        user: whose events the stream hears; None for a stream of channels alone.
        channels: the other audiences it is registered for.
        history: of the shard that the stream belongs to.
        identity: of the caller.
        client: what limits count its address as; empty where none is counted.
        resume_at: the position after which it continues; None for a new stream.
        entries: the replay; None to take it from memory when the stream opens.
        start: of a new stream, a position before its replay; None for unknown.
        reset_reason: why the client may have missed events; empty if it has not.
        head_only: answer with the head and close, as HEAD asks.
        has_waited: time has passed since the caller was admitted.
    """

    opening: "Opening"
    user: str | None
    channels: tuple[str, ...]
    history: History
    identity: Identity = ANYONE
    client: str = ""
    resume_at: int | None = None
    entries: list[Entry] | None = None
    start: int | None = None
    reset_reason: str = ""
    head_only: bool = False
    has_waited: bool = False

    @property
    def audiences(self) -> tuple[str, ...]:
        """All that the stream hears."""
        return self.channels if self.user is None else (self.user, *self.channels)

    def open(self, transport: asyncio.Transport, headers: Headers) -> None:
        """Make the connection of `transport` the stream.

        Args:
            transport: of a connection that has nothing else to write or read.
            headers: that every response to this request has.
        """
        self.opening.open(self, transport, headers)


class Opening:
    """Opens streams, or refuses them; lives as long as the node.

    Args:
        streams: where open streams are kept.
        slow_clients: knows whether there is room for a replay.
        retry: the reconnection times.
        server_id: for `sse.open`.
        event_names: put event types into the `event` field.
        end_of_access: returns why a caller's access has ended, None while it lasts.
    """

    def __init__(
        self,
        streams: Streams,
        slow_clients: SlowClients,
        retry: RetryTime,
        *,
        server_id: str,
        event_names: bool,
        end_of_access: Callable[[Identity], CloseReason | None] = lambda identity: None,
    ) -> None:
        self._streams = streams
        self._slow_clients = slow_clients
        self._retry = retry
        self._server_id = server_id
        self._event_names = event_names
        self._end_of_access = end_of_access

    def refusal(self, client: str = "") -> Response | None:
        """Return the answer for a stream that cannot be opened at the moment, else None.

        Args:
            client: address that is counted; empty where it is not, or has been.
        """
        obstacle = self._streams.obstacle(client)
        return self.refuse(obstacle) if obstacle else None

    def refuse(self, reason: str) -> Response:
        """Return the answer after which an EventSource comes back by itself."""
        self._streams.refused[reason] += 1
        return Response(200, _STREAM_HEADERS, self._retry.encode())

    def open(self, plan: StreamPlan, transport: asyncio.Transport, headers: Headers) -> None:
        """Register the stream and write its head, `sse.open` and replay, in this order."""
        head = _encode_head(int(time()), tuple(headers))
        if plan.head_only:
            transport.write(head)
            transport.close()
            return
        if plan.has_waited and (ended := self._end_of_access(plan.identity)):
            transport.write(head + encode_closed(ended) + self._retry.encode())
            transport.close()
            return
        replay = self._replay_of(plan)
        if (replay.entries or plan.client) and (obstacle := self._obstacle(plan, replay)):
            transport.write(head + self.refuse(obstacle).content)
            transport.close()
            return
        self._streams.replace_oldest(plan.user)
        channels = plan.channels
        if len(channels) > 1:  # else it is the tuple that every stream has
            channels = self._streams.shared_channels(plan.audiences[0], channels)
        stream = EventStream(transport, plan.user, channels, self._streams)
        self._streams.add(stream, plan.identity, plan.client)
        stream.start(head + self._first_frames(plan, replay))

    def _obstacle(self, plan: StreamPlan, replay: Replay) -> str:
        """Return why a stream is refused that could be opened before; empty when it is not."""
        if replay.entries and not self._slow_clients.has_room_for(
            sum(len(payload) for _, payload in replay.entries)
        ):
            return "full"
        # Others have opened during the replay.
        return STREAMS_PER_ADDRESS if self._streams.limits.is_full(plan.client) else ""

    def _replay_of(self, plan: StreamPlan) -> Replay:
        if plan.resume_at is None:
            return Replay(plan.start, plan.entries) if plan.entries else _NO_REPLAY
        entries = plan.entries
        if entries is None:
            entries = plan.history.since(plan.resume_at, plan.audiences)
        return Replay(plan.resume_at, entries)

    def _first_frames(self, plan: StreamPlan, replay: Replay) -> bytes:
        """Return the first frames of a stream.

        `sse.open` comes before the replay, so its id is where the replay begins: a client that is
        cut off in the middle of it must not believe that it has seen the rest. Where that is not
        known, it has no id, and the client asks for the same replay again.
        """
        replayed: list[bytes] = []
        if replay.entries:
            try:
                replayed = [self._replayed_frame(entry) for entry in replay.entries]
            except PublisherError as error:
                logger.error("no replay for a stream, it is reset: %s", error)
                plan.resume_at, plan.reset_reason = None, "unavailable"
        retry = b"retry: %d\n" % self._retry.jittered_ms()
        is_resumed = plan.resume_at is not None
        self._streams.resumed += is_resumed
        position = plan.history.position
        if not replayed and not plan.reset_reason:
            return retry + encode_open(self._server_id, position, is_resumed, 0)
        self._streams.replayed += len(replayed)
        reset = b""
        if plan.reset_reason:
            self._streams.resets[plan.reset_reason] += 1
            reset = encode_reset(plan.reset_reason, position)
        start = replay.start if replayed else position
        opened = encode_open(self._server_id, start, is_resumed, len(replayed))
        return b"".join((retry, reset, opened, *replayed))

    def _replayed_frame(self, entry: Entry) -> bytes:
        """Return the frame of an entry.

        Raises:
            PublisherError: it has none. History and log give only events to an audience, so this
                is a fault of the node.
        """
        position, payload = entry
        envelope = decode_envelope(payload, len(payload))
        return encode_frame(envelope, position, event_names=self._event_names)


@lru_cache(_CACHED)
def _encode_head(unix_s: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return encode_head(200, (*_STREAM_HEADERS, (b"Date", http_date(unix_s)), *headers))
