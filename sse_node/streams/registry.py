"""THE PER-CLIENT PATH: from a request to an open stream, and to its end.

A stream is registered and given its replay in one synchronous step, so nothing can come between
them. What memory cannot prove is asked of the log first; what that cannot prove is `sse.reset`.
A browser gives up for good on any status but 200, so refusals are streams that end at once.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import lru_cache
from time import time

import msgspec

from sse_node.delivery.history import Entry, History
from sse_node.delivery.hub import Hub, channel_audience
from sse_node.errors import PositionLostError, PublisherError, RequestError
from sse_node.http.connection import Answer, Takeover
from sse_node.redis.replay import LogReplay
from sse_node.streams.event_stream import CloseReason, EventStream
from sse_node.streams.heartbeat import Heartbeat
from sse_node.streams.max_age import MaxAge
from sse_node.streams.slow_clients import SlowClients
from sse_node.wire.envelope import (
    SYSTEM_EVENTS,
    USER_ID_EXPECTED,
    decode_envelope,
    encode_frame,
    is_user_id,
)
from sse_node.wire.event_id import format_position, parse_position
from sse_node.wire.http_head import Headers, Request, Response, encode_head, http_date
from sse_node.wire.sse import CONTENT_TYPE, encode_event, encode_retry

_STREAM_HEADERS: Headers = (
    (b"Content-Type", CONTENT_TYPE),
    (b"Cache-Control", b"no-store, no-transform"),
    (b"X-Accel-Buffering", b"no"),
    (b"Connection", b"close"),
)
_EVERY_STREAM_HAS = (channel_audience(SYSTEM_EVENTS),)
_RETRY_JITTER = 0.25
# A drain ends its streams in beats of this length.
_DRAIN_BEAT_S = 0.1


class Streams:
    """All open streams of a node, from request to close; lives as long as it.

    It is the owner of every EventStream.

    Args:
        hub: where streams are registered.
        history: replays, and the node's position.
        log_replay: replays that memory cannot prove.
        slow_clients: watches streams whose bytes wait.
        server_id: for `sse.open`, `ping` and the response head.
        default_user: of `/events/sse`.
        channels: the broadcast channels a client may ask for.
        max_streams: more are refused.
        write_limit_bytes: what may wait for one stream.
        retry_ms: the reconnection time that streams are given, jittered by a quarter.
        ping_interval_s: between two pings of a stream.
        max_age_s: streams are ended at this age, jittered by a fifth; 0 for never.
        event_names: put event types into the `event` field.
        response_headers: returns the general and CORS headers for a request.
        on_lag: told the event loop's lag in seconds, several times a second.
    """

    def __init__(
        self,
        hub: Hub,
        history: History,
        log_replay: LogReplay,
        slow_clients: SlowClients,
        *,
        server_id: str,
        default_user: str,
        channels: tuple[str, ...],
        max_streams: int,
        write_limit_bytes: int,
        retry_ms: int,
        ping_interval_s: float,
        max_age_s: float,
        event_names: bool,
        response_headers: Callable[[Request], Headers],
        on_lag: Callable[[float], None],
    ) -> None:
        self.write_limit_bytes = write_limit_bytes
        self.max_streams = max_streams
        self._hub = hub
        self._history = history
        self._log_replay = log_replay
        self._slow_clients = slow_clients
        self._server_id = server_id
        self._default_user = default_user
        self._channels = channels
        self._retry_ms = retry_ms
        self._max_age_s = max_age_s
        self._event_names = event_names
        self._response_headers = response_headers
        self._heartbeat = Heartbeat(ping_interval_s, self._make_ping, on_lag)
        self._ages = MaxAge(max_age_s, self._on_aged)
        self._count = 0
        self._none_left = asyncio.Event()
        self.serving = False
        self.opened = 0
        self.resumed = 0
        self.replayed = 0
        self.refused: Counter[str] = Counter()
        self.resets: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether a further stream would be refused."""
        return self._count >= self.max_streams

    def start(self) -> None:
        """Start the heartbeat; streams are refused until `serving` is set."""
        self._heartbeat.start()
        self._slow_clients.start()
        if self._max_age_s:
            self._ages.start()

    # Opening

    def open(self, request: Request) -> Answer | Awaitable[Answer]:
        """Answer `GET /events/sse` or `GET /events/sse/{userId}`."""
        user = request.path_parameters.get("userId", self._default_user)
        if not is_user_id(user):
            raise RequestError(400, f"userId {user!r:.140}: expected {USER_ID_EXPECTED}")
        parameters = request.query_parameters()
        channels = self._channel_audiences(parameters.get("channels", ""))
        if request.method == "HEAD":
            return self._head_only(request)
        if not self.serving or self.full:
            return self.refuse("full" if self.serving else "not-serving")
        last_event_id = (
            request.header(b"last-event-id")
            or parameters.get("lastEventId")
            or parameters.get("last_event_id")
        )
        if not last_event_id:
            return self._take_over(request, user, channels)
        position = parse_position(last_event_id)
        if position is None:
            return self._take_over(request, user, channels, lost="bad-id")
        if self._history.knows(position):
            return self._take_over(request, user, channels, resume_at=position)
        return self._resume_from_log(request, user, channels, position)

    def _channel_audiences(self, channels: str) -> tuple[str, ...]:
        if not channels:
            return _EVERY_STREAM_HAS
        names = {SYSTEM_EVENTS, *filter(None, channels.split(","))}
        if unknown := names.difference(self._channels, (SYSTEM_EVENTS,)):
            raise RequestError(
                400,
                f"channels {min(unknown)!r:.80}: expected some of " + ", ".join(self._channels),
            )
        return tuple(channel_audience(name) for name in sorted(names))

    async def _resume_from_log(
        self, request: Request, user: str, channels: tuple[str, ...], position: int
    ) -> Answer:
        audiences = (user, *channels)
        entries: list[Entry] = []
        reached = position
        reason = ""
        try:
            while not self._history.knows(reached):
                found, reached = await self._log_replay.entries_since(reached, audiences)
                entries += found
        except PositionLostError as lost:
            reason = lost.reason
        if not self.serving or self.full:
            return self.refuse("full" if self.serving else "not-serving")
        if reason != "unknown-id" and position > self._history.position:
            # This node is behind. Told to go on from here, the client would see events again.
            return self.refuse("not-serving")
        if reason:
            return self._take_over(request, user, channels, lost=reason)
        entries += self._history.since(reached, audiences)
        return self._take_over(request, user, channels, resume_at=position, entries=entries)

    def _take_over(
        self,
        request: Request,
        user: str,
        channels: tuple[str, ...],
        *,
        resume_at: int | None = None,
        entries: list[Entry] | None = None,
        lost: str = "",
    ) -> Takeover:
        """Return what makes the connection a stream; it runs in this synchronous step."""

        def take_over(transport: asyncio.Transport) -> None:
            replay = entries
            if replay is None:
                replay = (
                    [] if resume_at is None else self._history.since(resume_at, (user, *channels))
                )
            head = self._head(request)
            if not self._slow_clients.has_room_for(sum(len(payload) for _, payload in replay)):
                transport.write(head + self.refuse("full").content)
                transport.close()
                return
            stream = EventStream(transport, user, channels, self)
            self._enter(stream)
            stream.open(head + self._opening(resume_at, replay, lost))

        return take_over

    def _head(self, request: Request) -> bytes:
        return _encode_head(int(time()), tuple(self._response_headers(request)))

    def _opening(self, resume_at: int | None, replay: list[Entry], lost: str) -> bytes:
        """Return the first frames of a stream.

        `sse.open` comes before the replay, so its id is where the replay begins: a client that is
        cut off in the middle of it must not believe that it has seen the rest.
        """
        frames = [] if not lost else [self._reset_frame(lost)]
        replayed = [frame for frame in map(self._replayed_frame, replay) if frame]
        position = resume_at if replayed and resume_at is not None else self._history.position
        opening = _encode_open(self._server_id, position, resume_at is not None, len(replayed))
        self.resumed += resume_at is not None
        self.replayed += len(replayed)
        return b"".join((b"retry: %d\n" % self._jittered_retry_ms(), *frames, opening, *replayed))

    def _replayed_frame(self, entry: Entry) -> bytes:
        position, payload = entry
        try:
            envelope = decode_envelope(payload, len(payload))
            return encode_frame(envelope, position, event_names=self._event_names)
        except PublisherError:
            return b""  # it was counted when it came

    def _reset_frame(self, reason: str) -> bytes:
        self.resets[reason] += 1
        return encode_event(
            msgspec.json.encode({"reason": reason}),
            event=b"sse.reset",
            event_id=format_position(self._history.position),
        )

    def _enter(self, stream: EventStream) -> None:
        self._hub.add(stream, stream.audiences)
        self._heartbeat.add(stream)
        if self._max_age_s:
            self._ages.add(stream)
        self._count += 1
        self.opened += 1

    # Refusing

    def refuse(self, reason: str) -> Response:
        """Return the answer after which an EventSource comes back by itself."""
        self.refused[reason] += 1
        return Response(200, _STREAM_HEADERS, encode_retry(self._jittered_retry_ms()))

    def _head_only(self, request: Request) -> Takeover:
        head = self._head(request)

        def answer(transport: asyncio.Transport) -> None:
            transport.write(head)
            transport.close()

        return answer

    # While they are open

    def reset_all(self, reason: str) -> None:
        """Tell every stream that it may have missed events, and where it goes on."""
        if self._count:
            self.resets[reason] += self._count - 1
            frame = self._reset_frame(reason)
            for stream in self._heartbeat:
                stream.write(frame)

    def _make_ping(self) -> bytes:
        data = {
            "type": "ping",
            "serverId": self._server_id,
            "timestamp": int(time() * 1000),
        }
        return encode_event(msgspec.json.encode(data), event=b"ping")

    def _jittered_retry_ms(self) -> int:
        return round(self._retry_ms * random.uniform(1 - _RETRY_JITTER, 1 + _RETRY_JITTER))

    def _on_aged(self, stream: EventStream) -> None:
        stream.end(encode_retry(self._jittered_retry_ms()), CloseReason.MAX_AGE)

    def on_waiting(self, stream: EventStream) -> None:
        """Bytes of a stream wait for its client."""
        self._slow_clients.add(stream)

    def on_flushed(self, stream: EventStream) -> None:
        """No bytes of a stream wait any more."""
        self._slow_clients.discard(stream)

    # Closing

    def on_closed(self, stream: EventStream) -> None:
        """A stream's connection is gone."""
        self._hub.remove(stream, stream.audiences)
        self._heartbeat.remove(stream)
        self._count -= 1
        if not self._count:
            self._none_left.set()
        self._slow_clients.discard(stream)
        if self._max_age_s:
            self._ages.remove(stream)
        if stream.close_reason is not None:
            self.closed[stream.close_reason] += 1

    async def drain(self, window_s: float) -> None:
        """End all streams at a flat rate over a window, in random order; returns when it is over.

        Each is sent its own reconnection time, so that the clients come back spread out, too.
        """
        self.serving = False
        streams = list(self._heartbeat)
        random.shuffle(streams)
        beats = max(1, round(window_s / _DRAIN_BEAT_S))
        loop = asyncio.get_running_loop()
        start = loop.time()
        for beat in range(beats):
            if not self._count:
                return
            await asyncio.sleep(max(0.0, start + beat * _DRAIN_BEAT_S - loop.time()))
            for stream in streams[beat::beats]:
                stream.end(encode_retry(self._jittered_retry_ms()), CloseReason.DRAIN)

    async def wait_closed(self) -> None:
        """Wait until no stream is left."""
        while self._count:
            self._none_left.clear()
            await self._none_left.wait()

    def shutdown(self) -> None:
        """Close what is left at once and end the timers."""
        self._heartbeat.shutdown()
        self._slow_clients.shutdown()
        if self._max_age_s:
            self._ages.shutdown()
        for stream in list(self._heartbeat):
            stream.abort(CloseReason.DRAIN)


# What streams are opened with is the same for all that come in a second, and after one position.
_REMEMBERED = 16


@lru_cache(_REMEMBERED)
def _encode_head(unix_s: int, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return encode_head(200, (*_STREAM_HEADERS, (b"Date", http_date(unix_s)), *headers))


@lru_cache(_REMEMBERED)
def _encode_open(server_id: str, position: int, resumed: bool, replayed: int) -> bytes:
    data = {"serverId": server_id, "resumed": resumed, "replayed": replayed}
    return encode_event(
        msgspec.json.encode(data), event=b"sse.open", event_id=format_position(position)
    )
