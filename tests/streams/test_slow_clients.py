"""Who stalls or makes the node hold too much is disconnected; who only is behind is not."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from sse_node.streams.event_stream import CloseReason, EventStream
from sse_node.streams.slow_clients import SlowClients
from tests.support.fakes import FAKE_CLOCK, FakeTransport

pytestmark = FAKE_CLOCK
TIMEOUT_S = 8.0
TOTAL_BYTES = 1_000_000


class Node:
    """The owner of streams, as `app.streams` is: it passes on who waits."""

    write_limit_bytes = 10 * TOTAL_BYTES
    send_buffer_bytes = 0

    def __init__(self, make_transport: Callable[[int], FakeTransport]) -> None:
        self._make_transport = make_transport
        self.slow_clients = SlowClients(timeout_s=TIMEOUT_S, total_limit_bytes=TOTAL_BYTES)
        self.slow_clients.start()

    def on_waiting(self, stream: EventStream) -> None:
        self.slow_clients.add(stream)

    def on_flushed(self, stream: EventStream) -> None:
        self.slow_clients.discard(stream)

    def on_closed(self, stream: EventStream) -> None:
        self.slow_clients.discard(stream)

    def open(self, waiting_bytes: int = 0) -> tuple[EventStream, FakeTransport]:
        """Open a stream whose client has about so many bytes to read."""
        transport = self._make_transport(4096)
        stream = EventStream(transport, "u", (), self)
        while stream.waiting_bytes < waiting_bytes:
            stream.write(b"x" * 1000)
        return stream, transport


def has_ended(stream: EventStream) -> bool:
    return stream.close_reason is not None


@pytest.fixture
async def node(make_transport: Callable[[int], FakeTransport]) -> Node:
    return Node(make_transport)


@pytest.fixture(autouse=True)
def end(node: Node) -> Iterator[None]:
    yield
    node.slow_clients.shutdown()


async def test_a_client_that_reads_nothing_is_disconnected_after_the_timeout(node: Node) -> None:
    stream, _ = node.open(waiting_bytes=1000)
    await asyncio.sleep(TIMEOUT_S - 0.5)
    assert not has_ended(stream)
    await asyncio.sleep(2)
    assert stream.close_reason is CloseReason.SLOW_CLIENT
    assert node.slow_clients.waiting_bytes == 0


async def test_a_client_that_has_read_everything_is_left_alone(node: Node) -> None:
    stream, client = node.open(waiting_bytes=1000)
    await asyncio.sleep(TIMEOUT_S / 2)
    while stream.waiting_bytes:
        client.received()
        client.flush()
    await asyncio.sleep(10 * TIMEOUT_S)
    assert not has_ended(stream)
    assert node.slow_clients.waiting_bytes == 0


async def test_the_time_begins_anew_with_every_wait(node: Node) -> None:
    stream, client = node.open()
    for _ in range(5):
        while not stream.waiting_bytes:
            stream.write(b"x" * 1000)
        await asyncio.sleep(TIMEOUT_S - 2)
        while stream.waiting_bytes:
            client.received()
            client.flush()
    assert not has_ended(stream)


async def test_a_client_that_reads_slowly_is_left_alone(node: Node) -> None:
    stream, client = node.open(waiting_bytes=100_000)
    for _ in range(5):
        await asyncio.sleep(TIMEOUT_S - 2)
        client.received()
        client.flush()
    assert stream.waiting_bytes > 0
    assert not has_ended(stream)


async def test_a_client_that_reads_less_than_it_is_sent_is_not_stalled(node: Node) -> None:
    stream, client = node.open(waiting_bytes=1000)
    waiting_bytes = stream.waiting_bytes
    for _ in range(5 * int(TIMEOUT_S)):
        stream.write(b"x" * 15_000)
        client.received(5000)
        client.flush()
        await asyncio.sleep(1)
        assert not has_ended(stream)
        assert stream.waiting_bytes > waiting_bytes, "more comes than leaves"
        waiting_bytes = stream.waiting_bytes


async def test_being_sent_more_does_not_save_who_reads_nothing(node: Node) -> None:
    stream, _ = node.open(waiting_bytes=1000)
    for _ in range(int(TIMEOUT_S) + 1):
        await asyncio.sleep(1)
        stream.write(b"x" * 100)
    assert stream.close_reason is CloseReason.SLOW_CLIENT


async def test_over_the_total_the_slowest_go_first(node: Node) -> None:
    small, _ = node.open(waiting_bytes=200_000)
    big, _ = node.open(waiting_bytes=700_000)
    middle, _ = node.open(waiting_bytes=400_000)
    assert node.slow_clients.waiting_bytes >= 1_300_000
    await asyncio.sleep(1.5)
    assert big.close_reason is CloseReason.SLOW_CLIENT_TOTAL
    assert (small.close_reason, middle.close_reason) == (None, None)
    assert node.slow_clients.waiting_bytes < TOTAL_BYTES


async def test_over_the_total_as_many_go_as_must(node: Node) -> None:
    streams = [node.open(waiting_bytes=200_000 + 10_000 * n)[0] for n in range(10)]
    await asyncio.sleep(1.5)
    ended = [has_ended(stream) for stream in streams]
    assert ended == [False] * 4 + [True] * 6


async def test_streams_that_end_anyway_are_not_counted_against_the_others(node: Node) -> None:
    ending, _ = node.open(waiting_bytes=700_000)
    stays, _ = node.open(waiting_bytes=700_000)
    ending.close(b"bye", CloseReason.DRAIN)
    await asyncio.sleep(1.5)
    assert not has_ended(stays)


async def test_there_is_room_for_few_bytes_always_and_for_many_up_to_the_total(node: Node) -> None:
    assert node.slow_clients.has_room_for(TOTAL_BYTES)
    assert not node.slow_clients.has_room_for(TOTAL_BYTES + 1)
    node.open(waiting_bytes=TOTAL_BYTES - 100_000)
    assert node.slow_clients.has_room_for(90_000)
    assert not node.slow_clients.has_room_for(110_000)
    node.open(waiting_bytes=2 * TOTAL_BYTES)
    assert node.slow_clients.has_room_for(60_000)


async def test_a_stream_that_is_gone_is_not_looked_at(node: Node) -> None:
    stream, client = node.open(waiting_bytes=1000)
    client.lose()
    await asyncio.sleep(2 * TIMEOUT_S)
    assert stream.close_reason is CloseReason.CLIENT_LEFT


async def test_an_ended_stream_whose_client_stalls_is_cut_off(node: Node) -> None:
    stream, client = node.open(waiting_bytes=1000)
    stream.close(b"bye", CloseReason.DRAIN)
    await asyncio.sleep(TIMEOUT_S + 2)
    assert client.closed
    assert stream.close_reason is CloseReason.DRAIN


async def test_nobody_is_cut_off_after_shutdown(node: Node) -> None:
    stream, _ = node.open(waiting_bytes=2 * TOTAL_BYTES)
    node.slow_clients.shutdown()
    await asyncio.sleep(10 * TIMEOUT_S)
    assert not has_ended(stream)


async def test_it_can_be_ended_before_it_has_begun() -> None:
    SlowClients(timeout_s=1, total_limit_bytes=1).shutdown()
