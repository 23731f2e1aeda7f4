"""The ``latency`` benchmark against a real node, made small."""

import os

import pytest

from bench.harness.c_program import has_compiler
from bench.measure.steady import Turns
from bench.report.tables import Screen
from bench.workloads import latency

SETTINGS = latency.Settings(
    streams=2,
    payload_bytes=200,
    turns=Turns(rate=100, warmup_s=0.1, measured_s=0.2, pairs=2),
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not has_compiler(), reason="no C compiler"),
]


def test_node_and_bare_subscriber_have_the_same_events() -> None:
    with Screen("latency", latency.COLUMNS) as screen:
        result = latency.run(SETTINGS, max(os.sched_getaffinity(0)), screen)
    assert result.problems == []
    assert result.node.latency_ms.count == 2 * 2 * 20
    assert result.bare.latency_ms.count == 2 * 20
    assert min(result.added_p50s_ms) <= result.added_p50_ms <= max(result.added_p50s_ms)
    assert result.tables()[0].row_count == 5
