"""Streams end with the access of their tokens, each at its time and once."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from sse_node.streams.access_end import AccessEnds
from sse_node.streams.event_stream import CloseReason, EventStream, OpenStream
from sse_node.wire.identity import ANYONE, Identity
from tests.support.fakes import FAKE_CLOCK, FakeTransport, RecordingOwner

pytestmark = FAKE_CLOCK

NOW = 1_900_000_000.0


class Ended:
    """The streams that were told to end: which, why and when; and the Unix time."""

    def __init__(self) -> None:
        self._offset_s = NOW - self._loop_time()
        self.ends = AccessEnds(self._close, lambda: self._loop_time() + self._offset_s)
        self.reasons: dict[OpenStream, CloseReason] = {}
        self.at_s: dict[OpenStream, float] = {}
        self.removes = True

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time()

    def jump(self, seconds: float) -> None:
        """Set the Unix clock on."""
        self._offset_s += seconds

    def _close(self, stream: OpenStream, reason: CloseReason) -> None:
        self.reasons[stream] = reason
        self.at_s.setdefault(stream, self._loop_time() + self._offset_s - NOW)
        if self.removes:
            self.ends.remove(stream)


@pytest.fixture
async def ended() -> Ended:
    return Ended()


@pytest.fixture
def ends(ended: Ended) -> Iterator[AccessEnds]:
    yield ended.ends
    ended.ends.shutdown()


@pytest.fixture
def make_stream(make_transport: Callable[[], FakeTransport]) -> Callable[[], EventStream]:
    return lambda: EventStream(make_transport(), "u", (), RecordingOwner())


def token(expires_s: float, token_id: str = "", key: str = "") -> Identity:
    return Identity(
        caller="user:u", user="u", expires_s=NOW + expires_s, token_id=token_id, key=key
    )


async def advance(seconds: float) -> None:
    await asyncio.sleep(seconds)


@pytest.mark.parametrize("expires_s", [0.2, 1, 2.5, 7.99, 3600])
async def test_a_stream_ends_within_a_second_and_a_half_of_its_token(
    ended: Ended, ends: AccessEnds, make_stream: Callable[[], EventStream], expires_s: float
) -> None:
    ends.start()
    stream, other = make_stream(), make_stream()
    ends.add(stream, token(expires_s))
    ends.add(other, token(expires_s + 100))
    await advance(expires_s - 0.01)
    assert ended.reasons == {}
    await advance(1.51)
    assert ended.reasons == {stream: CloseReason.TOKEN_EXPIRED}
    assert len(ends) == 1


async def test_streams_without_an_end_are_not_kept(
    ended: Ended, ends: AccessEnds, make_stream: Callable[[], EventStream]
) -> None:
    ends.start()
    for identity in (ANYONE, Identity(caller="user:u", user="u"), Identity(token_id="t")):
        ends.add(make_stream(), identity)
    assert len(ends) == 0
    ends.remove(make_stream())
    await advance(100)
    assert ended.reasons == {}


async def test_a_stream_that_is_gone_is_not_told(
    ended: Ended, ends: AccessEnds, make_stream: Callable[[], EventStream]
) -> None:
    ends.start()
    gone, stays = make_stream(), make_stream()
    for stream in (gone, stays):
        ends.add(stream, token(1, "t"))
    ends.remove(gone)
    await advance(2)
    assert set(ended.reasons) == {stays}
    ends.revoke_token("t")
    assert set(ended.reasons) == {stays}
    assert len(ends) == 0


async def test_a_token_ends_all_its_streams_and_no_others(
    ended: Ended, ends: AccessEnds, make_stream: Callable[[], EventStream]
) -> None:
    first, second, other, nameless = (make_stream() for _ in range(4))
    for stream, token_id in ((first, "t-1"), (second, "t-1"), (other, "t-2"), (nameless, "")):
        ends.add(stream, token(60, token_id))
    ends.revoke_token("t")
    ends.revoke_token("")
    assert ended.reasons == {}
    ends.revoke_token("t-1")
    assert ended.reasons == dict.fromkeys((first, second), CloseReason.REVOKED)
    assert len(ends) == 2


async def test_a_key_that_is_gone_ends_the_streams_of_its_tokens(
    ended: Ended, ends: AccessEnds, make_stream: Callable[[], EventStream]
) -> None:
    ends.start()
    old = [make_stream() for _ in range(2500)]
    new, gone = make_stream(), make_stream()
    for stream in (*old, gone):
        ends.add(stream, token(3600, "t", "key-1"))
    ends.add(new, token(3600, "t", "key-2"))
    ends.end_keys({"key-1", "key-2"}.__contains__)
    await advance(1)
    assert ended.reasons == {}
    ends.end_keys({"key-2"}.__contains__)
    ends.remove(gone)
    await advance(0.5)
    assert 0 < len(ended.reasons) <= 1000, "not all of their clients come back at once"
    await advance(1)
    assert ended.reasons == dict.fromkeys(old, CloseReason.TOKEN_EXPIRED)
    assert len(ends) == 1


async def test_after_a_jump_of_the_clock_all_that_is_due_ends(
    ended: Ended, ends: AccessEnds, make_stream: Callable[[], EventStream]
) -> None:
    ends.start()
    streams = [make_stream() for _ in range(5)]
    for number, stream in enumerate(streams):
        ends.add(stream, token(100 + 100 * number))
    ended.jump(301)
    await advance(0.6)
    assert set(ended.reasons) == set(streams[:3])


async def test_a_stream_whose_connection_is_still_open_stays_until_it_is_closed(
    ended: Ended, ends: AccessEnds, make_stream: Callable[[], EventStream]
) -> None:
    ended.removes = False
    ends.start()
    stream = make_stream()
    ends.add(stream, token(1))
    await advance(3)
    assert len(ends) == 1
    ends.remove(stream)
    await advance(1)
    assert len(ends) == 0


async def test_nothing_ends_after_the_shutdown(
    ended: Ended, ends: AccessEnds, make_stream: Callable[[], EventStream]
) -> None:
    ends.start()
    ends.add(make_stream(), token(1))
    ends.shutdown()
    await advance(3)
    assert ended.reasons == {}
