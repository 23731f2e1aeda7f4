"""All open streams of a node: adding and removing them, their timers, their counters."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from sse_node.config.sections import StreamsSettings
from sse_node.delivery.hub import Hub
from sse_node.streams.access_end import AccessEnds
from sse_node.streams.admission import Admission
from sse_node.streams.event_stream import CloseReason, OpenStream
from sse_node.streams.frames import encode_closed, encode_reset
from sse_node.streams.heartbeat import Heartbeat
from sse_node.streams.limits import StreamLimits
from sse_node.streams.max_age import MaxAge
from sse_node.streams.retry import RetryTime
from sse_node.streams.slow_clients import SlowClients
from sse_node.wire.identity import ANYONE, Identity


class Streams:
    """The open streams of a node, and the owner of every stream; lives as long as the node.

    Args:
        hub_of: returns where streams are registered for their events, by their first audience.
        heartbeat: pings the streams; it also holds the list of them.
        slow_clients: watches streams with waiting bytes.
        retry: the reconnection time for streams that reach the maximum age.
        settings: how many streams, how many bytes may wait for one, and how old it may get.
        limits: of users and client addresses.
        admission: knows whether this process is overloaded.
    """

    def __init__(
        self,
        hub_of: Callable[[str], Hub],
        heartbeat: Heartbeat,
        slow_clients: SlowClients,
        retry: RetryTime,
        settings: StreamsSettings,
        limits: StreamLimits,
        admission: Admission,
    ) -> None:
        self.limits = limits
        self.admission = admission
        self.max_streams = settings.max_streams
        self.write_limit_bytes = settings.write_limit
        self.send_buffer_bytes = settings.send_buffer
        self._hub_of = hub_of
        self._heartbeat = heartbeat
        self._slow_clients = slow_clients
        self._retry = retry
        max_age_s = settings.max_stream_age
        self._ages = MaxAge(max_age_s, self._on_aged) if max_age_s else None
        self._access_ends = AccessEnds(self._on_access_end)
        self._count = 0
        self._all_closed = asyncio.Event()
        self.serving = False
        self.opened = 0
        self.resumed = 0
        self.replayed = 0
        self.refused: Counter[str] = Counter()
        self.resets: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[OpenStream]:
        return iter(self._heartbeat)

    @property
    def full(self) -> bool:
        """Whether a further stream would be refused."""
        return self._count >= self.max_streams

    @property
    def overload(self) -> str:
        """Why this process is too busy for a further stream; empty when it is not."""
        return self.admission.obstacle(self._count)

    def obstacle(self, client: str) -> str:
        """Return why a further stream is refused at the moment; empty when it is not.

        Args:
            client: address that is counted; empty where it is not, or has been.
        """
        if not self.serving:
            return "not-serving"
        if self._count >= self.max_streams:  # `full` and `overload`, without two calls
            return "full"
        return self.admission.obstacle(self._count) or self.limits.obstacle(client)

    def start(self) -> None:
        """Start the timers; streams are refused until `serving` is set."""
        self._heartbeat.start()
        self._slow_clients.start()
        self._access_ends.start()
        if self._ages is not None:
            self._ages.start()

    def add(self, stream: OpenStream, identity: Identity = ANYONE, client: str = "") -> None:
        """Register a stream; from now on it gets its events and pings.

        Args:
            stream: that is open.
            identity: of its caller.
            client: what limits count its address as; empty where none is counted.
        """
        audiences = stream.audiences
        self._hub_of(audiences[0]).add(stream, audiences)
        self._heartbeat.add(stream)
        if self._ages is not None:
            self._ages.add(stream)
        self._access_ends.add(stream, identity)
        if client:
            self.limits.add(stream, client)
        self._count += 1
        self.opened += 1

    def shared_channels(self, audience: str, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Return the equal tuple of an open stream, if one is found quickly: it takes no memory.

        Args:
            audience: the first one of the stream.
            channels: of the stream.
        """
        hub = self._hub_of(audience)
        for channel in channels:
            other = cast(OpenStream | None, hub.newest_of(channel))
            if other is not None and other.channels == channels:
                return other.channels
        return channels

    def replace_oldest(self, user: str | None) -> None:
        """Close the oldest streams of a user who gets another one and has all that are allowed."""
        limit = self.limits.per_user
        if not limit or user is None:
            return
        streams = cast(Iterable[OpenStream], self._hub_of(user).streams_of(user) or ())
        current = [stream for stream in streams if stream.close_reason is None]
        for stream in current[: max(0, len(current) + 1 - limit)]:
            self._on_access_end(stream, CloseReason.REPLACED)

    def reset_all(self, hub: Hub, reason: str, position: int) -> None:
        """Write `sse.reset` to all streams of a hub: they may have missed events before a position.

        Args:
            hub: where they are registered.
            reason: of the reset.
            position: of the hub's shard.
        """
        if streams := hub.streams():
            self.resets[reason] += len(streams)
            frame = encode_reset(reason, position)
            for stream in streams:
                stream.write(frame)

    def revoke_user(self, user: str) -> None:
        """Close every stream of a user."""
        for stream in list(self._hub_of(user).streams_of(user) or ()):
            self._on_access_end(cast(OpenStream, stream), CloseReason.REVOKED)

    def revoke_token(self, token_id: str) -> None:
        """Close every stream of a token by its `jti`."""
        self._access_ends.revoke_token(token_id)

    def end_keys(self, holds: Callable[[str], bool]) -> None:
        """Close the streams whose token was signed with a key that does not hold any more."""
        self._access_ends.end_keys(holds)

    def _on_access_end(self, stream: OpenStream, reason: CloseReason) -> None:
        stream.close(encode_closed(reason) + self._retry.encode(), reason)

    def _on_aged(self, stream: OpenStream) -> None:
        stream.close(self._retry.encode(), CloseReason.MAX_AGE)

    # Called by the streams

    def on_waiting(self, stream: OpenStream) -> None:
        """Bytes of a stream wait for its client."""
        self._slow_clients.add(stream)

    def on_flushed(self, stream: OpenStream) -> None:
        """A stream has no waiting bytes any more."""
        self._slow_clients.discard(stream)

    def on_closed(self, stream: OpenStream) -> None:
        """A stream's connection is gone."""
        audiences = stream.audiences
        self._hub_of(audiences[0]).remove(stream, audiences)
        self._heartbeat.remove(stream)
        self._count -= 1
        if not self._count:
            self._all_closed.set()
        self._slow_clients.discard(stream)
        if self._ages is not None:
            self._ages.remove(stream)
        self._access_ends.remove(stream)
        self.limits.remove(stream)
        if stream.close_reason is not None:
            self.closed[stream.close_reason] += 1

    # The end

    async def wait_closed(self) -> None:
        """Wait until every stream is closed."""
        while self._count:
            self._all_closed.clear()
            await self._all_closed.wait()

    def shutdown(self) -> None:
        """Abort the streams that are left and stop the timers."""
        self._heartbeat.shutdown()
        self._slow_clients.shutdown()
        self._access_ends.shutdown()
        if self._ages is not None:
            self._ages.shutdown()
        for stream in list(self):
            stream.abort(CloseReason.DRAIN)
