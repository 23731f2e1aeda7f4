"""One worker and two: figures of windows, and real workers in turn, with small settings."""

import pytest

from bench.harness.c_program import has_compiler
from bench.measure.load import Received, Schedule, Sent
from bench.measure.procfs import CpuTime
from bench.measure.steady import Sending
from bench.report.tables import Screen
from bench.workloads import workers

SENDING = Sending(
    server="2 workers",
    schedule=Schedule(first=1, count=10, rate=10, data_bytes=200),
    sent=Sent(10),
    received=Received(deliveries=1000, streams=100, alive=100, complete=100),
    cpu=CpuTime(0.0, 0.0),
)


def test_the_busiest_worker_limits_the_capacity() -> None:
    one = workers.sample_of(SENDING, [0.01]).values
    assert one["cpu_us"] == pytest.approx(10)
    assert one["capacity_per_s"] == pytest.approx(100_000)
    uneven = workers.sample_of(SENDING, [0.0075, 0.0025]).values
    assert (uneven["share_of_worker_0"], uneven["share_of_worker_1"]) == (0.75, 0.25)
    assert uneven["busiest_share"] == 75
    assert uneven["capacity_per_s"] == pytest.approx(100_000 / 0.75)


def test_workers_that_used_no_cpu_count_as_even() -> None:
    assert workers.shares_of([0.0, 0.0]) == [0.5, 0.5]
    assert workers.sample_of(SENDING, [0.0, 0.0]).values["cpu_us"] > 0


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_one_and_two_workers_deliver_the_same_in_turn() -> None:
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
    assert list(result.samples) == ["1 worker", "2 workers"]
    windows = [*result.samples["1 worker"], *result.samples["2 workers"]]
    assert len(windows) == 4
    assert {window["deliveries"] for window in windows} == {40 * 20}
    table = result.tables()[0]
    streams = {row[0]: row[2] for row in table.rows}["streams by worker"].split(", ")
    assert len(streams) == 2
    assert sum(map(int, streams)) == 40
    assert len(table.rows) > 5
