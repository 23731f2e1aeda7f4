"""All streams are closed over a window, on a clock that the tests move."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from sse_node.config.reading import read_settings
from sse_node.delivery.hub import Hub
from sse_node.streams.admission import Admission
from sse_node.streams.drain import drain
from sse_node.streams.event_stream import CloseReason, EventStream
from sse_node.streams.heartbeat import Heartbeat
from sse_node.streams.limits import StreamLimits
from sse_node.streams.registry import Streams
from sse_node.streams.retry import RetryTime
from sse_node.streams.slow_clients import SlowClients
from tests.support.fakes import FAKE_CLOCK, FakeTransport

pytestmark = FAKE_CLOCK

RETRY = RetryTime(3000)
COUNT = 50


class Node:
    """Streams that are open, and when each of their connections was gone."""

    def __init__(self, make_transport: Callable[[], FakeTransport]) -> None:
        settings = read_settings({"max_streams": "100"}, {})
        hub = Hub()
        self.streams = Streams(
            lambda audience: hub,
            Heartbeat(1000.0, lambda: b"", lambda lag_s: None),
            SlowClients(timeout_s=5, total_limit_bytes=1 << 20),
            RETRY,
            replace(settings.streams, max_stream_age=0),
            StreamLimits(settings.limits),
            Admission(settings.limits),
        )
        self.streams.serving = True
        self._make_transport = make_transport

    def open(self, count: int) -> list[EventStream]:
        """Open streams."""
        opened = [EventStream(self._make_transport(), "u", (), self.streams) for _ in range(count)]
        for stream in opened:
            self.streams.add(stream)
        return opened

    async def drain(self, window_s: float) -> float:
        """Drain; return how long it took, in seconds."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        await drain(self.streams, RETRY, window_s)
        return loop.time() - start


@pytest.fixture
async def node(make_transport: Callable[[], FakeTransport]) -> Node:
    return Node(make_transport)


@pytest.mark.parametrize("window_s", [5.0, 50.0, 500.0])
async def test_streams_are_closed_at_a_flat_rate(node: Node, window_s: float) -> None:
    node.open(COUNT)
    draining = asyncio.create_task(node.drain(window_s))
    left = []
    for _ in range(5):
        await asyncio.sleep(window_s / 5)
        left.append(len(node.streams))
    assert await draining <= window_s
    assert left == pytest.approx([40, 30, 20, 10, 0], abs=1)
    assert node.streams.closed == {CloseReason.DRAIN: COUNT}


async def test_no_stream_is_opened_from_the_first_moment(node: Node) -> None:
    node.open(1)
    draining = asyncio.create_task(node.drain(5.0))
    await asyncio.sleep(0)
    assert not node.streams.serving
    await draining


@pytest.mark.parametrize(
    ("count", "window_s"),
    [pytest.param(0, 60.0, id="no streams"), pytest.param(COUNT, 0.0, id="no window")],
)
async def test_it_takes_no_time_that_it_does_not_need(
    node: Node, count: int, window_s: float
) -> None:
    streams = node.open(count)
    assert await node.drain(window_s) < 0.1
    assert all(stream.close_reason is CloseReason.DRAIN for stream in streams)


async def test_it_ends_when_the_clients_have_left(node: Node) -> None:
    streams = node.open(3)
    draining = asyncio.create_task(node.drain(60.0))
    await asyncio.sleep(1.0)
    for stream in streams:
        stream.abort(CloseReason.CLIENT_LEFT)
    assert await draining < 2.0
