"""Events that nobody on a real node wants, made small."""

import os

import pytest

from bench.harness.c_program import has_compiler
from bench.report.tables import Screen
from bench.workloads import no_subscriber as unwanted


def test_a_metric_is_found_by_its_whole_name() -> None:
    exposition = "# TYPE a counter\na_total_more 7.0\na_total 3.0\n"
    assert unwanted.parse_metric(exposition, "a_total") == 3
    with pytest.raises(ValueError, match="no metric b"):
        unwanted.parse_metric(exposition, "b")


def test_rates_are_by_time_and_by_cpu() -> None:
    measured = unwanted.Round(events=1000, seconds=0.5, publish_s=0.4, cpu_us=4.0)
    assert measured.per_s == 2000
    assert measured.per_cpu_s == 250_000
    assert unwanted.Round(1000, 0.5, 0.4, cpu_us=0.0).per_cpu_s == 0


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_the_node_has_taken_every_event_when_a_round_ends() -> None:
    settings = unwanted.Settings(events=2000, users=10, rounds=2, payload_bytes=200)
    with Screen("unwanted", unwanted.COLUMNS) as screen:
        result = unwanted.run(settings, max(os.sched_getaffinity(0)), screen)
    assert result.problems == []
    assert result.received == 3 * 2001
    assert [measured.events for measured in result.node.rounds] == [2000, 2000]
    assert result.lowest_per_s <= result.median_per_s <= result.highest_per_s
    assert result.tables()[0].row_count == 5
