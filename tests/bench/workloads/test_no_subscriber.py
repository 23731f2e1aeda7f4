"""Events without a stream on a real node, with small settings."""

import os

import pytest

from bench.harness.c_program import has_compiler
from bench.measure.load import Received, Schedule, Sent
from bench.report.tables import Screen
from bench.workloads import no_subscriber as unwanted


def sample(cpu_s: float) -> dict[str, float]:
    schedule = Schedule(1, 1000, 0, 200)
    sent = Sent(1000, first_ns=1_000_000_000, last_ns=1_400_000_000)
    received = Received(1, last_ns=1_500_000_000)
    return unwanted.sample_of(schedule, sent, received, cpu_s).values


def test_rates_are_by_time_and_by_cpu() -> None:
    measured = sample(cpu_s=0.004)
    assert (measured["seconds"], measured["publish_s"]) == (0.5, 0.4)
    assert measured["per_s"] == 2000
    assert measured["cpu_us"] == pytest.approx(4)
    assert measured["per_cpu_s"] == pytest.approx(250_000)
    assert measured["busy"] == pytest.approx(0.8)
    assert sample(cpu_s=0.0)["per_cpu_s"] == 0


def test_a_round_without_its_last_event_is_a_problem() -> None:
    lost = unwanted.sample_of(Schedule(1, 10, 0, 200), Sent(10), Received(0), cpu_s=0.1)
    assert lost.notes == ["the last event did not arrive"]


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_the_node_has_read_every_event_when_a_round_ends() -> None:
    settings = unwanted.Settings(events=2000, users=10, rounds=2, payload_bytes=200)
    with Screen("unwanted", unwanted.COLUMNS) as screen:
        result = unwanted.run(settings, max(os.sched_getaffinity(0)), screen)
    assert result.problems == []
    rounds = result.samples["node"]
    assert rounds[0]["received"] == 3 * 2001
    assert [measured["events"] for measured in rounds] == [2000, 2000]
    assert all(measured["per_s"] > 0 for measured in rounds)
    assert len(result.tables()[0].rows) == 3
