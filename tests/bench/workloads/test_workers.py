"""One worker and two: what windows come to, and real ones in turn, made small."""

import pytest

from bench.harness.c_program import has_compiler
from bench.measure.steady import Window
from bench.report.tables import Screen, percentiles
from bench.workloads import workers

WINDOW = Window(
    server="2 workers",
    events=10,
    deliveries=1000,
    deliveries_per_s=500,
    frame_bytes=227,
    user_us=1,
    system_us=2,
    server_busy=0.1,
    client_busy=0.2,
    latest_ms=0.3,
    latency_ms=percentiles([]),
)


def test_on_paper_the_busiest_worker_limits() -> None:
    one = workers.measured(WINDOW, [0.01])
    assert (one.workers, one.cpu_shares) == (1, [1.0])
    assert one.cpu_us == pytest.approx(10)
    assert one.capacity_per_s == pytest.approx(100_000)
    uneven = workers.measured(WINDOW, [0.0075, 0.0025])
    assert uneven.cpu_shares == [0.75, 0.25]
    assert uneven.capacity_per_s == pytest.approx(100_000 / 0.75)


def test_workers_that_used_no_cpu_count_as_even() -> None:
    idle = workers.measured(WINDOW, [0.0, 0.0])
    assert idle.cpu_shares == [0.5, 0.5]
    assert idle.cpu_us > 0


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_one_and_two_deliver_the_same_in_turn() -> None:
    settings = workers.Settings(
        workers=2,
        streams=40,
        payload_bytes=200,
        rate=100,
        warmup_s=0.1,
        measured_s=0.2,
        pairs=2,
    )
    with Screen("workers", workers.COLUMNS) as screen:
        result = workers.run(settings, screen)
    assert result.problems == []
    assert sum(result.streams_by_worker) == 40
    assert len(result.streams_by_worker) == 2
    assert [measured.workers for measured in result.one + result.several] == [1, 1, 2, 2]
    assert {m.window.deliveries for m in result.one + result.several} == {40 * 20}
    assert result.tables()[0].row_count > 5
