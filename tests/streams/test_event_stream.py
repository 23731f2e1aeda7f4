"""The write side of a stream: every byte once and in order, whatever the client does.

On the real transports of both event loops, because bytes go past them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import struct
from typing import TYPE_CHECKING

import h11
import pytest

from sse_node.http.connection import HttpConnection
from sse_node.streams.event_stream import CloseReason, EventStream
from tests.support.fakes import BOTH_LOOPS, RecordingOwner, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.door import Client

pytestmark = BOTH_LOOPS

LIMIT_BYTES = 100_000
BUFFER_BYTES = 8192  # of the kernel on either side, so that a client is soon behind


def frames(count: int, size: int = 500) -> list[bytes]:
    """Return frames that tell of any loss, doubling or swap."""
    return [b"data: %d %b\n\n" % (number, b"x" * size) for number in range(count)]


class Accepted(asyncio.Protocol):
    """Has a connection until it becomes a stream."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


class Peer:
    """A client on loopback that reads when the test says so, and the transport to it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.socket = socket.socket()
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            self.socket.connect(listener.getsockname())
            self.socket.setblocking(False)
            self._accepted, _ = listener.accept()

    async def connect(self) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        self._accepted.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(Accepted, self._accepted)
        return transport

    async def read(self, count: int) -> bytes:
        """Read exactly so many bytes."""
        received = bytearray()
        async with asyncio.timeout(10):
            while len(received) < count:
                data = await asyncio.get_running_loop().sock_recv(
                    self.socket, min(65536, count - len(received))
                )
                assert data, f"the end after {len(received)} of {count} bytes"
                received += data
        return bytes(received)

    async def read_to_end(self) -> bytes:
        """Read until the connection is closed or reset."""
        received = bytearray()
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                while data := await asyncio.get_running_loop().sock_recv(self.socket, 65536):
                    received += data
        return bytes(received)

    def reset(self) -> None:
        """Break the connection."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@pytest.fixture
def owner() -> RecordingOwner:
    return RecordingOwner(LIMIT_BYTES, 2 * BUFFER_BYTES)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    yield peer
    peer.socket.close()


@pytest.fixture
async def stream(peer: Peer, owner: RecordingOwner) -> AsyncIterator[EventStream]:
    stream = EventStream(await peer.connect(), "u", (), owner)
    yield stream
    if not owner.closed:
        stream.abort(CloseReason.DRAIN)
        await owner.until_closed(stream)


async def test_its_send_buffer_is_small(peer: Peer, owner: RecordingOwner) -> None:
    transport = await peer.connect()
    accepted: socket.socket = transport.get_extra_info("socket")
    before = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    stream = EventStream(transport, "u", (), owner)
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * BUFFER_BYTES < before
    stream.abort(CloseReason.DRAIN)
    await owner.until_closed(stream)


async def test_its_send_buffer_is_left_alone(peer: Peer) -> None:
    transport = await peer.connect()
    accepted: socket.socket = transport.get_extra_info("socket")
    before = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    owner = RecordingOwner(send_buffer_bytes=0)
    stream = EventStream(transport, "u", (), owner)
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before
    stream.abort(CloseReason.DRAIN)
    await owner.until_closed(stream)


def has_ended(stream: EventStream) -> bool:
    return stream.close_reason is not None


def write_until_waiting(stream: EventStream, owner: RecordingOwner) -> bytes:
    """Write what the kernel takes and then some; return all of it."""
    written = bytearray()
    for frame in frames(10_000):
        stream.write(frame)
        written += frame
        if stream in owner.waiting:
            return bytes(written)
    raise AssertionError("the kernel takes everything")


async def test_what_is_written_arrives_in_order(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    for frame in frames(20):
        stream.write(frame)
        assert await peer.read(len(frame)) == frame
    assert owner.told_waiting == 0
    assert stream.waiting_bytes == 0


async def test_nothing_is_still_something_to_write(peer: Peer, stream: EventStream) -> None:
    stream.write(b"")
    stream.write(b"x")
    assert await peer.read(1) == b"x"


async def test_what_a_client_does_not_read_waits_and_then_arrives(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    written = write_until_waiting(stream, owner)
    assert 0 < stream.waiting_bytes < len(written)
    for frame in frames(20):  # behind what waits, not past it
        stream.write(frame)
        written += frame
    assert await peer.read(len(written)) == written
    await owner.until_flushed(stream)
    assert stream.waiting_bytes == 0
    stream.write(b"data: live again\n\n")
    assert await peer.read(18) == b"data: live again\n\n"


async def test_every_byte_arrives_once_however_the_client_reads(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    owner.write_limit_bytes = 1 << 30
    everything = frames(3000, 700)

    async def write() -> None:
        for number, frame in enumerate(everything):
            stream.write(frame)
            if number % 50 == 0:  # more than the kernel takes at once
                await asyncio.sleep(0)

    writing = asyncio.create_task(write())
    expected = b"".join(everything)
    received = b""
    for size in (1, 10_000, 3, 200_000, len(expected) - 210_004):
        received += await peer.read(size)
    await writing
    assert received == expected
    assert owner.told_waiting > 0


async def test_the_owner_is_told_once_per_time_of_waiting(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    for times in (1, 2, 3):
        written = write_until_waiting(stream, owner)
        stream.write(b"more")
        assert owner.told_waiting == times
        await peer.read(len(written) + 4)
        await owner.until_flushed(stream)


async def test_a_client_over_the_write_limit_is_disconnected(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    written = write_until_waiting(stream, owner)
    stream.write(b"x" * (LIMIT_BYTES - stream.waiting_bytes))
    assert not has_ended(stream)
    stream.write(b"x")
    assert stream.close_reason is CloseReason.SLOW_CLIENT
    assert owner.closed == [], "the owner is not told inside write"
    stream.write(b"after the end")
    await owner.until_closed(stream)
    received = await peer.read_to_end()
    assert written.startswith(received), "what arrives is whole up to where it ends"


async def test_a_long_replay_is_not_slowness(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    replay = b"r" * (5 * LIMIT_BYTES)
    stream.start(replay)
    stream.write(b"x" * (LIMIT_BYTES // 2))
    assert not has_ended(stream)
    assert await peer.read(len(replay)) == replay
    await peer.read(LIMIT_BYTES // 2)
    await owner.until_flushed(stream)

    write_until_waiting(stream, owner)
    stream.write(b"x" * LIMIT_BYTES)  # the replay has been read: the usual limit holds
    assert stream.close_reason is CloseReason.SLOW_CLIENT


async def test_a_client_that_falls_behind_its_replay_is_slow(
    stream: EventStream, owner: RecordingOwner
) -> None:
    stream.start(b"r" * (2 * LIMIT_BYTES))
    for _ in range(4):
        stream.write(b"x" * LIMIT_BYTES)
    assert stream.close_reason is CloseReason.SLOW_CLIENT


async def test_a_short_opening_is_no_replay_to_be_waited_for(
    stream: EventStream, owner: RecordingOwner
) -> None:
    stream.start(b"x" * 1000)
    write_until_waiting(stream, owner)
    stream.write(b"x" * (LIMIT_BYTES - stream.waiting_bytes + 1))
    assert stream.close_reason is CloseReason.SLOW_CLIENT


@pytest.mark.parametrize("answer_bytes", [100, 300_000])
async def test_a_stream_begins_after_the_answer_before_it(
    peer: Peer, owner: RecordingOwner, answer_bytes: int
) -> None:
    transport = await peer.connect()
    transport.write(b"a" * answer_bytes)
    stream = EventStream(transport, "u", (), owner)
    stream.start(b"head")
    stream.write(b"event")
    assert await peer.read(answer_bytes + 9) == b"a" * answer_bytes + b"headevent"
    await owner.until_flushed(stream)
    stream.write(b"live")
    assert await peer.read(4) == b"live"
    assert not has_ended(stream)
    stream.abort(CloseReason.DRAIN)
    await owner.until_closed(stream)


async def test_a_client_that_leaves_ends_its_stream(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    peer.socket.close()
    await owner.until_closed(stream)
    assert stream.close_reason is CloseReason.CLIENT_LEFT
    stream.write(b"nobody hears")


async def test_a_client_that_closes_its_half_has_left(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    peer.socket.shutdown(socket.SHUT_WR)
    await owner.until_closed(stream)
    assert stream.close_reason is CloseReason.CLIENT_LEFT
    assert await peer.read_to_end() == b""


async def test_writing_to_a_broken_connection_does_not_raise(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    peer.reset()
    for _ in range(3):
        stream.write(b"data: x\n\n")
    assert stream.close_reason is CloseReason.CLIENT_LEFT
    assert owner.closed == [], "the owner is not told inside write"
    await owner.until_closed(stream)


async def test_a_connection_that_breaks_while_bytes_wait_ends_the_stream(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    write_until_waiting(stream, owner)
    peer.reset()
    for _ in range(20):
        stream.write(b"data: x\n\n")
    await owner.until_closed(stream)
    assert stream.close_reason is CloseReason.CLIENT_LEFT
    stream.write(b"nobody hears")


async def test_what_a_client_says_is_ignored(peer: Peer, stream: EventStream) -> None:
    peer.socket.send(b"GET / HTTP/1.1\r\n\r\n" * 100)
    await settle()
    stream.write(b"data: x\n\n")
    assert await peer.read(9) == b"data: x\n\n"


async def test_an_ended_stream_says_farewell(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    stream.write(b"data: x\n\n")
    stream.close(b"retry: 1\n\n", CloseReason.DRAIN)
    stream.write(b"too late")
    assert await peer.read_to_end() == b"data: x\n\nretry: 1\n\n"
    await owner.until_closed(stream)
    assert stream.close_reason is CloseReason.DRAIN


async def test_the_farewell_comes_after_what_waits(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    written = write_until_waiting(stream, owner)
    stream.close(b"retry: 1\n\n", CloseReason.MAX_AGE)
    stream.write(b"too late")
    await settle()
    assert owner.closed == [], "it closes when all has been sent"
    assert await peer.read_to_end() == written + b"retry: 1\n\n"
    await owner.until_closed(stream)
    assert stream.close_reason is CloseReason.MAX_AGE


async def test_a_farewell_may_be_empty(peer: Peer, stream: EventStream) -> None:
    stream.close(b"", CloseReason.DRAIN)
    assert await peer.read_to_end() == b""


async def test_the_first_reason_stays(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    stream.close(b"bye", CloseReason.MAX_AGE)
    stream.close(b"bye again", CloseReason.DRAIN)
    stream.abort(CloseReason.SLOW_CLIENT)
    await owner.until_closed(stream)
    assert stream.close_reason is CloseReason.MAX_AGE
    assert await peer.read_to_end() in {b"", b"bye"}


async def test_an_ended_stream_whose_client_stalls_can_be_aborted(
    stream: EventStream, owner: RecordingOwner
) -> None:
    write_until_waiting(stream, owner)
    stream.close(b"bye", CloseReason.DRAIN)
    stream.abort(CloseReason.SLOW_CLIENT)
    await owner.until_closed(stream)
    assert stream.close_reason is CloseReason.DRAIN


async def test_abort_drops_what_waits(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    written = write_until_waiting(stream, owner) + b"x" * 50_000
    stream.write(b"x" * 50_000)
    stream.abort(CloseReason.SLOW_CLIENT_TOTAL)
    stream.abort(CloseReason.DRAIN)
    stream.write(b"too late")
    assert owner.closed == []
    await owner.until_closed(stream)
    assert stream.close_reason is CloseReason.SLOW_CLIENT_TOTAL
    received = await peer.read_to_end()
    assert written.startswith(received)
    assert len(received) < len(written)


async def test_an_aborted_stream_writes_no_more(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    stream.abort(CloseReason.DRAIN)
    stream.write(b"too late")
    await owner.until_closed(stream)
    assert await peer.read_to_end() == b""


async def test_nothing_is_written_to_who_has_the_descriptor_next(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    descriptor = stream.fileno()
    stream.abort(CloseReason.DRAIN)
    await owner.until_closed(stream)
    await settle()
    read_end, write_end = os.pipe()
    duplicates = [os.dup(write_end) for _ in range(50)]
    try:
        assert descriptor in [read_end, write_end, *duplicates], "the test needs it to be reused"
        stream.write(b"not yours")
        stream.close(b"not yours", CloseReason.DRAIN)
        os.set_blocking(read_end, False)
        with pytest.raises(BlockingIOError):
            os.read(read_end, 100)
    finally:
        for open_descriptor in (read_end, write_end, *duplicates):
            os.close(open_descriptor)


async def test_its_descriptor_is_the_connections(
    peer: Peer, stream: EventStream, owner: RecordingOwner
) -> None:
    os.write(stream.fileno(), b"x")
    assert await peer.read(1) == b"x"


def http_objects() -> int:
    gc.collect()
    return sum(isinstance(o, HttpConnection | h11.Connection) for o in gc.get_objects())


async def test_a_stream_is_one_object_with_slots(
    connect: Callable[[], Client],
) -> None:
    tasks, objects = asyncio.all_tasks(), http_objects()
    client = connect()
    client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    stream = client.transport.get_protocol()
    assert isinstance(stream, EventStream)
    assert not hasattr(stream, "__dict__")
    assert asyncio.all_tasks() == tasks
    assert http_objects() == objects
