"""A callback at regular intervals, on a clock that the tests move."""

import asyncio

from sse_node.lifetimes.periodic import Periodic
from tests.support.fakes import FAKE_CLOCK, FakeClockLoop, settle

pytestmark = FAKE_CLOCK


class Calls:
    """What a periodic callback saw: the time and the lag of each call."""

    def __init__(self, clock: FakeClockLoop, interval_s: float, catch_up_s: float = 0.0) -> None:
        self._clock = clock
        self.seen: list[tuple[float, float]] = []
        self.start_s = clock.time()
        self.periodic = Periodic(interval_s, self._on_call, catch_up_s=catch_up_s)

    def _on_call(self) -> None:
        elapsed_s = self._clock.time() - self.start_s
        self.seen.append((round(elapsed_s, 3), round(self.periodic.lag_s, 3)))


async def test_it_calls_once_an_interval(clock: FakeClockLoop) -> None:
    calls = Calls(clock, 2.0)
    calls.periodic.start()
    await asyncio.sleep(7.0)
    assert calls.seen == [(2.0, 0.0), (4.0, 0.0), (6.0, 0.0)]


async def test_missed_calls_are_skipped(clock: FakeClockLoop) -> None:
    calls = Calls(clock, 1.0)
    calls.periodic.start()
    clock.advance(10.0)
    await asyncio.sleep(2.5)
    assert calls.seen == [(10.0, 9.0), (11.0, 0.0), (12.0, 0.0)]


async def test_missed_calls_are_made_up_for_within_a_bound(clock: FakeClockLoop) -> None:
    calls = Calls(clock, 1.0, catch_up_s=3.0)
    calls.periodic.start()
    clock.advance(10.0)
    await settle()
    lags = [lag_s for _, lag_s in calls.seen]
    assert lags == [9.0, 3.0, 2.0, 1.0, 0.0]


async def test_nothing_is_called_after_the_shutdown(clock: FakeClockLoop) -> None:
    calls = Calls(clock, 1.0)
    calls.periodic.shutdown()
    calls.periodic.start()
    calls.periodic.shutdown()
    await asyncio.sleep(5.0)
    assert calls.seen == []


async def test_a_callback_may_shut_it_down(clock: FakeClockLoop) -> None:
    seen = []

    def on_call() -> None:
        seen.append(clock.time())
        periodic.shutdown()

    periodic = Periodic(1.0, on_call)
    periodic.start()
    await asyncio.sleep(3.0)
    assert len(seen) == 1
