"""All open streams, with streams that have nothing but what others may use of them."""

import asyncio
from dataclasses import replace

import pytest
from msgspec import structs

from sse_node.config.reading import read_settings
from sse_node.delivery.hub import Hub, channel_audience
from sse_node.streams.admission import Admission
from sse_node.streams.event_stream import CloseReason
from sse_node.streams.frames import encode_closed, encode_reset
from sse_node.streams.heartbeat import Heartbeat
from sse_node.streams.limits import StreamLimits
from sse_node.streams.registry import Streams
from sse_node.streams.retry import RetryTime
from sse_node.streams.slow_clients import SlowClients
from sse_node.wire.identity import Identity
from tests.support.fakes import FAKE_CLOCK

pytestmark = FAKE_CLOCK

PING = b"event: ping\ndata: {}\n\n"
TIMEOUT_S = 5.0
SYSTEM = channel_audience("system-events")


class BareStream:
    """The attributes and the six methods of an open stream; its connection is closed by `end`."""

    def __init__(self, streams: Streams, *audiences: str) -> None:
        self._streams = streams
        self.audiences = audiences
        self.channels = audiences[1:]
        self.beat = self.end_second = self.queued_bytes = self.waiting_bytes = 0
        self.close_reason: CloseReason | None = None
        self.written = b""

    def start(self, data: bytes) -> None:
        self.written += data

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self, final_bytes: bytes, reason: CloseReason) -> None:
        self.written += final_bytes
        self.close_reason = self.close_reason or reason

    def abort(self, reason: CloseReason) -> None:
        self.close_reason = self.close_reason or reason

    def fileno(self) -> int:
        raise AssertionError("the registry does not ask for descriptors")

    def wait_with(self, waiting_bytes: int) -> None:
        """Have bytes wait for the client."""
        self.queued_bytes += waiting_bytes
        self.waiting_bytes = waiting_bytes
        self._streams.on_waiting(self)

    def end(self, reason: CloseReason = CloseReason.CLIENT_LEFT) -> None:
        """Lose the connection."""
        self.close_reason = self.close_reason or reason
        self._streams.on_closed(self)


class Node:
    """A registry whose streams the test opens."""

    def __init__(
        self, max_streams: int = 100, max_stream_age: float = 0, streams_per_user: int = 0
    ) -> None:
        settings = read_settings(
            {"max_streams": str(max_streams), "streams_per_user": str(streams_per_user)}, {}
        )
        self.hub = Hub()
        self.slow_clients = SlowClients(timeout_s=TIMEOUT_S, total_limit_bytes=1000)
        self.streams = Streams(
            lambda audience: self.hub,
            Heartbeat(1.0, lambda: PING, lambda lag_s: None),
            self.slow_clients,
            RetryTime(3000),
            replace(settings.streams, max_stream_age=max_stream_age),
            StreamLimits(settings.limits),
            Admission(settings.limits),
        )

    def open(self, *audiences: str) -> BareStream:
        """Add a stream."""
        stream = BareStream(self.streams, *audiences)
        self.streams.add(stream)
        return stream


@pytest.fixture
async def node() -> Node:
    return Node()


async def test_a_stream_is_found_by_its_audiences_until_its_connection_is_gone(node: Node) -> None:
    stream = node.open("ann", SYSTEM)
    assert list(node.hub.streams_of("ann") or ()) == [stream]
    assert list(node.hub.streams_of(SYSTEM) or ()) == [stream]
    assert list(node.streams) == [stream]
    stream.close(b"", CloseReason.DRAIN)
    assert len(node.streams) == 1, "bytes may still wait"
    stream.end()
    assert node.hub.streams_of("ann") is node.hub.streams_of(SYSTEM) is None
    assert list(node.streams) == []
    assert (len(node.streams), node.streams.opened) == (0, 1)
    assert node.streams.closed == {CloseReason.DRAIN: 1}


async def test_streams_with_the_same_channels_share_one_tuple(node: Node) -> None:
    room, other_room = channel_audience("room:1"), channel_audience("room:2")
    assert node.streams.shared_channels("ann", (room, SYSTEM)) == (room, SYSTEM)
    first = node.open("ann", room, SYSTEM)
    node.open("ben", other_room, SYSTEM)
    assert node.streams.shared_channels("ann", (room, SYSTEM)) is first.channels
    assert node.streams.shared_channels("ann", (room, other_room, SYSTEM)) is not first.channels
    first.end()
    channels = (channel_audience("room:1"), SYSTEM)
    assert node.streams.shared_channels("ann", channels) is channels


async def test_it_is_full_at_its_maximum() -> None:
    node = Node(max_streams=2)
    streams = [node.open("ann"), node.open("ann")]
    assert node.streams.full
    streams[0].end()
    assert not node.streams.full


def replaced(streams: list[BareStream]) -> list[bool]:
    return [stream.close_reason is CloseReason.REPLACED for stream in streams]


async def test_a_user_over_the_limit_loses_the_oldest_stream() -> None:
    node = Node(streams_per_user=2)
    streams = []
    for _ in range(7):  # a few streams of a user are kept otherwise than many
        node.streams.replace_oldest("ann")
        streams.append(node.open("ann", SYSTEM))
    other = node.open("bob", SYSTEM)
    assert replaced(streams) == [True] * 5 + [False] * 2
    assert streams[0].written.startswith(encode_closed("replaced") + b"retry: ")
    assert streams[-1].written == other.written == b""
    for stream in streams[:5]:
        stream.end()
    assert node.streams.closed == {CloseReason.REPLACED: 5}
    streams[5].end()
    node.streams.replace_oldest("ann")
    streams.append(node.open("ann", SYSTEM))
    assert not any(replaced(streams[6:])), "there was room for one more"


async def test_users_have_as_many_streams_as_they_like_without_a_limit(node: Node) -> None:
    streams = []
    for _ in range(20):
        node.streams.replace_oldest("ann")
        streams.append(node.open("ann"))
    assert not any(replaced(streams))


async def test_a_stream_without_a_user_replaces_nothing() -> None:
    node = Node(streams_per_user=1)
    stream = node.open(SYSTEM)
    node.streams.replace_oldest(None)
    assert not any(replaced([stream]))


async def test_every_stream_is_reset_once(node: Node) -> None:
    streams = [node.open("ann", SYSTEM), node.open("bob", SYSTEM)]
    node.streams.reset_all(node.hub, "rollback", 7)
    assert [stream.written for stream in streams] == [encode_reset("rollback", 7)] * 2
    assert node.streams.resets == {"rollback": 2}


async def test_a_reset_without_streams_is_not_counted(node: Node) -> None:
    node.streams.reset_all(node.hub, "rollback", 7)
    assert node.streams.resets == {}


async def test_its_timers_run_from_start_to_shutdown() -> None:
    node = Node(max_stream_age=100)
    pinged = node.open("ann")
    await asyncio.sleep(2.0)
    assert pinged.written == b""
    node.streams.start()
    await asyncio.sleep(1.05)
    assert pinged.written == PING
    node.streams.shutdown()
    assert pinged.close_reason is CloseReason.DRAIN
    await asyncio.sleep(200.0)
    assert pinged.written == PING


async def test_a_stream_that_reaches_the_maximum_age_is_told_when_to_return() -> None:
    node = Node(max_stream_age=100)
    node.streams.start()
    stream = node.open("ann")
    await asyncio.sleep(125.0)
    node.streams.shutdown()
    assert stream.close_reason is CloseReason.MAX_AGE
    assert b"retry: " in stream.written


async def test_a_client_that_reads_nothing_is_slow_and_one_that_reads_is_not(node: Node) -> None:
    node.streams.start()
    stalled, reading = node.open("ann"), node.open("bob")
    for stream in (stalled, reading):
        stream.wait_with(100)
    for _ in range(int(TIMEOUT_S) + 2):
        reading.queued_bytes += 10  # as many as leave: the same number waits
        await asyncio.sleep(1.0)
    node.streams.shutdown()
    assert stalled.close_reason is CloseReason.SLOW_CLIENT
    assert reading.close_reason is CloseReason.DRAIN


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_stream_whose_bytes_are_gone_does_not_count_as_waiting(
    node: Node, leaves: bool
) -> None:
    stream = node.open("ann")
    stream.wait_with(100)
    assert node.slow_clients.waiting_bytes == 100
    if leaves:
        stream.end()
    else:
        node.streams.on_flushed(stream)
    assert node.slow_clients.waiting_bytes == 0


async def test_waiting_for_the_last_connection_to_close(node: Node) -> None:
    await node.streams.wait_closed()
    streams = [node.open("ann"), node.open("bob")]
    waiting = asyncio.create_task(node.streams.wait_closed())
    for stream in streams:
        await asyncio.sleep(1.0)
        assert not waiting.done()
        stream.end()
    await waiting


async def test_a_revoked_user_loses_its_streams_and_nobody_else(node: Node) -> None:
    streams = node.streams
    revoked = [BareStream(streams, "ann", SYSTEM) for _ in range(3)]
    others = [BareStream(streams, user, SYSTEM) for user in ("an", "Ann", "bob")]
    for stream in (*revoked, *others):
        streams.add(stream)
    streams.revoke_user("ann")
    streams.revoke_user("nobody")
    for stream in revoked:
        assert stream.close_reason is CloseReason.REVOKED
        assert b'event: sse.closed\ndata: {"reason":"revoked"}\n\nretry: ' in stream.written
        stream.end()
    assert [stream.close_reason for stream in others] == [None] * 3
    assert streams.closed["revoked"] == 3


async def test_a_revoked_token_loses_its_streams(node: Node) -> None:
    streams = node.streams
    identity = Identity(caller="user:ann", user="ann", token_id="t-1", expires_s=4e9)
    revoked, other = BareStream(streams, "ann"), BareStream(streams, "ann")
    streams.add(revoked, identity)
    streams.add(other, structs.replace(identity, token_id="t-2"))
    streams.revoke_token("t-1")
    assert (revoked.close_reason, other.close_reason) == (CloseReason.REVOKED, None)
