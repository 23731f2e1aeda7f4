"""Load on a server: the figures of a window, and when it counts."""

import pytest

from bench.harness.c_program import has_compiler
from bench.harness.servers import SseNode
from bench.measure.load import Received, Schedule, Sent
from bench.measure.procfs import CpuTime
from bench.measure.steady import (
    Sending,
    problems_of,
    rounded_to_users,
    under_load,
)
from bench.report.tables import Screen

SCHEDULE = Schedule(first=100, count=200, rate=100, data_bytes=99, users=10)
RECEIVED = Received(
    deliveries=200,
    streams=10,
    alive=10,
    complete=10,
    bytes=200 * 227,
    last_ns=3_000_000_000,
    cpu_s=0.5,
    latency_ns=[(2_000_000, 200)],
)


@pytest.mark.parametrize(
    ("events", "users", "rounded"),
    [(100, 1, 100), (104, 10, 100), (106, 10, 110), (0.2, 10, 10), (0, 1, 1)],
)
def test_every_user_gets_the_same_number_of_events(events: float, users: int, rounded: int) -> None:
    assert rounded_to_users(events, users) == rounded


def sending(user_s: float, system_s: float, **sent: int) -> Sending:
    return Sending("node", SCHEDULE, Sent(200, **sent), RECEIVED, CpuTime(user_s, system_s))


def test_figures_are_per_delivery() -> None:
    values = sending(0.01, 0.03, first_ns=1_000_000_000, latest_ns=7_000).values()
    assert (values["user_us"], values["system_us"]) == pytest.approx((50, 150))
    assert values["cpu_us"] == pytest.approx(200)
    assert values["deliveries_per_s"] == pytest.approx(100)  # 200 in 2 s
    assert values["frame_bytes"] == 227
    assert values["busy"] == pytest.approx(2)  # 0.04 s of 2 s
    assert values["client_busy"] == pytest.approx(25)
    assert values["latest_ms"] == pytest.approx(0.007)
    assert values["p99_ms"] == pytest.approx(2, rel=0.002)
    assert values["latencies"] == 200


def test_a_window_counts_only_when_everything_arrived() -> None:
    assert problems_of("node", SCHEDULE, Sent(200), RECEIVED) == []
    assert "3 refused" in problems_of("floor", SCHEDULE, Sent(200, refused=3), RECEIVED)[0]
    lossy = Received(deliveries=199, streams=10, alive=10, complete=9, gaps=1)
    assert "9 of 10 streams" in problems_of("node", SCHEDULE, Sent(200), lossy)[0]


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_every_user_has_the_same_number_of_streams() -> None:
    with (
        Screen("steady", ()) as screen,
        SseNode(None) as node,
        under_load(node, streams=15, users=5, payload_bytes=99, screen=screen) as load,
    ):
        sending = load.send(20, 100, screen)
    assert sending.problems == []
    assert sending.received.deliveries == 20 * 3
