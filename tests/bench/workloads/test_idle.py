"""The `idle` benchmark against a real node, made small."""

import pytest

from bench.harness.c_program import has_compiler
from bench.harness.servers import SseNode
from bench.report.tables import Screen
from bench.workloads import idle


def test_memory_per_stream_is_what_has_grown() -> None:
    before = idle.Step(0, 10_000_000, 4096, 50_000)
    step = idle.Step(1000, 12_000_000, 8192, 1_050_000)
    measured = idle.Measured("node", before, [step], 1.0, 10, 0.1, [])
    assert measured.bytes_per_stream(step) == 2000
    assert measured.kernel_bytes_per_stream(step) == pytest.approx(1004.096)


@pytest.mark.integration
@pytest.mark.skipif(not has_compiler(), reason="no C compiler")
def test_memory_by_steps_and_cpu_while_pings_come() -> None:
    with SseNode(None, "--ping-interval", "0.1") as server, Screen("idle", ()) as screen:
        measured = idle.measure(server, [50, 100], 0.5, screen)
    assert measured.problems == []
    assert [step.streams for step in measured.steps] == [50, 100]
    assert measured.pings > 100
    assert measured.cpu_us >= 0
