"""Metrics of a node, summed over its processes."""

import pytest

from bench.harness.node import sum_of

OF_ONE_PROCESS = """\
# TYPE sse_node_streams gauge
sse_node_streams 3.0
sse_node_streams_closed_total{reason="slow-client"} 2.0
sse_node_streams_closed_total{reason="drain"} 5.0
"""
OF_WORKERS = """\
sse_node_streams{worker="17"} 3.0
sse_node_streams{worker="4"} 1.0
sse_node_streams_closed_total{worker="17",reason="slow-client"} 2.0
sse_node_streams_closed_total{reason="slow-client",worker="4"} 1.0
sse_node_streams_closed_total{worker="17",reason="drain"} 5.0
"""


@pytest.mark.parametrize(
    ("exposition", "streams", "slow"), [(OF_ONE_PROCESS, 3, 2), (OF_WORKERS, 4, 3), ("", 0, 0)]
)
def test_a_metric_is_summed_over_processes(exposition: str, streams: float, slow: float) -> None:
    assert sum_of(exposition, "sse_node_streams") == streams
    assert sum_of(exposition, "sse_node_streams_closed_total", reason="slow-client") == slow
