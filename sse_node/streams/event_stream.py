"""The write side of one open event stream, from its head to the close of its connection.

Bytes go straight to the socket with one `write(2)`; only what the kernel does not take goes into
the transport's buffer. That saves a tenth of the CPU of a delivery against `transport.write`. The
file descriptor stays ours until `connection_lost`: both event loops close it after that call.
"""

import asyncio
import os
import socket
from enum import StrEnum
from typing import Final, Protocol

_AF_INET: Final = int(socket.AF_INET)
_SOCK_STREAM: Final = int(socket.SOCK_STREAM)
_SOL_SOCKET: Final = socket.SOL_SOCKET
_SO_SNDBUF: Final = socket.SO_SNDBUF


class CloseReason(StrEnum):
    """Why a stream was closed: the metric's label and the log's word."""

    CLIENT_LEFT = "client-left"
    SLOW_CLIENT = "slow-client"
    SLOW_CLIENT_TOTAL = "slow-client-total"
    MAX_AGE = "max-age"
    DRAIN = "drain"
    TOKEN_EXPIRED = "token-expired"
    REVOKED = "revoked"
    REPLACED = "replaced"


class OpenStream(Protocol):
    """An open stream as all others see it; only `opening` knows what is behind it.

    Attributes:
        channels: those of its audiences that are channels; one tuple shared by many streams.
        beat: set by the heartbeat; here because a table of all streams would take more memory.
        end_second: set by the maximum age, for the same reason.
        queued_bytes: all bytes that ever had to wait for the client to read; never falls.
        close_reason: the first one it was closed for; None while it is open.
    """

    channels: tuple[str, ...]
    beat: int
    end_second: int
    queued_bytes: int
    close_reason: CloseReason | None

    @property
    def audiences(self) -> tuple[str, ...]:
        """All that it is registered for."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in this process for the client to read."""

    def start(self, data: bytes) -> None:
        """Write head, `sse.open` and replay; however long, they don't count as slowness."""

    def write(self, data: bytes) -> None:
        """Write frames; never raises, never blocks, never touches the hub."""

    def close(self, final_bytes: bytes, reason: CloseReason) -> None:
        """Close in order: what waits and `final_bytes` are still sent."""

    def abort(self, reason: CloseReason) -> None:
        """Close at once; what waits is lost, and the client resumes from its last event ID."""

    def fileno(self) -> int:
        """Return the file descriptor of the connection; valid until `on_closed` of the owner."""


class StreamOwner(Protocol):
    """What all streams of a node share.

    Attributes:
        write_limit_bytes: that may wait in this process for one client.
        send_buffer_bytes: of the kernel's buffer for one connection; 0 to leave it alone.
    """

    write_limit_bytes: int
    send_buffer_bytes: int

    def on_waiting(self, stream: "EventStream") -> None:
        """Bytes of this stream wait for the client to read."""

    def on_flushed(self, stream: "EventStream") -> None:
        """No bytes of this stream wait any more."""

    def on_closed(self, stream: "EventStream") -> None:
        """The stream's connection is gone; called once."""


def _set_send_buffer(file_descriptor: int, size: int) -> None:
    """Set the size of a connection's send buffer.

    `SocketType` is the part of `socket.socket` that is in C; the rest would cost each stream an
    object and two enums. The family has no meaning here: without one it would ask the kernel.
    """
    connection = socket.SocketType(_AF_INET, _SOCK_STREAM, 0, file_descriptor)
    try:
        connection.setsockopt(_SOL_SOCKET, _SO_SNDBUF, size)
    finally:
        connection.detach()


class EventStream(asyncio.Protocol):
    """One open stream; made by `opening` when a request has become one.

    Args:
        transport: of the connection; the stream becomes its protocol.
        user: whose events it is registered for; None for a stream of channels alone.
        channels: the other audiences it is registered for; one tuple shared by many streams.
        owner: shared by all streams of the node.
    """

    __slots__ = ("_blocked", "_file_descriptor", "_owner", "_replay_bytes", "_transport", "_user",
                 "beat", "channels", "close_reason", "end_second", "queued_bytes")  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        user: str | None,
        channels: tuple[str, ...],
        owner: StreamOwner,
    ) -> None:
        self._transport = transport
        self._user = user
        self.channels = channels
        self._owner = owner
        self.beat = 0  # the heartbeat's
        self.end_second = 0  # of the maximum age, where there is one
        self.close_reason: CloseReason | None = None
        self._file_descriptor: int = transport.get_extra_info("socket").fileno()
        if owner.send_buffer_bytes:  # streams only: a large response needs a large buffer
            # The kernel doubles the value.
            _set_send_buffer(self._file_descriptor, owner.send_buffer_bytes // 2)
        # An answer to an earlier request of this connection may still wait.
        self.queued_bytes = self._replay_bytes = transport.get_write_buffer_size()
        self._blocked = self.queued_bytes > 0
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
            self.queued_bytes += len(data) - sent
            self._transport.write(data[sent:])

    def _write_behind(self, data: bytes) -> None:
        if self.close_reason is not None:
            return
        waiting_bytes = self.waiting_bytes + len(data)
        if waiting_bytes > self._owner.write_limit_bytes + self._replay_bytes:
            self.abort(CloseReason.SLOW_CLIENT)
        else:
            self.queued_bytes += len(data)
            self._transport.write(data)

    @property
    def audiences(self) -> tuple[str, ...]:
        """All that it is registered for."""
        return self.channels if self._user is None else (self._user, *self.channels)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in this process for the client to read."""
        return self._transport.get_write_buffer_size()

    def fileno(self) -> int:
        """Return the file descriptor of the connection; valid until `on_closed` of the owner."""
        return self._file_descriptor

    def close(self, final_bytes: bytes, reason: CloseReason) -> None:
        """Close in order: what waits and `final_bytes` are still sent."""
        if final_bytes:
            self.write(final_bytes)
        if self.close_reason is None:
            self.close_reason = reason
            self._blocked = True
            self._transport.close()

    def abort(self, reason: CloseReason) -> None:
        """Close at once; what waits is lost, and the client resumes from its last event ID."""
        if self.close_reason is None:
            self.close_reason = reason
        self._blocked = True
        self._transport.abort()

    # Called by the transport

    def pause_writing(self) -> None:
        """Bytes wait in the transport; until they are gone all others go behind them."""
        self._blocked = True
        self._owner.on_waiting(self)

    def resume_writing(self) -> None:
        """The transport has passed on all that waited."""
        self._blocked = self.close_reason is not None
        self._replay_bytes = 0
        self._owner.on_flushed(self)

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
        self._owner.on_closed(self)
