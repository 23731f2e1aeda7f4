"""Lanes: so many requests at once, the others in order, refused when they wait for too long."""

from __future__ import annotations

import asyncio

import pytest

from sse_node.errors import RedisBusyError
from sse_node.redis import lanes
from sse_node.redis.lanes import Lane, make_lanes
from tests.support.fakes import FAKE_CLOCK, FakeClockLoop, settle


class Requests:
    """Requests that enter a lane and stay there until they are let go."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._gates: list[asyncio.Event] = []
        self.running: list[int] = []
        self.refused: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def enter(self, count: int) -> None:
        for _ in range(count):
            self._gates.append(asyncio.Event())
            self.tasks.append(asyncio.create_task(self._use(len(self.tasks))))
        await settle()

    async def leave(self, number: int) -> None:
        self._gates[number].set()
        await settle()

    async def _use(self, number: int) -> None:
        try:
            async with self._lane:
                self.running.append(number)
                try:
                    await self._gates[number].wait()
                finally:
                    self.running.remove(number)
        except RedisBusyError:
            self.refused.append(number)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@FAKE_CLOCK
class TestLane:
    async def test_requests_wait_in_order(self, clock: FakeClockLoop) -> None:
        requests = Requests(Lane("read", 2, 1.0))
        await requests.enter(5)
        assert requests.running == [0, 1]
        await requests.leave(1)
        assert requests.running == [0, 2]
        await requests.leave(0)
        await requests.leave(2)
        assert requests.running == [3, 4]
        await requests.end()

    async def test_request_that_waits_for_too_long_is_refused(self, clock: FakeClockLoop) -> None:
        lane = Lane("read", 1, 1.0)
        requests = Requests(lane)
        await requests.enter(2)
        clock.advance(0.6)
        await requests.enter(1)
        clock.advance(0.6)
        await settle()
        assert requests.refused == [1]
        assert lane.refused == 1
        await requests.leave(0)
        assert requests.running == [2]
        await requests.end()

    async def test_request_over_the_limit_of_waiting_ones_is_refused_at_once(
        self, clock: FakeClockLoop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lanes, "_MAX_WAITING", 3)
        requests = Requests(Lane("read", 1, 1.0))
        await requests.enter(6)
        assert requests.running == [0]
        assert requests.refused == [4, 5]
        await requests.end()

    async def test_cancelled_requests_leave_the_lane(self, clock: FakeClockLoop) -> None:
        requests = Requests(Lane("read", 1, 1.0))
        await requests.enter(3)
        requests.tasks[1].cancel()
        requests.tasks[0].cancel()
        await settle()
        await requests.enter(1)
        await requests.leave(2)
        assert requests.running == [3]
        await requests.end()


async def test_error_names_the_numbers() -> None:
    lane = Lane("write", 1, 0.001)
    async with lane:
        with pytest.raises(RedisBusyError, match="1 write requests wait; 1 run at once"):
            await lane.__aenter__()


@pytest.mark.parametrize(
    ("connections", "reads", "writes"), [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 2), (16, 4, 8)]
)
async def test_lanes_leave_connections_for_the_node(
    connections: int, reads: int, writes: int
) -> None:
    lanes_of = [Requests(lane) for lane in make_lanes(connections, 1.0)]
    for requests in lanes_of:
        await requests.enter(20)
    assert [len(requests.running) for requests in lanes_of] == [reads, writes]
    for requests in lanes_of:
        await requests.end()
