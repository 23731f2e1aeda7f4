"""The ``fanout`` benchmark against a real node, made small."""

import os

import pytest

from bench.harness.c_program import has_compiler
from bench.measure.steady import Turns
from bench.report.tables import Screen
from bench.workloads import fanout

SETTINGS = fanout.Settings(
    streams=50,
    payload_bytes=200,
    idle_streams=200,
    turns=Turns(rate=100, warmup_s=0.1, measured_s=0.5, pairs=2),
)


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_node_and_floor_deliver_the_same_bytes_in_turn() -> None:
    with Screen("fanout", fanout.COLUMNS) as screen:
        result = fanout.run(SETTINGS, max(os.sched_getaffinity(0)), screen)
    assert result.problems == []
    assert [measured.server for measured in (result.node, result.floor)] == ["sse-node", "floor"]
    windows = result.node.windows + result.floor.windows
    assert [window.deliveries for window in windows] == [50 * 50] * 4
    assert len({window.frame_bytes for window in windows}) == 1
    assert len(result.ratios) == 2
    assert result.node.latency_ms.count == result.floor.latency_ms.count == 2 * 50 * 50
    assert result.idle.opened_per_s > 0
    assert result.tables()[0].row_count > 10
