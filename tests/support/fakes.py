"""Stand-ins for what a test cannot wait for or command: time, a client's reading, a Redis.

The transport is a fake around a real socket pair, so that bytes written past it, straight to its
file descriptor, and bytes written through it arrive at one place and in one order.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import hiredis
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from sse_node.streams.event_stream import EventStream

_RECEIVE_BYTES = 1 << 24
_WAIT_S = 10.0
"""How long a condition may take; generous, because a passing test never waits for it."""

# The loops of the tests in tests/net, as its conftest.py names them.
BOTH_LOOPS = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
FAKE_CLOCK = pytest.mark.asyncio(loop_factories=["fake clock"])


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that, when there is nothing to do before the next timer, moves the clock there."""

    def __init__(self, loop: FakeClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(_WAIT_S)
        ready = super().select(0)
        if not ready:
            self._loop.advance(timeout)
        return ready


class FakeClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer instead of passing.

    For tests whose sockets are pairs or unix sockets within the process: there, what has been
    written is there to be read at once, and "nothing to do" means just that.
    """

    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the fake time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass without anything happening in it."""
        self._now += seconds


async def settle() -> None:
    """Let everything run that is only waiting for its turn."""
    for _ in range(20):
        await asyncio.sleep(0)


class Watched:
    """Something whose changes a test can await."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def on_change(self) -> None:
        """Look at what is awaited: something has changed."""
        self._changed.set()

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for a condition that becomes true with a change."""
        async with asyncio.timeout(_WAIT_S):
            while not is_true():
                self._changed.clear()
                await self._changed.wait()


class FakeTransport(asyncio.Transport):
    """A connection whose client is the test, as strict as uvloop's where asyncio's is lenient.

    Bytes the kernel does not take wait until `flush`; nothing happens behind the test's back.
    """

    def __init__(self, send_buffer_bytes: int | None = None) -> None:
        super().__init__()
        self._socket, self.client = socket.socketpair()
        self._socket.setblocking(False)
        self.client.setblocking(False)
        if send_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
        self._protocol: asyncio.Protocol | None = None
        self._waiting = bytearray()
        self._high, self._low = 64 * 1024, 16 * 1024
        self._paused = False
        self._undelivered: deque[bytes | None] = deque()
        self._reading = True
        self._eof_written = False
        self._closing = False
        self.aborted = False
        self.closed = False

    def connect(self, protocol: asyncio.Protocol) -> None:
        """Begin, as a listener does with an accepted connection."""
        self._protocol = protocol
        protocol.connection_made(self)

    # What a protocol may do

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection over."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.Protocol | None:  # type: ignore[override]
        """Return who has the connection; None after its end."""
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return the real socket."""
        return self._socket if name == "socket" else default

    def is_closing(self) -> bool:
        """Return whether it closes or is closed."""
        return self._closing

    def is_reading(self) -> bool:
        """Return whether it would deliver what the client sends."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Let what the client sends wait."""
        self._reading = False

    def resume_reading(self) -> None:
        """Deliver again, what has waited first."""
        if not self._reading:
            self._reading = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say how much may wait before the protocol is told."""
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low
        self._maybe_pause()

    def get_write_buffer_size(self) -> int:
        """Return how much the kernel has not taken."""
        return len(self._waiting)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write what the kernel takes; the rest waits."""
        assert not self.closed, "written to after its end"
        assert not self._eof_written, "written to after write_eof"
        if self.aborted:
            return
        self._waiting += data
        self._send()
        self._maybe_pause()

    def can_write_eof(self) -> bool:
        """Say that half of the connection can be closed."""
        return True

    def write_eof(self) -> None:
        """Close our half, after what waits."""
        self._eof_written = True
        self._send()

    def close(self) -> None:
        """Close, after what waits."""
        if not self._closing:
            self._closing = True
            self._send()

    def abort(self) -> None:
        """Close now; what waits is lost."""
        if not self.aborted:
            self.aborted = self._closing = True
            self._waiting.clear()
            asyncio.get_running_loop().call_soon(self.lose)

    def _send(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._waiting:
                del self._waiting[: self._socket.send(self._waiting)]
        if not self._waiting:
            if self._eof_written and not self.closed:
                self._socket.shutdown(socket.SHUT_WR)
            if self._closing and not self.aborted:
                asyncio.get_running_loop().call_soon(self.lose)

    def _maybe_pause(self) -> None:
        if self._protocol is not None and not self._paused and len(self._waiting) > self._high:
            self._paused = True
            self._protocol.pause_writing()

    # What the kernel and the client do

    def flush(self) -> None:
        """The kernel has room again."""
        self._send()
        if self._protocol is not None and self._paused and len(self._waiting) <= self._low:
            self._paused = False
            self._protocol.resume_writing()

    def feed(self, *pieces: bytes) -> None:
        """The client sends; every piece is a read of its own, unless reading is paused."""
        self._undelivered += [piece for piece in pieces if piece]
        self._deliver()

    def feed_eof(self) -> None:
        """The client closes its half."""
        self._undelivered.append(None)
        self._deliver()

    @property
    def undelivered_bytes(self) -> int:
        """How much the protocol has not wanted to read yet."""
        return sum(len(piece or b"") for piece in self._undelivered)

    def _deliver(self) -> None:
        while self._undelivered and self.is_reading() and self._protocol is not None:
            piece = self._undelivered.popleft()
            if piece is not None:
                self._protocol.data_received(piece)
            elif not self._protocol.eof_received():
                self.close()

    def lose(self, exc: Exception | None = None) -> None:
        """The connection is gone."""
        if self.closed:
            return
        self._closing = self.closed = True
        if self._protocol is not None:
            self._protocol.connection_lost(exc)
            self._protocol = None
        self._socket.close()

    def received(self, at_most: int = _RECEIVE_BYTES) -> bytes:
        """Return what the client can read now and has not read before."""
        received = bytearray()
        with contextlib.suppress(BlockingIOError):
            while data := self.client.recv(at_most - len(received)):
                received += data
        return bytes(received)

    def received_eof(self) -> bool:
        """Return whether the client has read everything and the connection is closed to it."""
        try:
            return self.client.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def dispose(self) -> None:
        """Give the sockets back; the end of the test."""
        self._protocol = None
        self._closing = self.closed = True
        self._socket.close()
        self.client.close()


class RecordingOwner(Watched):
    """The owner of streams, which notes what it is told."""

    def __init__(self, write_limit_bytes: int = 100_000, send_buffer_bytes: int = 65536) -> None:
        super().__init__()
        self.write_limit_bytes = write_limit_bytes
        self.send_buffer_bytes = send_buffer_bytes
        self.waiting: set[EventStream] = set()
        self.told_waiting = 0
        self.closed: list[EventStream] = []

    def on_waiting(self, stream: EventStream) -> None:
        """Note that bytes wait."""
        self.waiting.add(stream)
        self.told_waiting += 1

    def on_flushed(self, stream: EventStream) -> None:
        """Note that none wait any more."""
        self.waiting.discard(stream)
        self.on_change()

    def on_closed(self, stream: EventStream) -> None:
        """Note that the connection is gone."""
        assert stream not in self.closed
        self.closed.append(stream)
        self.on_change()

    async def until_flushed(self, stream: EventStream) -> None:
        """Wait until no bytes of a stream wait."""
        await self.until(lambda: stream not in self.waiting)

    async def until_closed(self, stream: EventStream) -> None:
        """Wait until a stream is gone."""
        await self.until(lambda: stream in self.closed)


class FakeRedis(asyncio.Protocol):
    """The server's side of one connection, which answers a subscriber as Redis does, or not.

    Attributes:
        commands: all that have arrived.
        answers: what is sent for a command's name instead of what Redis sends; b"" for nothing.
    """

    def __init__(self, server: FakeRedisServer) -> None:
        self.commands: list[list[bytes]] = []
        self.answers = dict(server.answers)
        self.lost = False
        self._server = server
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)
        self._server.on_change()

    def data_received(self, data: bytes) -> None:
        """Answer every whole command."""
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            assert isinstance(command, list)
            self.commands.append(command)
            answer = self.answers.get(command[0])
            self.send(answer if answer is not None else self._usual_answer(command))
        self._server.on_change()

    def _usual_answer(self, command: list[bytes]) -> bytes:
        if command[0] == b"SUBSCRIBE":
            return b"".join(confirmation(channel, n) for n, channel in enumerate(command[1:], 1))
        if command[0] == b"PING":
            return push(b"pong", b"")
        return b"+OK\r\n"

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self.lost = True
        self._server.on_change()

    @property
    def names(self) -> list[bytes]:
        """The names of the commands."""
        return [command[0] for command in self.commands]

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        if self._transport is not None and not self.lost and data:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


class FakeRedisServer(Watched):
    """A listener on a unix socket; every connection becomes the next item of `connections`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = str(path)
        self.answers: dict[bytes, bytes] = {}
        self.connections: list[FakeRedis] = []
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(self._accept, self.path)

    def _accept(self) -> FakeRedis:
        self.connections.append(FakeRedis(self))
        return self.connections[-1]

    async def shutdown(self) -> None:
        """Listen no more and close every connection."""
        if self._listener is not None:
            self._listener.close()
        for connection in self.connections:
            connection.close()
        await self.until(lambda: all(connection.lost for connection in self.connections))


def push(*parts: bytes) -> bytes:
    """Return the bytes of what Redis pushes to a subscriber: an array of bulk strings."""
    bulks = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"*%d\r\n%b" % (len(parts), bulks)


def confirmation(channel: bytes, number: int) -> bytes:
    """Return how Redis confirms that a client is subscribed to its n-th channel."""
    return b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%b\r\n:%d\r\n" % (len(channel), channel, number)


def pieces_of(data: bytes, sizes: Iterable[int] | None = None) -> Sequence[bytes]:
    """Return the data in pieces of the given sizes, the rest in one; without sizes in bytes."""
    if sizes is None:
        return [data[i : i + 1] for i in range(len(data))]
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return [*pieces, data[start:]]
