"""Workloads against a real node, with small settings."""

import pytest

from bench.harness.c_program import has_compiler
from bench.harness.servers import SseNode
from bench.report.tables import Screen
from bench.workloads.work import Settings
from bench.workloads.works import measure_idle, measure_open

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not has_compiler(), reason="no C compiler"),
]


def test_idle_measures_memory_in_steps_and_cpu_between_pings() -> None:
    settings = Settings(idle_streams=100, idle_s=0.5)
    with SseNode(None, "--ping-interval", "0.1") as server, Screen("idle", ()) as screen:
        sample = measure_idle(server, settings, screen)
    assert sample.notes == []
    assert [streams for streams, _ in sample.memory] == [0, 25, 50, 75, 100]
    grown_bytes = sample.memory[-1][1] - sample.memory[0][1]
    assert sample.values["stream_bytes"] == grown_bytes / 100
    assert sample.values["pings"] > 1
    assert sample.values["idle_us"] >= 0


def test_every_stream_is_opened() -> None:
    with SseNode(None) as server, Screen("open", ()) as screen:
        sample = measure_open(server, Settings(open_streams=100), screen)
    assert (sample.values["streams"], sample.values["refused"]) == (100, 0)
    assert sample.values["opened_per_s"] > 0
