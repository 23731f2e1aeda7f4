"""One timer pings every stream once an interval, spread evenly over it."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from sse_node.streams.event_stream import EventStream
from sse_node.streams.heartbeat import Heartbeat
from tests.support.fakes import FAKE_CLOCK, FakeClockLoop, FakeTransport, RecordingOwner

pytestmark = FAKE_CLOCK
PING = b"event: ping\ndata: {}\n\n"


class Pulse:
    """A heartbeat, and when which of its streams was pinged."""

    def __init__(self, interval_s: float, make_transport: Callable[[], FakeTransport]) -> None:
        self._make_transport = make_transport
        self.lags: list[float] = []
        self.heartbeat = Heartbeat(interval_s, lambda: PING, self.lags.append)
        self.clients: list[FakeTransport] = []
        self.streams: list[EventStream] = []

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self.clients.append(self._make_transport())
            self.streams.append(EventStream(self.clients[-1], "u", (), RecordingOwner()))
            self.heartbeat.add(self.streams[-1])

    def pings(self) -> list[int]:
        """How many pings each client has read since the last time."""
        received = [client.received() for client in self.clients]
        assert all(data == PING * data.count(PING) for data in received)
        return [data.count(PING) for data in received]


@pytest.fixture
def pulse(make_transport: Callable[[], FakeTransport]) -> Iterator[Pulse]:
    pulse = Pulse(2.0, make_transport)
    yield pulse
    pulse.heartbeat.shutdown()


async def test_every_stream_is_pinged_once_an_interval(pulse: Pulse) -> None:
    pulse.add(30)
    pulse.heartbeat.start()
    for _ in range(3):
        await asyncio.sleep(2.0)
        assert pulse.pings() == [1] * 30


async def test_no_beat_gets_more_than_its_share(pulse: Pulse) -> None:
    pulse.add(205)
    pulse.heartbeat.start()
    await asyncio.sleep(0.05)
    for _ in range(20):
        await asyncio.sleep(0.1)
        assert sum(pulse.pings()) in {10, 11}  # 205 streams over 20 beats


async def test_pings_of_one_stream_are_one_interval_apart(pulse: Pulse) -> None:
    pulse.add(13)
    pulse.heartbeat.start()
    await asyncio.sleep(0.05)
    times = []
    for beat in range(60):
        await asyncio.sleep(0.1)
        if pulse.pings()[12]:
            times.append(beat)
    assert [later - earlier for earlier, later in pairwise(times)] == [20, 20]


async def test_a_stream_that_was_removed_gets_no_more(pulse: Pulse) -> None:
    pulse.add(3)
    pulse.heartbeat.start()
    await asyncio.sleep(2.0)
    pulse.pings()
    pulse.heartbeat.remove(pulse.streams[1])
    await asyncio.sleep(4.0)
    assert pulse.pings() == [2, 0, 2]


async def test_it_knows_all_its_streams(pulse: Pulse) -> None:
    pulse.add(30)
    assert set(pulse.heartbeat) == set(pulse.streams)
    for stream in pulse.streams[:29]:
        pulse.heartbeat.remove(stream)
    assert list(pulse.heartbeat) == pulse.streams[29:]


async def test_a_stream_that_came_later_has_its_ping_within_an_interval(pulse: Pulse) -> None:
    pulse.heartbeat.start()
    for _ in range(25):
        pulse.add()
        await asyncio.sleep(0.07)
    pulse.pings()
    await asyncio.sleep(2.0)
    assert pulse.pings() == [1] * 25


async def test_an_interval_shorter_than_a_beat_is_one_beat(
    make_transport: Callable[[], FakeTransport],
) -> None:
    pulse = Pulse(0.02, make_transport)
    pulse.add(2)
    pulse.heartbeat.start()
    await asyncio.sleep(0.05)
    assert pulse.pings() == [2, 2]
    pulse.heartbeat.shutdown()


async def test_a_late_beat_is_told_as_the_lag_of_the_loop(
    pulse: Pulse, clock: FakeClockLoop
) -> None:
    pulse.heartbeat.start()
    await asyncio.sleep(0.25)
    assert max(pulse.lags) < 0.001
    clock.advance(0.35)  # to 0.6: the beat of 0.3 is late
    await asyncio.sleep(0.05)
    assert max(pulse.lags) == pytest.approx(0.3)
    assert len(pulse.lags) == 6


async def test_missed_beats_are_made_up_for_by_one_interval_at_most(
    pulse: Pulse, clock: FakeClockLoop
) -> None:
    pulse.add(40)
    pulse.heartbeat.start()
    await asyncio.sleep(0.05)
    clock.advance(1000)
    await asyncio.sleep(0.01)
    assert set(pulse.pings()) <= {1, 2}
    await asyncio.sleep(2.0)
    assert pulse.pings() == [1] * 40


async def test_it_can_be_ended_before_it_has_begun(pulse: Pulse) -> None:
    pulse.heartbeat.shutdown()
    assert pulse.lags == []


async def test_nothing_beats_after_shutdown(pulse: Pulse) -> None:
    pulse.add()
    pulse.heartbeat.start()
    pulse.heartbeat.shutdown()
    await asyncio.sleep(10)
    assert pulse.pings() == [0]
    assert pulse.lags == []
