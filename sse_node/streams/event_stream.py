"""The write side of one open event stream, from its head to the close of its connection.

Bytes go straight to the socket with one `write(2)`; only what the kernel does not take goes into
the transport's buffer. That saves a tenth of the CPU of a delivery against `transport.write`. The
file descriptor stays ours until `connection_lost`: both event loops close it after that call.
"""

import asyncio
import os
from enum import StrEnum
from typing import Protocol


class CloseReason(StrEnum):
    """Why a stream was closed: the metric's label and the log's word."""

    CLIENT_LEFT = "client-left"
    SLOW_CLIENT = "slow-client"
    SLOW_CLIENT_TOTAL = "slow-client-total"
    MAX_AGE = "max-age"
    DRAIN = "drain"


class StreamOwner(Protocol):
    """What all streams of a node share."""

    write_limit_bytes: int

    def on_waiting(self, stream: "EventStream") -> None:
        """Bytes of this stream wait for the client to read."""

    def on_flushed(self, stream: "EventStream") -> None:
        """No bytes of this stream wait any more."""

    def on_closed(self, stream: "EventStream") -> None:
        """The stream's connection is gone; called once."""


class EventStream(asyncio.Protocol):
    """One open stream; made by `opening` when a request has become one.

    Args:
        transport: of the connection; the stream becomes its protocol.
        user: whose events it is registered for.
        channels: the audiences it is registered for besides; better one tuple than one a stream.
        owner: shared by all streams of the node.
    """

    __slots__ = ("_blocked", "_file_descriptor", "_queued_bytes", "_replay_bytes",
                 "beat", "channels", "close_reason", "end_second", "owner",
                 "transport", "user")  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        user: str,
        channels: tuple[str, ...],
        owner: StreamOwner,
    ) -> None:
        self.transport = transport
        self.user = user
        self.channels = channels
        self.owner = owner
        self.beat = 0  # the heartbeat's
        self.end_second = 0  # of the maximum age, where there is one
        self.close_reason: CloseReason | None = None
        self._file_descriptor: int = transport.get_extra_info("socket").fileno()
        # An answer to an earlier request of this connection may still wait.
        self._queued_bytes = self._replay_bytes = transport.get_write_buffer_size()
        self._blocked = self._queued_bytes > 0
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=0)  # pause_writing: "something waits"

    def start(self, data: bytes) -> None:
        """Write head, `sse.open` and replay; however long, they don't count as slowness."""
        self._replay_bytes += len(data)
        self.write(data)
        if not self._blocked:
            self._replay_bytes = 0

    def write(self, data: bytes) -> None:
        """Write frames; never raises, never blocks, never touches the hub."""
        if self._blocked:
            self._write_behind(data)
            return
        try:
            sent = os.write(self._file_descriptor, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.abort(CloseReason.CLIENT_LEFT)
            return
        if sent < len(data):
            self._queued_bytes += len(data) - sent
            self.transport.write(data[sent:])

    def _write_behind(self, data: bytes) -> None:
        if self.close_reason is not None:
            return
        waiting_bytes = self.waiting_bytes + len(data)
        if waiting_bytes > self.owner.write_limit_bytes + self._replay_bytes:
            self.abort(CloseReason.SLOW_CLIENT)
        else:
            self._queued_bytes += len(data)
            self.transport.write(data)

    @property
    def audiences(self) -> tuple[str, ...]:
        """All that it is registered for."""
        return (self.user, *self.channels)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in this process for the client to read."""
        return self.transport.get_write_buffer_size()

    @property
    def flushed_bytes(self) -> int:
        """Bytes that have waited and are gone: while this grows, the client reads."""
        return self._queued_bytes - self.waiting_bytes

    def close(self, final_bytes: bytes, reason: CloseReason) -> None:
        """Close in order: what waits and `final_bytes` are still sent."""
        if final_bytes:
            self.write(final_bytes)
        if self.close_reason is None:
            self.close_reason = reason
            self._blocked = True
            self.transport.close()

    def abort(self, reason: CloseReason) -> None:
        """Close at once; what waits is lost, and the client resumes from its last event ID."""
        if self.close_reason is None:
            self.close_reason = reason
        self._blocked = True
        self.transport.abort()

    # Called by the transport

    def pause_writing(self) -> None:
        """Bytes wait in the transport; until they are gone all others go behind them."""
        self._blocked = True
        self.owner.on_waiting(self)

    def resume_writing(self) -> None:
        """The transport has passed on all that waited."""
        self._blocked = self.close_reason is not None
        self._replay_bytes = 0
        self.owner.on_flushed(self)

    @staticmethod  # a transport keeps what it calls, and a bound method would be 64 bytes a stream
    def data_received(data: bytes) -> None:
        """Ignore what a client sends after its request: there is nothing to answer it with."""

    def eof_received(self) -> None:
        """The client has closed its side."""
        self.abort(CloseReason.CLIENT_LEFT)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; the file descriptor must not be written to from here on."""
        self._blocked = True
        if self.close_reason is None:
            self.close_reason = CloseReason.CLIENT_LEFT
        self.owner.on_closed(self)
