"""Streams end at a jittered age, each once."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from sse_node.streams.event_stream import EventStream, OpenStream
from sse_node.streams.max_age import MaxAge
from tests.support.fakes import FAKE_CLOCK, FakeClockLoop, FakeTransport, RecordingOwner

pytestmark = FAKE_CLOCK


@pytest.fixture
def make_stream(make_transport: Callable[[], FakeTransport]) -> Callable[[], EventStream]:
    return lambda: EventStream(make_transport(), "u", (), RecordingOwner())


class Aged:
    """The streams that were told to be aged, and when."""

    def __init__(self) -> None:
        self.ages: dict[OpenStream, float] = {}
        self._start = asyncio.get_running_loop().time()

    def __call__(self, stream: OpenStream) -> None:
        assert stream not in self.ages
        self.ages[stream] = asyncio.get_running_loop().time() - self._start


@pytest.fixture
async def aged() -> Aged:
    return Aged()


@pytest.fixture
def max_age(aged: Aged) -> Iterator[MaxAge]:
    max_age = MaxAge(100, aged)
    yield max_age
    max_age.shutdown()


async def test_streams_end_at_their_age_by_a_fifth(
    max_age: MaxAge, aged: Aged, make_stream: Callable[[], EventStream]
) -> None:
    max_age.start()
    streams = [make_stream() for _ in range(60)]
    for stream in streams:
        max_age.add(stream)
    await asyncio.sleep(78)
    assert aged.ages == {}
    await asyncio.sleep(45)
    assert set(aged.ages) == set(streams)
    assert min(aged.ages.values()) >= 79
    assert max(aged.ages.values()) <= 122
    assert len(set(aged.ages.values())) > 15, "they end spread out"


async def test_a_stream_that_is_gone_is_not_told(
    max_age: MaxAge, aged: Aged, make_stream: Callable[[], EventStream]
) -> None:
    max_age.start()
    gone, stays = make_stream(), make_stream()
    max_age.add(gone)
    max_age.add(stays)
    max_age.remove(gone)
    await asyncio.sleep(130)
    assert list(aged.ages) == [stays]


async def test_removing_what_has_aged_is_no_error(
    max_age: MaxAge, aged: Aged, make_stream: Callable[[], EventStream]
) -> None:
    max_age.start()
    stream = make_stream()
    max_age.add(stream)
    await asyncio.sleep(130)
    max_age.remove(stream)
    assert list(aged.ages) == [stream]


async def test_an_age_below_the_timer_ends_at_its_next_look(
    aged: Aged, make_stream: Callable[[], EventStream]
) -> None:
    max_age = MaxAge(0.01, aged)
    max_age.start()
    max_age.add(make_stream())
    await asyncio.sleep(2.5)
    assert len(aged.ages) == 1
    max_age.shutdown()


async def test_no_stream_is_missed_when_the_timer_was_late(
    max_age: MaxAge, aged: Aged, make_stream: Callable[[], EventStream], clock: FakeClockLoop
) -> None:
    max_age.start()
    streams = [make_stream() for _ in range(20)]
    for stream in streams:
        max_age.add(stream)
    clock.advance(500)
    await asyncio.sleep(1.5)
    assert set(aged.ages) == set(streams)


async def test_nobody_is_told_after_shutdown(
    max_age: MaxAge, aged: Aged, make_stream: Callable[[], EventStream]
) -> None:
    max_age.start()
    max_age.add(make_stream())
    max_age.shutdown()
    await asyncio.sleep(200)
    assert aged.ages == {}


async def test_streams_of_the_same_second_are_told_apart(
    aged: Aged, make_stream: Callable[[], EventStream]
) -> None:
    max_age = MaxAge(0.01, aged)
    max_age.start()
    gone, stays = make_stream(), make_stream()
    max_age.add(gone)
    max_age.add(stays)
    assert gone.end_second == stays.end_second
    max_age.remove(gone)
    await asyncio.sleep(3)
    assert list(aged.ages) == [stays]
    max_age.shutdown()


async def test_it_can_be_ended_before_it_has_begun(max_age: MaxAge, aged: Aged) -> None:
    max_age.shutdown()
    assert aged.ages == {}
