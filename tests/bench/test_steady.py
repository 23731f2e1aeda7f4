"""Windows under a steady load: what they come to, from figures that are given."""

import pytest

from bench.load import Received, Schedule, Sent
from bench.proc import CpuTime
from bench.steady import cpu_ratios, problems_of, rounded_to_users, window

SCHEDULE = Schedule(first=100, count=200, rate=100, data_bytes=99, users=10)
RECEIVED = Received(
    deliveries=200, streams=10, alive=10, complete=10, cpu_s=0.5, latency_ns=[(2_000_000, 200)]
)


@pytest.mark.parametrize(
    ("events", "users", "rounded"),
    [(100, 1, 100), (104, 10, 100), (106, 10, 110), (0.2, 10, 10), (0, 1, 1)],
)
def test_every_user_gets_as_many_events(events: float, users: int, rounded: int) -> None:
    assert rounded_to_users(events, users) == rounded


def test_a_window_is_what_an_event_cost() -> None:
    measured = window("node", SCHEDULE, CpuTime(0.01, 0.03), Sent(200, latest_ns=7_000), RECEIVED)
    assert (measured.user_us, measured.system_us) == pytest.approx((50, 150))
    assert measured.cpu_us == pytest.approx(200)
    assert measured.server_busy == pytest.approx(0.02)  # 0.04 s of 2 s
    assert measured.client_busy == pytest.approx(0.25)
    assert measured.latest_ms == pytest.approx(0.007)
    assert measured.latency_ms.count == 200


def test_a_window_counts_only_when_everything_came() -> None:
    assert problems_of("node", SCHEDULE, Sent(200), RECEIVED) == []
    assert "3 refused" in problems_of("floor", SCHEDULE, Sent(200, refused=3), RECEIVED)[0]
    lossy = Received(deliveries=199, streams=10, alive=10, complete=9, gaps=1)
    assert "9 of 10 streams" in problems_of("node", SCHEDULE, Sent(200), lossy)[0]


def test_cpu_of_nothing_counts_as_a_tick() -> None:
    costly = window("node", SCHEDULE, CpuTime(0.02, 0.04), Sent(200), RECEIVED)
    cheap = window("floor", SCHEDULE, CpuTime(0.01, 0.02), Sent(200), RECEIVED)
    free = window("floor", SCHEDULE, CpuTime(0, 0), Sent(200), RECEIVED)
    assert cpu_ratios([costly, costly], [cheap, free]) == pytest.approx([2, 6], rel=0.01)
