"""What deliverers share: room for requests, and who is told when there is room again."""

from __future__ import annotations

import asyncio

from sse_node.webhooks.hosts import Hosts
from sse_node.webhooks.in_flight import _MOST, InFlight


def nothing(task: asyncio.Task[None]) -> None:
    """Do nothing when a delivery is done."""


async def until(release: asyncio.Event) -> None:
    await release.wait()


async def test_claims_get_no_more_room_than_there_is() -> None:
    in_flight, release = InFlight(Hosts()), asyncio.Event()
    for _ in range(_MOST - 100):
        in_flight.add(until(release), nothing)
    assert in_flight.reserve(64) == 64
    assert in_flight.reserve(64) == 36, "what another claim may bring has its room"
    assert in_flight.reserve(64) == 0
    in_flight.claimed(64)
    assert in_flight.reserve(100) == 64
    release.set()
    await in_flight.wait(5)


async def test_everyone_is_told_of_room_only_after_there_was_none() -> None:
    in_flight, told = InFlight(Hosts()), list[str]()
    in_flight.follow(lambda: told.append("one"))
    in_flight.follow(lambda: told.append("two"))
    first, others = asyncio.Event(), asyncio.Event()
    in_flight.add(until(first), nothing)
    for _ in range(_MOST - 1):
        in_flight.add(until(others), nothing)
    assert in_flight.reserve(1) == 0
    first.set()
    while len(in_flight) == _MOST:  # noqa: ASYNC110  (a task of its own can only be asked)
        await asyncio.sleep(0)
    assert told == ["one", "two"]
    others.set()
    await in_flight.wait(5)
    assert len(in_flight) == 0
    assert told == ["one", "two"]


async def test_a_reservation_counts_as_full() -> None:
    in_flight, told, release = InFlight(Hosts()), list[int](), asyncio.Event()
    in_flight.follow(lambda: told.append(len(in_flight)))
    in_flight.add(until(release), nothing)
    assert in_flight.reserve(_MOST) == _MOST - 1
    release.set()
    await in_flight.wait(5)
    assert told == [0]


async def test_the_end_of_a_delivery_is_reported_after_its_room_is_free() -> None:
    in_flight, seen = InFlight(Hosts()), list[int]()
    release = asyncio.Event()
    in_flight.add(until(release), lambda task: seen.append(len(in_flight)))
    release.set()
    await in_flight.wait(5)
    assert seen == [0]


async def test_waiting_ends_after_its_time_and_shutdown_at_once() -> None:
    in_flight = InFlight(Hosts())
    cancelled = list[bool]()
    in_flight.add(until(asyncio.Event()), lambda task: cancelled.append(task.cancelled()))
    await in_flight.wait(0.01)
    assert len(in_flight) == 1
    await in_flight.shutdown()
    assert cancelled == [True]
    assert len(in_flight) == 0


async def test_half_of_the_room_is_for_what_is_known_to_work() -> None:
    in_flight = InFlight(Hosts())
    in_flight.doubtful = _MOST // 2 - 1
    assert in_flight.has_room_for_doubtful
    in_flight.doubtful += 1
    assert not in_flight.has_room_for_doubtful
