"""How many streams a client address may have and open, with streams that are names only."""

from typing import cast

import pytest

from sse_node.config.reading import read_settings
from sse_node.streams.event_stream import OpenStream
from sse_node.streams.limits import NEW_STREAMS_PER_ADDRESS, STREAMS_PER_ADDRESS, StreamLimits

A, B = "192.0.2.1", "2001:db8::/64"


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_limits(clock: Clock, **settings: int) -> StreamLimits:
    texts = {name: str(value) for name, value in settings.items()}
    return StreamLimits(read_settings(texts, {}).limits, clock)


def stream() -> OpenStream:
    return cast(OpenStream, object())


def test_without_limits_nothing_is_kept(clock: Clock) -> None:
    limits = make_limits(clock)
    for _ in range(100):
        assert limits.obstacle(A) == ""
        limits.add(stream(), A)
    assert not limits.is_full(A)
    assert len(limits) == 0


def test_an_address_has_room_again_when_one_of_its_streams_is_gone(clock: Clock) -> None:
    limits = make_limits(clock, streams_per_address=2)
    streams = [stream(), stream()]
    for each in streams:
        assert limits.obstacle(A) == ""
        limits.add(each, A)
    assert limits.is_full(A)
    assert limits.obstacle(A) == STREAMS_PER_ADDRESS
    assert limits.obstacle(B) == ""
    limits.remove(streams[0])
    assert limits.obstacle(A) == ""
    limits.remove(streams[1])
    limits.remove(streams[1])
    assert len(limits) == 0
    assert not limits._streams, "nothing is kept of an address without streams"


def test_to_ask_for_the_streams_of_an_address_keeps_nothing(clock: Clock) -> None:
    limits = make_limits(clock, streams_per_address=2)
    for number in range(1000):
        assert not limits.is_full(f"192.0.2.{number}")
    assert not limits._streams


def test_new_streams_are_counted_whether_they_stay_or_not(clock: Clock) -> None:
    limits = make_limits(clock, new_streams_per_address=2, rate_window=5)
    assert [limits.obstacle(A) for _ in range(11)] == [""] * 10 + [NEW_STREAMS_PER_ADDRESS]
    assert limits.obstacle(B) == ""
    clock.now += 0.5
    assert [limits.obstacle(A) for _ in range(2)] == ["", NEW_STREAMS_PER_ADDRESS]


def test_a_client_without_an_address_has_no_limit(clock: Clock) -> None:
    limits = make_limits(clock, new_streams_per_address=1, streams_per_address=1)
    for _ in range(100):
        assert limits.obstacle("") == ""
        limits.add(stream(), "")
    assert not limits.is_full("")


def test_other_limits_hold_for_streams_that_are_open(clock: Clock) -> None:
    limits = make_limits(clock, streams_per_address=3)
    streams = [stream() for _ in range(2)]
    for each in streams:
        limits.add(each, A)
    limits.configure(read_settings({"streams_per_address": "2"}, {}).limits)
    assert limits.obstacle(A) == STREAMS_PER_ADDRESS
    limits.configure(read_settings({"streams_per_user": "1"}, {}).limits)
    assert limits.obstacle(A) == ""
    assert limits.per_user == 1
    for each in streams:
        limits.remove(each)
    assert len(limits) == 0
